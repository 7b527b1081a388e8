// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registers of a local APIC by number: the same for its page and for its MSRs.

/// A register's number: its offset in the page divided by 16, and its MSR's index less 0x800 (SDM vol. 3,
/// "Local APIC Register Address Map" and "x2APIC Register Address Space").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Register(u8);

impl Register {
    pub(super) const ID: Self = Self(0x02);
    pub(super) const VERSION: Self = Self(0x03);
    pub(super) const TASK_PRIORITY: Self = Self(0x08);
    pub(super) const ARBITRATION_PRIORITY: Self = Self(0x09);
    pub(super) const PROCESSOR_PRIORITY: Self = Self(0x0A);
    pub(super) const END_OF_INTERRUPT: Self = Self(0x0B);
    pub(super) const REMOTE_READ: Self = Self(0x0C);
    pub(super) const LOGICAL_DESTINATION: Self = Self(0x0D);
    pub(super) const DESTINATION_FORMAT: Self = Self(0x0E);
    pub(super) const SPURIOUS_VECTOR: Self = Self(0x0F);
    pub(super) const IN_SERVICE: Self = Self(0x10);
    pub(super) const TRIGGER_MODE: Self = Self(0x18);
    pub(super) const INTERRUPT_REQUEST: Self = Self(0x20);
    pub(super) const ERROR_STATUS: Self = Self(0x28);
    pub(super) const INTERRUPT_COMMAND: Self = Self(0x30);
    pub(super) const INTERRUPT_COMMAND_HIGH: Self = Self(0x31);
    pub(super) const LVT_TIMER: Self = Self(0x32);
    pub(super) const LVT_THERMAL: Self = Self(0x33);
    pub(super) const LVT_PERFORMANCE: Self = Self(0x34);
    pub(super) const LVT_LINT0: Self = Self(0x35);
    pub(super) const LVT_LINT1: Self = Self(0x36);
    pub(super) const LVT_ERROR: Self = Self(0x37);
    pub(super) const INITIAL_COUNT: Self = Self(0x38);
    pub(super) const CURRENT_COUNT: Self = Self(0x39);
    pub(super) const DIVIDE_CONFIGURATION: Self = Self(0x3E);
    pub(super) const SELF_IPI: Self = Self(0x3F);

    /// The register at `offset` in the APIC's page, or `None` where none begins.
    pub(super) fn at_offset(offset: u64) -> Option<Self> {
        (offset < 0x400 && offset.is_multiple_of(16)).then_some(Self((offset / 16) as u8))
    }

    /// The register behind MSR `index`, or `None` outside 0x800..=0x83F.
    pub(super) fn at_msr(index: u32) -> Option<Self> {
        (0x800..=0x83F).contains(&index).then_some(Self((index & 0x3F) as u8))
    }

    /// Its number.
    #[inline]
    pub(super) fn number(self) -> usize {
        usize::from(self.0)
    }

    /// The register so many further on.
    ///
    /// # Panics
    /// If that is none.
    #[inline]
    pub(super) fn further(self, by: u8) -> Self {
        Self(self.0 + by)
    }

    /// Whether it is a word of the in-service, trigger mode or interrupt request register.
    pub(super) fn is_of_vectors(self) -> bool {
        (Self::IN_SERVICE.0..Self::ERROR_STATUS.0).contains(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Register;

    #[test]
    fn offset_and_msr_name_the_same_register() {
        for number in 0..0x40 {
            assert_eq!(Register::at_offset(u64::from(number) * 16), Register::at_msr(0x800 + number));
        }
        assert_eq!(Register::at_offset(0x84), None);
        assert_eq!(Register::at_offset(0x400), None);
        assert_eq!(Register::at_msr(0x7FF), None);
        assert_eq!(Register::at_msr(0x840), None);
    }
}
