// SPDX-License-Identifier: MIT OR Apache-2.0
//! What others have to know of a local APIC to tell whether a message is for it.

use super::LocalApic;
use super::Mode;
use crate::irqchip::Destination;
use crate::irqchip::Message;
use bitfield_struct::bitfield;

/// Under which names a local APIC is addressed, and how busy it is, in one word: a vCPU can publish it in an atomic, so
/// that senders on other CPUs see all of it at once. Zero is an APIC that is globally disabled, which nothing addresses.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Address {
    /// The x2APIC ID; in xAPIC mode its low eight bits count.
    id: u32,
    /// Bits 31:24 of the logical destination register of xAPIC mode.
    logical_destination: u8,
    /// Bits 31:28 of the destination format register.
    #[bits(4)]
    format: u8,
    /// The class of the processor priority, by which a message of lowest priority chooses.
    #[bits(4)]
    pub priority_class: u8,
    #[bits(2)]
    mode: Mode,
    /// Whether the spurious-interrupt vector register lets it accept vectors.
    software_enabled: bool,
    #[bits(13)]
    __: u16,
}

impl Address {
    /// Whether a message for `destination` is for this APIC ("Determining IPI Destination"). That a message
    /// for [`Destination::EveryoneElse`] does not come back is the sender's care.
    #[must_use]
    pub fn is_addressed_by(self, destination: Destination) -> bool {
        match (self.mode(), destination) {
            (Mode::Disabled, _) => false,
            (_, Destination::Everyone | Destination::EveryoneElse) => true,
            (Mode::X2apic, Destination::Physical(id)) => id == self.id(),
            (Mode::Xapic, Destination::Physical(id)) => id == self.id() & 0xFF,
            (Mode::X2apic, Destination::Logical(address)) => {
                let own = x2apic_logical_id(self.id());
                address >> 16 == own >> 16 && address & own & 0xFFFF != 0
            }
            (Mode::Xapic, Destination::Logical(address)) => self.matches_xapic_logical(address),
        }
    }

    /// Whether it is addressed by a message, and would accept it: an APIC that software has disabled accepts no vectors
    /// ("Local APIC State After It Has Been Software Disabled").
    #[must_use]
    pub fn takes(self, message: Message) -> bool {
        self.is_addressed_by(message.destination)
            && (self.software_enabled() || !message.delivery.carries_vector())
    }

    /// "Logical Destination Mode": the flat or the cluster model, as the destination format register says.
    fn matches_xapic_logical(self, address: u32) -> bool {
        let own = u32::from(self.logical_destination());
        match self.format() {
            0b1111 => address & own != 0,
            0b0000 => {
                let same_cluster = address >> 4 == own >> 4;
                address == 0xFF || same_cluster && address & own & 0xF != 0
            }
            _ => false,
        }
    }
}

impl Mode {
    const fn into_bits(self) -> u8 {
        self as u8
    }

    const fn from_bits(bits: u8) -> Self {
        match bits {
            1 => Self::Xapic,
            2 => Self::X2apic,
            _ => Self::Disabled,
        }
    }
}

impl LocalApic {
    /// What others have to know to address it.
    #[must_use]
    pub fn address(&self) -> Address {
        Address::new()
            .with_id(self.id)
            .with_logical_destination((self.logical_destination >> 24) as u8)
            .with_format((self.destination_format >> 28) as u8)
            .with_priority_class(self.processor_priority() >> 4)
            .with_mode(self.mode())
            .with_software_enabled(self.software_enabled())
    }

    /// Whether a message for `destination` is for this APIC, see [`Address::is_addressed_by`].
    #[must_use]
    pub fn is_addressed_by(&self, destination: Destination) -> bool {
        self.address().is_addressed_by(destination)
    }
}

/// "Deriving Logical x2APIC ID from the Local x2APIC ID".
pub(super) fn x2apic_logical_id(id: u32) -> u32 {
    id >> 4 << 16 | 1 << (id & 0xF)
}
