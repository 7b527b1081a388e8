// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exits of one vCPU by reason, and what they cost, for anybody to read while it runs.
//!
//! Only the CPU that runs the vCPU writes, so that a load and a store count an exit. Of each reason the first exit and every
//! 64th after it is timed: from its count until it has been handled, without the ways out of the guest and in again.

use crate::vmx::exit::ExitReason;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::array;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;

/// Basic exit reasons that have a counter of their own.
const REASONS: usize = 80;
/// The place of the counter of [`ExitReason::TRAP_AFTER_FLUSH`].
const TRAPS: usize = REASONS;
/// The place of the one that all others share.
const OTHERS: usize = REASONS + 1;
/// Of so many exits for a reason one is timed.
const TIMED: u64 = 64;

/// Exits for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exits {
    /// How many.
    pub count: u64,
    /// How many of them were timed.
    pub timed: u64,
    /// Ticks of the TSC that those took.
    pub ticks: u64,
}

impl Exits {
    /// Ticks that all of them took, if the timed ones are like the others.
    #[must_use]
    pub fn estimated_ticks(self) -> u64 {
        let product = u128::from(self.count) * u128::from(self.ticks);
        product.checked_div(u128::from(self.timed)).and_then(|ticks| ticks.try_into().ok()).unwrap_or(0)
    }

    fn and(self, other: Self) -> Self {
        Self {
            count: self.count.wrapping_add(other.count),
            timed: self.timed.wrapping_add(other.timed),
            ticks: self.ticks.wrapping_add(other.ticks),
        }
    }
}

/// The counters of one vCPU.
#[derive(Debug)]
pub struct ExitCounts {
    counts: [AtomicU64; OTHERS + 1],
    /// Number and ticks of those that were timed.
    timed: [(AtomicU64, AtomicU64); OTHERS + 1],
}

impl Default for ExitCounts {
    fn default() -> Self {
        Self {
            counts: array::from_fn(|_| AtomicU64::default()),
            timed: array::from_fn(|_| Default::default()),
        }
    }
}

impl ExitCounts {
    /// Counts an exit; tells whether it is to be timed.
    #[inline]
    #[must_use]
    pub fn count(&self, reason: ExitReason) -> bool {
        let number = reason.number() as usize;
        if number < REASONS { one_more(&self.counts[number]) } else { self.count_other(reason) }
    }

    #[cold]
    fn count_other(&self, reason: ExitReason) -> bool {
        one_more(&self.counts[place(reason)])
    }

    /// The exit that was counted last took so many ticks.
    pub fn note_time(&self, reason: ExitReason, ticks: u64) {
        let (times, sum) = &self.timed[place(reason)];
        add(times, 1);
        add(sum, ticks);
    }

    /// How many there were for a reason.
    #[must_use]
    pub fn of(&self, reason: ExitReason) -> u64 {
        self.counts[place(reason)].load(Ordering::Relaxed)
    }

    /// All that there were.
    pub fn iter(&self) -> impl Iterator<Item = (ExitReason, Exits)> {
        let reasons = (0..REASONS as u32).map(ExitReason::from_field);
        let others = [ExitReason::TRAP_AFTER_FLUSH, ExitReason::OTHERS];
        let exits = self.counts.iter().zip(&self.timed).map(|(count, (timed, ticks))| {
            let [count, timed, ticks] = [count, timed, ticks].map(|counter| counter.load(Ordering::Relaxed));
            Exits { count, timed, ticks }
        });
        reasons.chain(others).zip(exits).filter(|(_, exits)| exits.count > 0)
    }
}

/// What several vCPUs counted, together.
#[must_use]
pub fn sum<'a>(vcpus: impl Iterator<Item = &'a ExitCounts>) -> Vec<(ExitReason, Exits)> {
    let mut sums = BTreeMap::<u32, Exits>::new();
    for (reason, exits) in vcpus.flat_map(ExitCounts::iter) {
        let sum = sums.entry(reason.number()).or_default();
        *sum = sum.and(exits);
    }
    sums.into_iter().map(|(number, exits)| (ExitReason::from_field(number), exits)).collect()
}

fn place(reason: ExitReason) -> usize {
    match reason.number() as usize {
        number if number < REASONS => number,
        _ if reason == ExitReason::TRAP_AFTER_FLUSH => TRAPS,
        _ => OTHERS,
    }
}

#[inline]
fn one_more(counter: &AtomicU64) -> bool {
    let before = counter.load(Ordering::Relaxed);
    counter.store(before.wrapping_add(1), Ordering::Relaxed);
    before.is_multiple_of(TIMED)
}

fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(counts: &ExitCounts, reason: ExitReason) -> u64 {
        counts.iter().find(|&(other, _)| other == reason).map_or(0, |(_, exits)| exits.count)
    }

    #[test]
    fn exits_are_counted_by_reason() {
        let counts = ExitCounts::default();
        let (unknown, trap) = (ExitReason::from_field(5000), ExitReason::TRAP_AFTER_FLUSH);
        for reason in [ExitReason::HLT, ExitReason::CPUID, ExitReason::CPUID, unknown, trap, trap, trap] {
            let _ = counts.count(reason);
        }
        assert_eq!(
            [trap, ExitReason::CPUID, ExitReason::HLT].map(|reason| count(&counts, reason)),
            [3, 2, 1]
        );
        for reason in [79, 80, 81, 82].map(ExitReason::from_field) {
            let _ = counts.count(reason);
        }
        assert_eq!(counts.iter().map(|(_, exits)| exits.count).sum::<u64>(), 11);
        assert_eq!(count(&counts, ExitReason::OTHERS), 4, "all that have no counter of their own");
        assert_eq!(counts.of(ExitReason::CPUID), 2);
    }

    #[test]
    fn the_first_and_every_64th_of_a_reason_is_timed_and_stands_for_the_others() {
        let counts = ExitCounts::default();
        for number in 0..200 {
            let timed = counts.count(ExitReason::CPUID);
            assert_eq!(timed, [0, 64, 128, 192].contains(&number));
            if timed {
                counts.note_time(ExitReason::CPUID, 1000);
            }
        }
        let (_, exits) = counts.iter().next().unwrap();
        assert_eq!(exits, Exits { count: 200, timed: 4, ticks: 4000 });
        assert_eq!(exits.estimated_ticks(), 200_000);
        assert_eq!(Exits { timed: 0, ..exits }.estimated_ticks(), 0, "one that is being timed just now");
    }

    #[test]
    fn what_vcpus_count_adds_up() {
        let vcpus = [ExitCounts::default(), ExitCounts::default()];
        let _ = vcpus.each_ref().map(|counts| counts.count(ExitReason::HLT));
        let _ = vcpus[1].count(ExitReason::CPUID);
        let sums = sum(vcpus.iter()).into_iter().map(|(reason, exits)| (reason, exits.count));
        assert!(sums.eq([(ExitReason::CPUID, 1), (ExitReason::HLT, 2)]));
    }
}
