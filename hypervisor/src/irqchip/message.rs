// SPDX-License-Identifier: MIT OR Apache-2.0
//! An interrupt on its way from an I/O APIC or a local APIC to the local APICs that it names.

/// Vectors below this one belong to exceptions; no APIC sends, accepts or delivers them
/// (SDM vol. 3, "Valid Interrupt Vectors").
pub(super) const FIRST_LEGAL_VECTOR: u8 = 16;

/// The MDA that an 8-bit destination field spells as "all", in physical mode (SDM vol. 3, "Physical
/// Destination Mode").
pub(super) const BROADCAST_8_BIT: u8 = 0xFF;

/// An interrupt message, as the system bus carries it between APICs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who is to get it.
    pub destination: Destination,
    /// What it does there.
    pub delivery: DeliveryMode,
    /// The interrupt vector; for [`DeliveryMode::StartUp`] the page at which execution starts.
    pub vector: u8,
    /// Whether its EOI is broadcast to the I/O APICs.
    pub trigger: Trigger,
}

/// Which local APICs a message is for. Sources spell "all" in several ways; here it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Every local APIC, the sender's included.
    Everyone,
    /// Every local APIC but the sender's.
    EveryoneElse,
    /// The local APIC with this ID.
    Physical(u32),
    /// The local APICs whose logical destination registers match this message destination address.
    Logical(u32),
}

/// What a message does to the CPU that accepts it (SDM vol. 3, "Interrupt Command Register (ICR)").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    /// Delivers the vector to all destinations.
    Fixed,
    /// Delivers the vector to the one destination that runs at the lowest priority.
    LowestPriority,
    /// System-management interrupt.
    Smi,
    /// Non-maskable interrupt; the vector is ignored.
    Nmi,
    /// INIT; the vector is ignored.
    Init,
    /// Start-up IPI; the vector is the page number of the entry point. Only IPIs have it.
    StartUp,
    /// The 8259A supplies the vector. IPIs do not have it.
    ExtInt,
}

impl DeliveryMode {
    /// The mode that a register's three-bit field names, or `None` for the reserved encoding.
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0b000 => Some(Self::Fixed),
            0b001 => Some(Self::LowestPriority),
            0b010 => Some(Self::Smi),
            0b100 => Some(Self::Nmi),
            0b101 => Some(Self::Init),
            0b110 => Some(Self::StartUp),
            0b111 => Some(Self::ExtInt),
            _ => None,
        }
    }

    /// As a register's three-bit field has it.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::Fixed => 0b000,
            Self::LowestPriority => 0b001,
            Self::Smi => 0b010,
            Self::Nmi => 0b100,
            Self::Init => 0b101,
            Self::StartUp => 0b110,
            Self::ExtInt => 0b111,
        }
    }

    /// Whether the message ends as a vector in a local APIC's IRR.
    #[must_use]
    pub fn carries_vector(self) -> bool {
        matches!(self, Self::Fixed | Self::LowestPriority)
    }
}

/// How the source of an interrupt signals it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// By a transition; nobody is told when it has been handled.
    Edge,
    /// By a level; the source has to learn of the EOI.
    Level,
}
