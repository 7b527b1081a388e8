// SPDX-License-Identifier: MIT OR Apache-2.0
//! How far the time-stamp counters of two CPUs are apart, as far as a few questions and answers between them tell.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;

/// Bounds of what the other CPU's counter is ahead of ours, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TscOffset {
    least: i64,
    most: i64,
}

impl TscOffset {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self { least: i64::MIN, most: i64::MAX };

    /// The other CPU read `theirs` at some time between our reading `before` and `after`.
    pub fn narrow(&mut self, before: u64, theirs: u64, after: u64) {
        self.least = self.least.max(theirs.wrapping_sub(after).cast_signed());
        self.most = self.most.min(theirs.wrapping_sub(before).cast_signed());
    }

    /// The part of it that is certain: what the other is ahead at least, or behind if that is negative.
    #[must_use]
    pub fn certain(self) -> i64 {
        if self.least > 0 { self.least } else { self.most.min(0) }
    }
}

/// Where one CPU asks and another answers with its counter.
#[derive(Debug, Default)]
pub struct Exchange {
    asked: AtomicU64,
    answered: AtomicU64,
    counter: AtomicU64,
}

impl Exchange {
    /// Answers, if there is a question that has no answer yet.
    pub fn answer(&self, now: impl Fn() -> u64) {
        let asked = self.asked.load(Ordering::Acquire);
        if asked != self.answered.load(Ordering::Relaxed) {
            self.counter.store(now(), Ordering::Relaxed);
            self.answered.store(asked, Ordering::Release);
        }
    }

    /// Asks `rounds` times, with so much patience for each answer; what is known then.
    pub fn ask(&self, rounds: u64, patience: u32, now: impl Fn() -> u64) -> TscOffset {
        let mut offset = TscOffset::UNKNOWN;
        for round in 1..=rounds {
            let before = now();
            self.asked.store(round, Ordering::Release);
            let answered = (0..patience).any(|_| {
                core::hint::spin_loop();
                self.answered.load(Ordering::Acquire) == round
            });
            if !answered {
                break;
            }
            offset.narrow(before, self.counter.load(Ordering::Relaxed), now());
        }
        offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::thread;

    proptest! {
        #[test]
        fn what_is_certain_is_never_more_than_what_is_so(
            offset in -1000_i64..1000, rounds in prop::collection::vec((0_u64..1 << 40, 0_u64..300, 0_u64..300), 0..20),
        ) {
            let mut known = TscOffset::UNKNOWN;
            for (before, there, back) in rounds {
                let at = before + there;
                known.narrow(before, at.wrapping_add_signed(offset), at + back);
            }
            prop_assert!(known.least <= offset && offset <= known.most);
            prop_assert!(known.certain().abs() <= offset.abs());
            prop_assert!(known.certain().signum() * offset.signum() >= 0);
        }
    }

    #[test]
    fn a_round_that_takes_no_time_tells_all() {
        for offset in [-7, 0, 7] {
            let mut known = TscOffset::UNKNOWN;
            known.narrow(100, 100_u64.wrapping_add_signed(offset), 100);
            assert_eq!(known.certain(), offset);
        }
    }

    #[test]
    fn questions_between_threads_find_a_large_offset() {
        const AHEAD: u64 = 1 << 50;
        let (exchange, clock) = (Exchange::default(), AtomicU64::new(0));
        let now = || clock.fetch_add(1, Ordering::Relaxed);
        let done = AtomicU64::new(0);
        let offset = thread::scope(|scope| {
            scope.spawn(|| {
                while done.load(Ordering::Relaxed) == 0 {
                    exchange.answer(|| now() + AHEAD);
                    thread::yield_now();
                }
            });
            let offset = exchange.ask(10, u32::MAX, now);
            done.store(1, Ordering::Relaxed);
            offset
        });
        assert!((AHEAD - 1000..=AHEAD).contains(&offset.certain().cast_unsigned()), "{offset:?}");
        assert_eq!(exchange.ask(1, 10, now), TscOffset::UNKNOWN);
    }
}
