// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one CPU can send another, as the interrupt command register (ICR) of its local APIC wants it.

/// A message (SDM vol. 3, "Interrupt Command Register (ICR)").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// The interrupt of that vector.
    Interrupt(u8),
    /// A non-maskable interrupt.
    Nmi,
    /// INIT: the CPU waits for its start.
    Init,
    /// SIPI: a CPU that waits starts in real mode at the beginning of that page, by its number.
    StartUp(u8),
}

impl Message {
    /// Bits 31:0: delivery mode, vector, asserted, edge triggered, physical destination.
    fn low(self) -> u32 {
        const ASSERT: u32 = 1 << 14;
        let (mode, vector) = match self {
            Self::Interrupt(vector) => (0b000, vector),
            Self::Nmi => (0b100, 0),
            Self::Init => (0b101, 0),
            Self::StartUp(page) => (0b110, page),
        };
        ASSERT | mode << 8 | u32::from(vector)
    }

    /// The register in x2APIC mode; `None` for the id that is everybody's.
    #[must_use]
    pub fn x2apic(self, apic_id: u32) -> Option<u64> {
        (apic_id != u32::MAX).then(|| u64::from(apic_id) << 32 | u64::from(self.low()))
    }

    /// The register's halves in xAPIC mode, the high one first, as they are written; `None` for ids that do not fit, and for the
    /// one that is everybody's.
    #[must_use]
    pub fn xapic(self, apic_id: u32) -> Option<(u32, u32)> {
        (apic_id < 0xff).then(|| (apic_id << 24, self.low()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of INIT and SIPI are in the SDM's own example, there with the shorthand for all others (vol. 3, "Typical BSP
    /// Initialization Sequence").
    #[test]
    fn messages_are_encoded_as_published() {
        const ALL_OTHERS: u32 = 3 << 18;
        assert_eq!(Message::Init.low() | ALL_OTHERS, 0x000c_4500);
        assert_eq!(Message::StartUp(0x8f).low() | ALL_OTHERS, 0x000c_468f);
        assert_eq!(Message::Nmi.low(), 0x4400);
        assert_eq!(Message::Interrupt(0x22).low(), 0x4022);
        assert_eq!(Message::Init.xapic(0x12), Some((0x1200_0000, 0x4500)));
        assert_eq!(Message::Init.x2apic(0x1_0012), Some(0x1_0012_0000_4500));
    }

    #[test]
    fn nothing_goes_to_everybody() {
        assert_eq!(Message::Init.xapic(0xff), None);
        assert_eq!(Message::Init.xapic(0x100), None);
        assert_eq!(Message::Init.x2apic(u32::MAX), None);
        assert!(Message::Init.x2apic(0xff).is_some());
    }
}
