// SPDX-License-Identifier: MIT OR Apache-2.0
//! How vCPUs wait for each other: a lock and a barrier that spin with PAUSE.

use core::hint;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::AcqRel;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;

/// Spins until `condition` holds. The virtual machine's time limit ends what never does.
pub fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        hint::spin_loop();
    }
}

/// A lock that goes to whoever is quickest.
#[derive(Debug, Default)]
pub struct SpinLock(AtomicBool);

impl SpinLock {
    /// Nobody has it.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Runs `act` while no other vCPU runs anything under this lock.
    pub fn with<R>(&self, act: impl FnOnce() -> R) -> R {
        until(|| !self.0.load(Relaxed) && !self.0.swap(true, Acquire));
        let result = act();
        self.0.store(false, Release);
        result
    }
}

/// A lock that goes to each in the order of asking.
#[derive(Debug, Default)]
pub struct TicketLock {
    next: AtomicUsize,
    serving: AtomicUsize,
}

impl TicketLock {
    /// Nobody has it.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: AtomicUsize::new(0), serving: AtomicUsize::new(0) }
    }

    /// Runs `act` while no other vCPU runs anything under this lock.
    pub fn with<R>(&self, act: impl FnOnce() -> R) -> R {
        let ticket = self.next.fetch_add(1, Relaxed);
        until(|| self.serving.load(Acquire) == ticket);
        let result = act();
        self.serving.store(ticket.wrapping_add(1), Release);
        result
    }
}

/// A place where vCPUs wait for each other, as often as they like.
#[derive(Debug, Default)]
pub struct Barrier {
    arrived: AtomicUsize,
    rounds: AtomicUsize,
}

impl Barrier {
    /// Nobody has come yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { arrived: AtomicUsize::new(0), rounds: AtomicUsize::new(0) }
    }

    /// Waits until `count` vCPUs, this one included, have come.
    pub fn wait(&self, count: usize) {
        let round = self.rounds.load(Acquire);
        if self.arrived.fetch_add(1, AcqRel) + 1 == count {
            self.arrived.store(0, Relaxed);
            self.rounds.fetch_add(1, Release);
        } else {
            until(|| self.rounds.load(Acquire) != round);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn locks_keep_others_out_and_barriers_keep_all_together() {
        static FAST: SpinLock = SpinLock::new();
        static FAIR: TicketLock = TicketLock::new();
        static BARRIER: Barrier = Barrier::new();
        static COUNTS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
        let bump = |count: &AtomicUsize| count.store(count.load(Relaxed) + 1, Relaxed);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for round in 1..=200 {
                        FAST.with(|| bump(&COUNTS[0]));
                        FAIR.with(|| bump(&COUNTS[1]));
                        BARRIER.wait(2);
                        assert_eq!(COUNTS.each_ref().map(|count| count.load(Relaxed)), [2 * round; 2]);
                        BARRIER.wait(2);
                    }
                });
            }
        });
    }
}
