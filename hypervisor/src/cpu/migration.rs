// SPDX-License-Identifier: MIT OR Apache-2.0
//! After a live migration of the machine below us: what its TSC is now, and how the machine's time goes on with it.
//!
//! Until we say that we are done, L0 plays the TSC of the machine that we come from. Then it is that of the machine that we are on,
//! which stands somewhere else and ticks otherwise. What time passed in between, only L0's reference counter tells.

use crate::cpu::timekeeper::Time;
use crate::cpu::timeline::Multiplier;
use crate::cpu::timeline::Timeline;
use enlightenments::consume::SyntheticMsrs;
use enlightenments::consume::time::L0Clock;
use enlightenments::consume::time::REFERENCE_HZ;
use enlightenments::consume::time::TimeError;

/// What came of a migration.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Time as it is from here on.
    pub time: Time,
    /// Ticks of this machine's TSC in a second, if L0 tells.
    pub tsc_hz: Option<u64>,
    /// Whether L0 has let go of the TSC.
    pub emulation: Result<(), TimeError>,
}

/// Takes the TSC of the machine that we are on now. `hz` is what the TSC ticked at when Satori started, `tsc` reads it. No CPU
/// reads the TSC meanwhile.
pub fn arrive<M: SyntheticMsrs>(
    l0: &L0Clock<M>,
    hz: u64,
    timeline: Timeline,
    tsc: impl Fn() -> u64,
) -> Arrival {
    // The counter outside, so that what has passed is more rather than less: no guest's clock goes back.
    let left = l0.counted_time();
    let last = tsc();
    let emulation = l0.end_emulation();
    let first = tsc();
    let came = l0.counted_time();
    let tsc_hz = l0.tsc_hz();
    let multiplier = tsc_hz.and_then(|tsc_hz| Multiplier::of(hz, tsc_hz)).unwrap_or(timeline.multiplier());
    let passed = left.zip(came).map_or(0, |(left, came)| ticks(came.saturating_sub(left), hz));
    let timeline = match emulation {
        Ok(()) => timeline.resumed(last, passed, first, multiplier),
        // What it goes on to play is the TSC of the machine that we come from, whatever rate it tells.
        Err(_) => timeline,
    };
    Arrival { time: Time { timeline, apic_timer_hz: l0.apic_timer_hz() }, tsc_hz, emulation }
}

/// For tests on real CPUs: as if the TSC ticked `numerator` / `denominator` times as fast as at the start from here on, though it
/// goes on as before. So all clocks that depend on it go slower by that. `None` if no TSC does.
#[must_use]
pub fn pretend(numerator: u32, denominator: u32, timeline: Timeline, tsc: u64) -> Option<Timeline> {
    let multiplier = Multiplier::of(denominator.into(), numerator.into())?;
    Some(timeline.resumed(tsc, 0, tsc, multiplier))
}

/// Ticks of a clock of `hz` in so much reference time.
fn ticks(reference: u64, hz: u64) -> u64 {
    let ticks = u128::from(reference) * u128::from(hz) / u128::from(REFERENCE_HZ);
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
