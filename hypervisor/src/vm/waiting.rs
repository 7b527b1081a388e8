// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which vCPUs of a machine wait for what only another one can do; and so, whether all of them wait for ever.

use crate::mmu::atomic::AtomicU64;
use crate::mmu::atomic::Ordering;
use crate::mmu::atomic::fence;

/// A bit for each vCPU that waits.
///
/// One that wakes says so before it empties its mailbox. So while nobody wakes all that was sent is still in the mailboxes, for
/// who waits sends nothing.
#[derive(Debug)]
pub struct Waiting {
    bits: AtomicU64,
    /// How often one has woken up.
    wakes: AtomicU64,
}

impl Waiting {
    /// Nobody waits.
    #[must_use]
    pub fn new() -> Self {
        Self { bits: AtomicU64::new(0), wakes: AtomicU64::new(0) }
    }

    /// The vCPU of that index may set others going from here on. Before it looks into its mailbox.
    pub fn wake(&self, vcpu: usize) {
        // Who finds its bit set even so, finds another number of wakes if it finds the mailbox empty.
        self.bits.fetch_and(!(1 << vcpu), Ordering::SeqCst);
        self.wakes.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The vCPU of that index, of `count`, waits. Tells whether all do, so that none ever will go on: `nothing_sent` tells whether
    /// nothing is in any of their mailboxes.
    pub fn waits_in_vain(&self, vcpu: usize, count: usize, nothing_sent: impl Fn() -> bool) -> bool {
        let all = u64::MAX >> (64 - count);
        loop {
            let wakes = self.wakes.load(Ordering::SeqCst);
            let waiting = self.bits.fetch_or(1 << vcpu, Ordering::SeqCst) | 1 << vcpu;
            // What one of them has sent before it began to wait may still set another going. That one will see to this.
            if waiting != all || !nothing_sent() {
                return false;
            }
            fence(Ordering::SeqCst);
            // Else somebody has just taken what was sent, and may be waiting again already.
            if self.wakes.load(Ordering::SeqCst) == wakes {
                return true;
            }
        }
    }
}

impl Default for Waiting {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(feature = "loom"))]
    #[test]
    fn all_wait_in_vain_once_the_last_does_and_nothing_was_sent() {
        let waiting = Waiting::new();
        assert!(!waiting.waits_in_vain(0, 64, || true));
        for vcpu in 1..63 {
            assert!(!waiting.waits_in_vain(vcpu, 64, || true));
        }
        assert!(!waiting.waits_in_vain(63, 64, || false));
        assert!(waiting.waits_in_vain(63, 64, || true));
        waiting.wake(5);
        assert!(!waiting.waits_in_vain(63, 64, || true));
        assert!(waiting.waits_in_vain(5, 64, || true));
    }
}

#[cfg(test)]
#[cfg(feature = "loom")]
mod loom {
    use super::*;
    use ::loom::sync::Arc;
    use ::loom::thread;

    struct Pair {
        waiting: Waiting,
        /// What was sent to vCPU 0, and to vCPU 1.
        mailboxes: [AtomicU64; 2],
    }

    impl Pair {
        fn waits_in_vain(&self, vcpu: usize) -> bool {
            let is_empty = |mailbox: &AtomicU64| mailbox.load(Ordering::Relaxed) == 0;
            self.waiting.waits_in_vain(vcpu, 2, || self.mailboxes.iter().all(is_empty))
        }
    }

    /// vCPU 1 sends vCPU 0 something and waits for the answer. Waiting, it is not to be taken for one that waits in vain while
    /// vCPU 0 is about to go on, whether or not that answers. Once both wait, at least one of them notices.
    fn history(answers: bool) {
        let pair =
            Arc::new(Pair { waiting: Waiting::new(), mailboxes: [AtomicU64::new(0), AtomicU64::new(0)] });
        assert!(!pair.waits_in_vain(0));
        let sender = {
            let pair = pair.clone();
            thread::spawn(move || {
                pair.mailboxes[0].fetch_or(1, Ordering::Release);
                pair.waits_in_vain(1)
            })
        };
        // Its CPU lets it run for whatever reason.
        pair.waiting.wake(0);
        let went_on = pair.mailboxes[0].swap(0, Ordering::Acquire) != 0;
        if went_on && answers {
            pair.mailboxes[1].fetch_or(1, Ordering::Release);
        }
        let noticed = [pair.waits_in_vain(0), sender.join().unwrap()].contains(&true);
        assert_eq!(noticed, went_on && !answers);
    }

    #[test]
    fn nobody_is_given_up_who_has_an_answer_to_come() {
        ::loom::model(|| history(true));
    }

    #[test]
    fn all_who_wait_in_vain_are_given_up() {
        ::loom::model(|| history(false));
    }
}
