// SPDX-License-Identifier: MIT OR Apache-2.0
//! Told of live migrations: an interrupt after each, and until we are done with it the TSC as it was (TLFS, "Compatibility with
//! Live Migration").

use super::TimeError;
use super::write_checked;
use crate::consume::MsrRefused;
use crate::consume::SyntheticMsrs;
use hyperv_bindings::msr;
use hyperv_bindings::msr::ReenlightenmentControl;
use hyperv_bindings::msr::TscEmulationControl;
use hyperv_bindings::msr::TscEmulationStatus;

/// L0 tells of migrations, and emulates the TSC after each until it is told to [stop](Self::end_emulation).
#[derive(Debug)]
pub struct Reenlightenment(());

impl Reenlightenment {
    /// Has L0 raise `vector` on the processor `vp_index` after each migration. For that `vector` there is a handler.
    ///
    /// # Errors
    /// Where L0 does not take it; then it is off.
    pub fn enable(msrs: &impl SyntheticMsrs, vector: u8, vp_index: u32) -> Result<Self, TimeError> {
        let enable = || {
            // The TSC first: a migration between the two is then told of with a TSC that still ticks as before.
            let emulation = TscEmulationControl::new().with_enabled(true).into_bits();
            write_checked(msrs, msr::TSC_EMULATION_CONTROL, emulation, emulation)?;
            let control = ReenlightenmentControl::new()
                .with_vector(vector)
                .with_enabled(true)
                .with_target_vp(vp_index)
                .into_bits();
            write_checked(msrs, msr::REENLIGHTENMENT_CONTROL, control, u64::MAX)
        };
        match enable() {
            Ok(()) => Ok(Self(())),
            Err(error) => {
                Self(()).disable(msrs);
                Err(error)
            }
        }
    }

    /// Whether L0 emulates accesses to the TSC, which then ticks as before the last migration.
    ///
    /// # Errors
    /// When L0 answers with #GP.
    pub fn is_emulating(&self, msrs: &impl SyntheticMsrs) -> Result<bool, MsrRefused> {
        let status = msrs.read(msr::TSC_EMULATION_STATUS)?;
        Ok(TscEmulationStatus::from_bits(status).in_progress())
    }

    /// From here on the TSC is that of the machine that we are on now, on all processors. After the next migration it is
    /// emulated again: that is asked for by another MSR, which stays as it is.
    ///
    /// # Errors
    /// When L0 answers with #GP, or goes on emulating.
    pub fn end_emulation(&self, msrs: &impl SyntheticMsrs) -> Result<(), TimeError> {
        let msr = msr::TSC_EMULATION_STATUS;
        let status = TscEmulationStatus::from_bits(msrs.read(msr)?);
        if status.in_progress() {
            let done = status.with_in_progress(false).into_bits();
            write_checked(msrs, msr, done, TscEmulationStatus::new().with_in_progress(true).into_bits())?;
        }
        Ok(())
    }

    /// L0 tells of no migration any more, and emulates nothing: as another kernel expects it that is started after us.
    pub fn disable(self, msrs: &impl SyntheticMsrs) {
        let off = [msr::REENLIGHTENMENT_CONTROL, msr::TSC_EMULATION_CONTROL, msr::TSC_EMULATION_STATUS];
        for msr in off {
            // What L0 does not have, it does not do either.
            let _ = msrs.write(msr, 0);
        }
    }
}
