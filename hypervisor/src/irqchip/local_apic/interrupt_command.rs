// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interrupt command register: which IPI a value asks for (SDM vol. 3, "Interrupt Command Register
//! (ICR)").

use super::Mode;
use crate::irqchip::DeliveryMode;
use crate::irqchip::Destination;
use crate::irqchip::message::BROADCAST_8_BIT;
use bitfield_struct::bitfield;

/// The 64 bits of the register. In xAPIC mode the destination is bits 63:56, in x2APIC mode bits 63:32.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub(super) struct InterruptCommand {
    pub vector: u8,
    #[bits(3)]
    delivery_mode_bits: u8,
    logical: bool,
    /// Never set: an IPI is sent before the write ends.
    _delivery_status: bool,
    _reserved: bool,
    assert: bool,
    level_triggered: bool,
    #[bits(2)]
    _reserved: u8,
    #[bits(2)]
    shorthand_bits: u8,
    #[bits(12)]
    _reserved: u16,
    destination: u32,
}

/// The IPI that an [`InterruptCommand`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ipi {
    /// Fixed, to the sender alone.
    Itself,
    /// For the bus.
    Send { destination: Destination, delivery: DeliveryMode },
}

impl InterruptCommand {
    /// The bits that are kept of what is written. The trigger mode and the level stay readable.
    pub(super) const KEPT: u64 = 0xFFFF_FFFF_000C_CFFF;

    /// The reserved bits that fault in x2APIC mode. Delivery status, bit 12, is read-only and does not.
    pub(super) const X2APIC_RESERVED: u64 = 0xFFF3_2000;

    /// The register's low half, which sends when it is written.
    pub(super) fn low(self) -> u32 {
        u64::from(self) as u32
    }

    /// The register's high half.
    pub(super) fn high(self) -> u32 {
        self.destination()
    }

    pub(super) fn with_low(self, low: u32) -> Self {
        Self::from((u64::from(self) & !0xFFFF_FFFF | u64::from(low)) & Self::KEPT)
    }

    pub(super) fn with_high(self, high: u32) -> Self {
        self.with_destination(high)
    }

    /// The IPI, or `None` for what no processor sends: reserved encodings, the combinations that the tables
    /// "Valid Combinations for the … Local xAPIC Interrupt Command Register" call invalid, and INIT level
    /// de-assert, which processors since the Pentium 4 ignore.
    pub(super) fn ipi(self, mode: Mode) -> Option<Ipi> {
        let delivery = DeliveryMode::from_bits(self.delivery_mode_bits())
            .filter(|&mode| mode != DeliveryMode::ExtInt)?;
        if delivery == DeliveryMode::Init && self.level_triggered() && !self.assert() {
            return None;
        }
        let destination = match self.shorthand_bits() {
            0b00 => self.named_destination(mode),
            0b01 => return (delivery == DeliveryMode::Fixed).then_some(Ipi::Itself),
            0b10 if delivery == DeliveryMode::Fixed => Destination::Everyone,
            0b10 => return None,
            _ => Destination::EveryoneElse,
        };
        Some(Ipi::Send { destination, delivery })
    }

    fn named_destination(self, mode: Mode) -> Destination {
        let (address, broadcast) = match mode {
            Mode::X2apic => (self.destination(), u32::MAX),
            Mode::Xapic | Mode::Disabled => (self.destination() >> 24, u32::from(BROADCAST_8_BIT)),
        };
        match (self.logical(), mode) {
            (false, _) | (true, Mode::X2apic) if address == broadcast => Destination::Everyone,
            (false, _) => Destination::Physical(address),
            (true, _) => Destination::Logical(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::InterruptCommand;
    use super::Ipi;
    use super::Mode;
    use crate::irqchip::DeliveryMode;
    use crate::irqchip::Destination;

    const FIXED: u64 = 0;
    const LOWEST: u64 = 1 << 8;
    const SMI: u64 = 2 << 8;
    const NMI: u64 = 4 << 8;
    const INIT: u64 = 5 << 8;
    const START_UP: u64 = 6 << 8;
    const LOGICAL: u64 = 1 << 11;
    const ASSERT: u64 = 1 << 14;
    const LEVEL: u64 = 1 << 15;
    const ITSELF: u64 = 1 << 18;
    const EVERYONE: u64 = 2 << 18;
    const EVERYONE_ELSE: u64 = 3 << 18;

    fn ipi(value: u64, mode: Mode) -> Option<Ipi> {
        InterruptCommand::from(value).ipi(mode)
    }

    fn fixed(destination: Destination) -> Option<Ipi> {
        Some(Ipi::Send { destination, delivery: DeliveryMode::Fixed })
    }

    #[test]
    fn destination_is_eight_bits_in_xapic_mode_and_32_in_x2apic_mode() {
        // "Interrupt Command Register Operation in x2APIC Mode".
        let value = 0x0300_0005_u64 << 32;
        assert_eq!(ipi(value, Mode::Xapic), fixed(Destination::Physical(3)));
        assert_eq!(ipi(value, Mode::X2apic), fixed(Destination::Physical(0x0300_0005)));
        assert_eq!(ipi(value | LOGICAL, Mode::Xapic), fixed(Destination::Logical(3)));
        assert_eq!(ipi(value | LOGICAL, Mode::X2apic), fixed(Destination::Logical(0x0300_0005)));
    }

    #[test]
    fn all_ones_are_a_broadcast() {
        // "Physical Destination Mode"; "Interrupt Command Register Operation in x2APIC Mode".
        assert_eq!(ipi(0xFF << 56, Mode::Xapic), fixed(Destination::Everyone));
        assert_eq!(ipi(0xFF << 56, Mode::X2apic), fixed(Destination::Physical(0xFF00_0000)));
        assert_eq!(ipi(0xFFFF_FFFF << 32, Mode::X2apic), fixed(Destination::Everyone));
        assert_eq!(ipi(0xFFFF_FFFF << 32 | LOGICAL, Mode::X2apic), fixed(Destination::Everyone));
        // In logical xAPIC mode the receiver's destination format decides.
        assert_eq!(ipi(0xFF << 56 | LOGICAL, Mode::Xapic), fixed(Destination::Logical(0xFF)));
    }

    #[test]
    fn shorthands_carry_only_what_the_table_allows() {
        // "Valid Combinations for the Pentium 4 and Intel Xeon Processors' Local xAPIC Interrupt Command
        // Register".
        assert_eq!(ipi(FIXED | ITSELF, Mode::Xapic), Some(Ipi::Itself));
        assert_eq!(ipi(FIXED | EVERYONE, Mode::Xapic), fixed(Destination::Everyone));
        assert_eq!(ipi(FIXED | EVERYONE_ELSE, Mode::Xapic), fixed(Destination::EveryoneElse));
        for (bits, delivery) in [
            (LOWEST, DeliveryMode::LowestPriority),
            (SMI, DeliveryMode::Smi),
            (NMI, DeliveryMode::Nmi),
            (INIT, DeliveryMode::Init),
            (START_UP, DeliveryMode::StartUp),
        ] {
            assert_eq!(ipi(bits | ITSELF, Mode::Xapic), None);
            assert_eq!(ipi(bits | EVERYONE, Mode::Xapic), None);
            let expected = Some(Ipi::Send { destination: Destination::EveryoneElse, delivery });
            assert_eq!(ipi(bits | EVERYONE_ELSE, Mode::Xapic), expected);
        }
    }

    #[test]
    fn reserved_delivery_modes_send_nothing() {
        assert_eq!(ipi(3 << 8, Mode::Xapic), None);
        assert_eq!(ipi(7 << 8, Mode::Xapic), None);
    }

    #[test]
    fn init_level_deassert_sends_nothing() {
        // "Interrupt Command Register (ICR)", delivery mode "INIT Level De-assert".
        assert_eq!(ipi(INIT | LEVEL, Mode::Xapic), None);
        assert!(ipi(INIT | LEVEL | ASSERT, Mode::Xapic).is_some());
        assert!(ipi(INIT, Mode::Xapic).is_some());
    }
}
