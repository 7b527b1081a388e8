// SPDX-License-Identifier: MIT OR Apache-2.0
//! The partition's reference time, in 100 ns: by an MSR, or from the TSC and a page, without an exit (TLFS, "Timers").

use super::TimeError;
use super::write_checked;
use crate::consume::MsrRefused;
use crate::consume::SharedPage;
use crate::consume::SyntheticMsrs;
use core::mem::offset_of;
use hyperv_bindings::PAGE_SIZE;
use hyperv_bindings::msr;
use hyperv_bindings::msr::OverlayPage;
use hyperv_bindings::reference_tsc::ReferenceTscPage;
use hyperv_bindings::reference_tsc::TscSequence;
use hyperv_bindings::reference_tsc::reference_time;

/// Ticks of reference time in a second.
pub const REFERENCE_HZ: u64 = 10_000_000;

/// How often the page is read before it is given up: L0 changes it once in a migration, not more often than it can be read.
const TRIES: u32 = 16;

/// The reference time by its MSR. Each read is an exit.
///
/// # Errors
/// When L0 answers with #GP.
pub fn reference_counter(msrs: &impl SyntheticMsrs) -> Result<u64, MsrRefused> {
    msrs.read(msr::TIME_REF_COUNT)
}

/// The page by which the TSC tells the reference time.
#[derive(Debug)]
pub struct ReferenceTsc {
    page: SharedPage,
}

impl ReferenceTsc {
    /// Has L0 fill `page`, in which nothing else may be.
    ///
    /// # Errors
    /// Where L0 does not take it. The page is lost, since L0 knows of it.
    pub fn enable(msrs: &impl SyntheticMsrs, page: SharedPage) -> Result<Self, TimeError> {
        let number = page.address() / PAGE_SIZE as u64;
        let before = OverlayPage::from_bits(msrs.read(msr::REFERENCE_TSC)?);
        let placed = before.with_page_number(number).with_enabled(true).into_bits();
        let mask = OverlayPage::new().with_page_number(u64::MAX >> 12).with_enabled(true).into_bits();
        match write_checked(msrs, msr::REFERENCE_TSC, placed, mask) {
            Ok(()) => Ok(Self { page }),
            Err(error) => {
                let _ = msrs.write(msr::REFERENCE_TSC, before.with_enabled(false).into_bits());
                Err(error)
            }
        }
    }

    /// The reference time now, with `tsc` to read the TSC after all loads before it; `None` while L0 has it that the page means
    /// nothing, or changes it all the time. Then [`reference_counter`] still tells.
    #[must_use]
    pub fn now(&self, tsc: impl Fn() -> u64) -> Option<u64> {
        (0..TRIES).find_map(|_| self.try_now(&tsc))?
    }

    /// `None` if the page has changed meanwhile.
    fn try_now(&self, tsc: impl Fn() -> u64) -> Option<Option<u64>> {
        let sequence = self.sequence();
        if sequence == TscSequence::INVALID {
            return Some(None);
        }
        let tsc = tsc();
        let scale = self.page.read(offset_of!(ReferenceTscPage, scale));
        let offset = self.page.read(offset_of!(ReferenceTscPage, offset));
        (self.sequence() == sequence).then(|| Some(reference_time(tsc, scale, offset)))
    }

    fn sequence(&self) -> TscSequence {
        self.page.read(offset_of!(ReferenceTscPage, sequence))
    }

    /// Takes the page from L0.
    ///
    /// # Errors
    /// When L0 does not let go of it. Then the page is lost.
    pub fn disable(self, msrs: &impl SyntheticMsrs) -> Result<SharedPage, TimeError> {
        let placed = OverlayPage::from_bits(msrs.read(msr::REFERENCE_TSC)?);
        let off = placed.with_enabled(false).with_page_number(0).into_bits();
        let enabled = OverlayPage::new().with_enabled(true).into_bits();
        write_checked(msrs, msr::REFERENCE_TSC, off, enabled)?;
        Ok(self.page)
    }
}
