// SPDX-License-Identifier: MIT OR Apache-2.0
//! The synthetic MSRs of a guest: what each holds, and which values it takes (TLFS, "Hypercall Interface").
//!
//! A write gives what the registers are after it. Whoever runs the guest puts the pages where these say, and only then
//! keeps them: if a page cannot be there, nothing was written.

use super::Offering;
use core::fmt;
use hyperv_bindings::msr;
use hyperv_bindings::msr::Hypercall;
use hyperv_bindings::msr::OverlayPage;
use hyperv_bindings::msr::TscInvariantControl;

/// The MSRs of the interface, those that a guest is not offered among them.
pub const SYNTHETIC: core::ops::RangeInclusive<u32> = 0x4000_0000..=0x4000_01ff;

/// An access that raises #GP(0) in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the register is not offered or does not take the value; inject #GP(0) into the guest")
    }
}

impl core::error::Error for Refused {}

/// The registers that all virtual processors of a guest share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    offering: Offering,
    guest_os_id: u64,
    hypercall: Hypercall,
    tsc_invariant_control: TscInvariantControl,
}

impl Partition {
    /// After RESET.
    #[must_use]
    pub fn new(offering: Offering) -> Self {
        Self { offering, ..Self::default() }
    }

    /// Whether the guest has said who it is; before that it makes no hypercalls.
    #[must_use]
    pub fn is_identified(&self) -> bool {
        self.guest_os_id != 0
    }

    /// The number of the guest frame where the hypercall page is, if it is anywhere.
    #[must_use]
    pub fn hypercall_page(&self) -> Option<u64> {
        self.hypercall.enabled().then(|| self.hypercall.page_number())
    }

    /// RDMSR.
    pub fn read(&self, register: u32) -> Result<u64, Refused> {
        match register {
            msr::GUEST_OS_ID => Ok(self.guest_os_id),
            msr::HYPERCALL => Ok(self.hypercall.into_bits()),
            msr::TSC_INVARIANT_CONTROL if self.offering.invariant_tsc => {
                Ok(self.tsc_invariant_control.into_bits())
            }
            _ => Err(Refused),
        }
    }

    /// WRMSR: what the registers are after it.
    pub fn write(self, register: u32, value: u64) -> Result<Self, Refused> {
        match register {
            msr::GUEST_OS_ID => Ok(self.with_guest_os_id(value)),
            msr::HYPERCALL => self.with_hypercall(Hypercall::from_bits(value)),
            msr::TSC_INVARIANT_CONTROL if self.offering.invariant_tsc => {
                self.with_tsc_invariant_control(TscInvariantControl::from_bits(value))
            }
            _ => Err(Refused),
        }
    }

    /// Who is nobody has no hypercall page, unless that is locked.
    fn with_guest_os_id(self, guest_os_id: u64) -> Self {
        let keeps_page = guest_os_id != 0 || self.hypercall.locked();
        let hypercall = if keeps_page { self.hypercall } else { self.hypercall.with_enabled(false) };
        Self { guest_os_id, hypercall, ..self }
    }

    /// Before the guest has said who it is nothing is taken, and nothing refused.
    fn with_hypercall(self, hypercall: Hypercall) -> Result<Self, Refused> {
        let defined =
            Hypercall::new().with_enabled(true).with_locked(true).with_page_number((1 << 52) - 1).into_bits();
        if self.hypercall.locked() || hypercall.into_bits() & !defined != 0 {
            return Err(Refused);
        }
        Ok(if self.is_identified() { Self { hypercall, ..self } } else { self })
    }

    /// Once it is set it stays.
    fn with_tsc_invariant_control(self, control: TscInvariantControl) -> Result<Self, Refused> {
        let exposed = TscInvariantControl::new().with_invariant_tsc_exposed(true);
        if control.into_bits() & !exposed.into_bits() != 0
            || self.tsc_invariant_control == exposed && control != exposed
        {
            return Err(Refused);
        }
        Ok(Self { tsc_invariant_control: control, ..self })
    }
}

/// The registers that each virtual processor has for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualProcessor {
    index: u32,
    assist_page: OverlayPage,
}

impl VirtualProcessor {
    /// After RESET, with its VP index.
    #[must_use]
    pub fn new(index: u32) -> Self {
        Self { index, assist_page: OverlayPage::new() }
    }

    /// Whether an MSR is one of these.
    #[must_use]
    pub fn has(register: u32) -> bool {
        matches!(register, msr::VP_INDEX | msr::VP_ASSIST_PAGE)
    }

    /// The number of the guest frame where its assist page is, if it is anywhere. Nothing is written there: what it is for
    /// is not offered. Linux places one all the same.
    #[must_use]
    pub fn assist_page(&self) -> Option<u64> {
        self.assist_page.enabled().then(|| self.assist_page.page_number())
    }

    /// RDMSR.
    pub fn read(&self, register: u32) -> Result<u64, Refused> {
        match register {
            msr::VP_INDEX => Ok(self.index.into()),
            msr::VP_ASSIST_PAGE => Ok(self.assist_page.into_bits()),
            _ => Err(Refused),
        }
    }

    /// WRMSR: what the registers are after it.
    pub fn write(self, register: u32, value: u64) -> Result<Self, Refused> {
        let assist_page = OverlayPage::from_bits(value);
        let defined = OverlayPage::new().with_enabled(true).with_page_number((1 << 52) - 1).into_bits();
        match register {
            msr::VP_ASSIST_PAGE if value & !defined == 0 => Ok(Self { assist_page, ..self }),
            _ => Err(Refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINUX: u64 = 0x8100_0000_0601_0000;
    const PAGE: u64 = 0x1234_5000;
    const ENABLED: u64 = 1;
    const LOCKED: u64 = 2;

    fn identified() -> Partition {
        Partition::new(Offering::default()).write(msr::GUEST_OS_ID, LINUX).unwrap()
    }

    #[test]
    fn the_hypercall_page_waits_until_the_guest_has_said_who_it_is() {
        let nobody = Partition::new(Offering::default());
        assert_eq!(nobody.write(msr::HYPERCALL, PAGE | ENABLED), Ok(nobody));
        assert!(!nobody.is_identified() && identified().is_identified());
        let enabled = identified().write(msr::HYPERCALL, PAGE | ENABLED).unwrap();
        assert_eq!(enabled.hypercall_page(), Some(PAGE >> 12));
        assert_eq!(enabled.read(msr::HYPERCALL), Ok(PAGE | ENABLED));
        let disabled = enabled.write(msr::HYPERCALL, PAGE).unwrap();
        assert_eq!((disabled.hypercall_page(), disabled.read(msr::HYPERCALL)), (None, Ok(PAGE)));
    }

    #[test]
    fn who_is_nobody_any_more_has_no_hypercall_page() {
        let enabled = identified().write(msr::HYPERCALL, PAGE | ENABLED).unwrap();
        let nobody = enabled.write(msr::GUEST_OS_ID, 0).unwrap();
        assert_eq!((nobody.hypercall_page(), nobody.read(msr::HYPERCALL)), (None, Ok(PAGE)));
    }

    #[test]
    fn a_locked_page_stays_whatever_is_written() {
        let locked = identified().write(msr::HYPERCALL, PAGE | ENABLED | LOCKED).unwrap();
        for value in [0, PAGE, PAGE | ENABLED | LOCKED, 0x7000 | ENABLED] {
            assert_eq!(locked.write(msr::HYPERCALL, value), Err(Refused));
        }
        assert_eq!(locked.write(msr::GUEST_OS_ID, 0).unwrap().hypercall_page(), Some(PAGE >> 12));
    }

    #[test]
    fn reserved_bits_are_refused() {
        for bit in 2..12 {
            assert_eq!(identified().write(msr::HYPERCALL, PAGE | 1 << bit), Err(Refused), "bit {bit}");
        }
        for bit in 1..12 {
            let processor = VirtualProcessor::new(0);
            assert_eq!(processor.write(msr::VP_ASSIST_PAGE, PAGE | 1 << bit), Err(Refused), "bit {bit}");
        }
        let invariant = Partition::new(Offering { invariant_tsc: true, ..Offering::default() });
        for bit in 1..64 {
            assert_eq!(invariant.write(msr::TSC_INVARIANT_CONTROL, 1 << bit), Err(Refused), "bit {bit}");
        }
    }

    #[test]
    fn an_invariant_tsc_that_was_exposed_stays_so_and_one_that_is_none_is_not_exposed() {
        let plain = Partition::new(Offering::default());
        assert_eq!(plain.read(msr::TSC_INVARIANT_CONTROL), Err(Refused));
        assert_eq!(plain.write(msr::TSC_INVARIANT_CONTROL, 1), Err(Refused));
        let invariant = Partition::new(Offering { invariant_tsc: true, ..Offering::default() });
        assert_eq!(invariant.write(msr::TSC_INVARIANT_CONTROL, 0), Ok(invariant));
        let exposed = invariant.write(msr::TSC_INVARIANT_CONTROL, 1).unwrap();
        assert_eq!(exposed.read(msr::TSC_INVARIANT_CONTROL), Ok(1));
        assert_eq!(exposed.write(msr::TSC_INVARIANT_CONTROL, 1), Ok(exposed));
        assert_eq!(exposed.write(msr::TSC_INVARIANT_CONTROL, 0), Err(Refused));
    }

    #[test]
    fn the_vp_index_is_read_only() {
        let processor = VirtualProcessor::new(5);
        assert_eq!(processor.read(msr::VP_INDEX), Ok(5));
        assert_eq!(processor.write(msr::VP_INDEX, 5), Err(Refused));
    }

    proptest! {
        /// What is read back is what was written, and what is not offered is not there.
        #[test]
        fn a_register_takes_a_value_or_refuses_it_and_no_other_changes(register in SYNTHETIC, value: u64) {
            let before = identified();
            if let Ok(after) = before.write(register, value) {
                prop_assert_eq!(after.read(register), Ok(value));
                prop_assert!(register == msr::GUEST_OS_ID || after.read(msr::GUEST_OS_ID) == Ok(LINUX));
            }
            let processor = VirtualProcessor::new(0);
            prop_assert_eq!(processor.read(register).is_ok(), VirtualProcessor::has(register));
            prop_assert!(before.read(register).is_err() || !VirtualProcessor::has(register));
            if let Ok(after) = processor.write(register, value) {
                prop_assert_eq!(after.read(register), Ok(value));
            }
        }
    }
}
