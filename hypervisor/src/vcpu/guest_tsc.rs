// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest's TSC: the machine's time and an offset of its own. It ticks as it did when the guest started, whatever machine is below us.
//!
//! As long as the processor's TSC ticks like that too, only the offset is the processor's business. When it does not, the processor
//! scales it where it can, and else each read exits.

use crate::cpu::hardware::tsc;
use crate::cpu::timeline::Multiplier;
use crate::cpu::timeline::Timeline;
use evmcs::Active;
use evmcs::controls::PrimaryControls;
use evmcs::controls::SecondaryControls;
use evmcs::field;

/// A guest's TSC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestTsc {
    timeline: Timeline,
    /// Added to the machine's time, modulo 2^64.
    offset: u64,
}

impl GuestTsc {
    /// One that is zero when the machine's time is `zero_at`.
    #[must_use]
    pub fn new(zero_at: u64) -> Self {
        Self { timeline: Timeline::AT_START, offset: zero_at.wrapping_neg() }
    }

    /// The same, but zero when the machine's time is `zero_at`.
    #[must_use]
    pub fn restarted(self, zero_at: u64) -> Self {
        Self { timeline: self.timeline, ..Self::new(zero_at) }
    }

    /// Where it stands when the processor's TSC stands at `tsc`.
    #[inline]
    #[must_use]
    pub fn at(self, tsc: u64) -> u64 {
        self.timeline.at(tsc).wrapping_add(self.offset)
    }

    /// Where it stands now.
    // By reference, and out of the loop of exits, which is the faster the less is in it.
    #[inline(never)]
    #[must_use]
    pub fn now(&self) -> u64 {
        self.at(tsc())
    }

    /// The machine's time now.
    // As for `now`.
    #[inline(never)]
    #[must_use]
    pub fn machine_time(&self) -> u64 {
        self.timeline.now()
    }

    /// When it stands at `now`: the machine's time when it will have reached `deadline`.
    #[inline]
    #[must_use]
    pub fn time_at(self, deadline: u64, now: u64) -> u64 {
        now.wrapping_sub(self.offset).saturating_add(deadline.saturating_sub(now))
    }

    /// Moves it on by `change`, modulo 2^64.
    pub fn shift(&mut self, change: u64) {
        self.offset = self.offset.wrapping_add(change);
    }

    /// How the processor's TSC and the machine's time go together, as far as this one knows.
    #[inline]
    #[must_use]
    pub fn timeline(self) -> Timeline {
        self.timeline
    }

    /// The processor's TSC has been exchanged: this one goes on as before, and `vmcs` is told how. `scales` tells whether the
    /// processor can scale.
    pub fn follow(&mut self, timeline: Timeline, vmcs: &mut Active<'_>, scales: bool) {
        self.timeline = timeline;
        let multiplier = timeline.multiplier();
        let same_rate = multiplier == Multiplier::ONE;
        let old = SecondaryControls::from_bits(vmcs.read(field::SECONDARY_PROCESSOR_BASED_CONTROLS));
        let secondary = old.with_use_tsc_scaling(scales && !same_rate);
        if secondary.use_tsc_scaling() {
            vmcs.write(field::TSC_MULTIPLIER, multiplier.bits());
        }
        vmcs.write(field::SECONDARY_PROCESSOR_BASED_CONTROLS, secondary.into_bits());
        // Every processor with VMX has it.
        let old = PrimaryControls::from_bits(vmcs.read(field::PRIMARY_PROCESSOR_BASED_CONTROLS));
        let primary = old.with_rdtsc_exiting(!scales && !same_rate);
        vmcs.write(field::PRIMARY_PROCESSOR_BASED_CONTROLS, primary.into_bits());
        self.write_offset(vmcs);
    }

    /// Tells `vmcs` where it stands.
    pub fn write_offset(self, vmcs: &mut Active<'_>) {
        vmcs.write(field::TSC_OFFSET, self.timeline.offset().wrapping_add(self.offset));
    }
}

#[cfg(test)]
mod tests;
