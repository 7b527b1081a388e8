// SPDX-License-Identifier: MIT OR Apache-2.0
//! How fast TSC and APIC timer tick, without calibration (TLFS, "Timers").

use super::TimeError;
use crate::consume::SyntheticMsrs;
use core::ops::RangeInclusive;
use hyperv_bindings::msr;

/// What a machine's clock can be, in Hz. The slowest are emulated ones.
const PLAUSIBLE: RangeInclusive<u64> = 1_000_000..=100_000_000_000;

/// Ticks of the TSC in a second.
///
/// # Errors
/// Where L0 does not tell, or tells what cannot be.
pub fn tsc_hz(msrs: &impl SyntheticMsrs) -> Result<u64, TimeError> {
    plausible(msrs, msr::TSC_FREQUENCY)
}

/// Ticks of the local APIC's timer in a second, before its divider.
///
/// # Errors
/// As for [`tsc_hz`].
pub fn apic_timer_hz(msrs: &impl SyntheticMsrs) -> Result<u64, TimeError> {
    plausible(msrs, msr::APIC_FREQUENCY)
}

fn plausible(msrs: &impl SyntheticMsrs, msr: u32) -> Result<u64, TimeError> {
    match msrs.read(msr)? {
        hz if PLAUSIBLE.contains(&hz) => Ok(hz),
        value => Err(TimeError::Absurd { msr, value }),
    }
}
