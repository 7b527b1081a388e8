// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who says what time it is: one CPU changes the machine's [`Timeline`], while all others stand still.
//!
//! They have to: between the moment in which L0 exchanges the TSC and the one in which a CPU has taken the new timeline, whatever it
//! reads is wrong, and so would be what its guest reads.

use crate::cpu::timeline::Timeline;
use core::hint;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering;
use spin::Mutex;

/// Time as all CPUs are to take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// How it goes together with the TSC.
    pub timeline: Timeline,
    /// Ticks of the local APIC's timer in a second, if L0 tells them.
    pub apic_timer_hz: Option<u64>,
}

/// The owner of the machine's time.
#[derive(Debug)]
pub struct Timekeeper {
    time: Mutex<Time>,
    /// How often it was changed.
    changes: AtomicU64,
    /// CPUs that stand still for the next change.
    standing: AtomicUsize,
}

impl Timekeeper {
    /// At the start, when time is the TSC.
    #[must_use]
    pub const fn new() -> Self {
        let time = Time { timeline: Timeline::AT_START, apic_timer_hz: None };
        Self { time: Mutex::new(time), changes: AtomicU64::new(0), standing: AtomicUsize::new(0) }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.time.lock().timeline.now()
    }

    /// How often it was changed.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Stands still until the time has been changed, and gives it. For each CPU but the one that [changes](Self::change) it, once
    /// for each change, out of its guest and with no lock held.
    pub fn await_change(&self) -> Time {
        // This CPU is counted only after that, and nothing is changed before all are.
        let before = self.changes();
        self.standing.fetch_add(1, Ordering::Release);
        while self.changes() == before {
            hint::spin_loop();
        }
        *self.time.lock()
    }

    /// Changes the time while the `others`, who have been asked to, stand still; they go on with it from then on.
    pub fn change(&self, others: usize, change: impl FnOnce(Timeline) -> Time) -> Time {
        while self.standing.load(Ordering::Acquire) < others {
            hint::spin_loop();
        }
        let mut time = self.time.lock();
        *time = change(time.timeline);
        self.standing.store(0, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Release);
        *time
    }
}

impl Default for Timekeeper {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::timeline::Multiplier;
    use core::sync::atomic::AtomicBool;
    use std::thread;

    #[test]
    fn nobody_runs_while_time_is_changed_and_all_go_on_with_the_new_one() {
        const OTHERS: usize = 3;
        const CHANGES: u64 = 200;
        let (keeper, changing) = (Timekeeper::new(), AtomicBool::new(false));
        // What asks a CPU to stand still: how many changes it has been asked for.
        let asked = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..OTHERS {
                scope.spawn(|| {
                    for number in 1..=CHANGES {
                        while asked.load(Ordering::Acquire) < number {
                            assert!(!changing.load(Ordering::SeqCst), "this CPU was not asked");
                            thread::yield_now();
                        }
                        assert_eq!(keeper.await_change().timeline.offset(), number);
                    }
                });
            }
            for number in 1..=CHANGES {
                asked.store(number, Ordering::Release);
                let time = keeper.change(OTHERS, |before| {
                    changing.store(true, Ordering::SeqCst);
                    assert_eq!(before.offset(), number - 1);
                    thread::yield_now();
                    changing.store(false, Ordering::SeqCst);
                    let timeline = Timeline::AT_START.resumed(0, number, 0, Multiplier::ONE);
                    Time { timeline, apic_timer_hz: None }
                });
                assert_eq!((time.timeline.offset(), keeper.changes()), (number, number));
            }
        });
    }
}
