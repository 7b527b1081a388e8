// SPDX-License-Identifier: MIT OR Apache-2.0
//! What of L0's time is in use: each part is turned on by itself, and what is not on tells nothing.

use super::Reenlightenment;
use super::ReferenceTsc;
use super::TimeError;
use super::apic_timer_hz;
use super::reference_counter;
use super::tsc_hz;
use crate::consume::SharedPage;
use crate::consume::SyntheticMsrs;

/// Time as L0 tells it, as far as it is in use.
#[derive(Debug)]
pub struct L0Clock<M> {
    msrs: M,
    frequencies: bool,
    counter: bool,
    page: Option<ReferenceTsc>,
    reenlightenment: Option<Reenlightenment>,
}

impl<M: SyntheticMsrs> L0Clock<M> {
    /// With nothing in use: no MSR is touched, so there need not be any.
    pub const fn new(msrs: M) -> Self {
        Self { msrs, frequencies: false, counter: false, page: None, reenlightenment: None }
    }

    /// Uses the frequency MSRs.
    ///
    /// # Errors
    /// Where L0 does not tell, or tells what cannot be.
    pub fn use_frequencies(&mut self) -> Result<(), TimeError> {
        tsc_hz(&self.msrs)?;
        apic_timer_hz(&self.msrs)?;
        self.frequencies = true;
        Ok(())
    }

    /// Uses the reference counter.
    ///
    /// # Errors
    /// Where L0 does not tell.
    pub fn use_counter(&mut self) -> Result<(), TimeError> {
        reference_counter(&self.msrs)?;
        self.counter = true;
        Ok(())
    }

    /// Uses `page` as the reference TSC page.
    ///
    /// # Errors
    /// Where L0 does not take it; the page is lost.
    pub fn use_page(&mut self, page: SharedPage) -> Result<(), TimeError> {
        self.page = Some(ReferenceTsc::enable(&self.msrs, page)?);
        Ok(())
    }

    /// Has L0 raise `vector` on the processor `vp_index` after each live migration.
    ///
    /// # Errors
    /// Where L0 does not take it.
    pub fn use_reenlightenment(&mut self, vector: u8, vp_index: u32) -> Result<(), TimeError> {
        self.reenlightenment = Some(Reenlightenment::enable(&self.msrs, vector, vp_index)?);
        Ok(())
    }

    /// Ticks of the TSC in a second, of the machine that we are on now.
    #[must_use]
    pub fn tsc_hz(&self) -> Option<u64> {
        self.frequencies.then(|| tsc_hz(&self.msrs).ok())?
    }

    /// Ticks of the local APIC's timer in a second, of the machine that we are on now.
    #[must_use]
    pub fn apic_timer_hz(&self) -> Option<u64> {
        self.frequencies.then(|| apic_timer_hz(&self.msrs).ok())?
    }

    /// The reference time by the page, or else by the counter. `tsc` as for [`ReferenceTsc::now`].
    #[must_use]
    pub fn reference_time(&self, tsc: impl Fn() -> u64) -> Option<u64> {
        let by_page = self.page.as_ref().and_then(|page| page.now(tsc));
        by_page.or_else(|| self.counted_time())
    }

    /// The reference time by the counter, which is right also while L0 emulates the TSC.
    #[must_use]
    pub fn counted_time(&self) -> Option<u64> {
        self.counter.then(|| reference_counter(&self.msrs).ok())?
    }

    /// Has L0 stop emulating the TSC after a live migration.
    ///
    /// # Errors
    /// When L0 goes on with it.
    pub fn end_emulation(&self) -> Result<(), TimeError> {
        match &self.reenlightenment {
            Some(reenlightenment) => reenlightenment.end_emulation(&self.msrs),
            None => Ok(()),
        }
    }

    /// Turns off what is on, in the reverse order, as before another kernel is started or the machine is given up. The page is
    /// given back if L0 lets go of it.
    pub fn leave(self) -> Option<SharedPage> {
        if let Some(reenlightenment) = self.reenlightenment {
            reenlightenment.disable(&self.msrs);
        }
        self.page.and_then(|page| page.disable(&self.msrs).ok())
    }
}
