// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one CPU tells another: bits in a word, and an interrupt where only that is noticed.
//!
//! A CPU that goes to a guest or halts says so, and then looks at its word; a sender sets bits, and then looks whether the
//! CPU has gone. With a full fence in between on both sides, one of the two sees the other, and nothing is lost.

use crate::mmu::atomic::AtomicU64;
use crate::mmu::atomic::Ordering;
use crate::mmu::atomic::fence;
use crate::mmu::rule::Rule;
use core::ops::BitOr;

/// Things to look at, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attention(u32);

impl Attention {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// A mailbox of a vCPU that is here has something in it.
    pub const MAIL: Self = Self(1 << 0);
    /// A vCPU has been handed over to this CPU.
    pub const HANDED_OVER: Self = Self(1 << 1);
    /// A virtual machine has ended, or is to be started: for the CPU that manages them.
    pub const MANAGE: Self = Self(1 << 2);
    /// Something was typed, or a guest has room for what was: for the CPU that reads the console.
    pub const INPUT: Self = Self(1 << 3);
    /// The machine's work is done: the CPU lets go of everything and halts.
    pub const RETIRE: Self = Self(1 << 4);
    /// The machine's time is to be changed: for the CPU that does it, and for the others, who stand still meanwhile.
    pub const TIME: Self = Self(1 << 5);

    /// Whether there is nothing to look at.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Attention {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The word of one CPU.
#[derive(Debug)]
pub struct AttentionWord {
    bits: AtomicU64,
    /// Not 0 while its CPU is where only an interrupt reaches it: in a guest, or halted.
    away: AtomicU64,
}

impl AttentionWord {
    /// A word with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self { bits: AtomicU64::new(0), away: AtomicU64::new(0) }
    }

    /// Its CPU will go to a guest or halt, unless there is something to look at: which it is told.
    #[inline]
    pub fn go_away(&self) -> Attention {
        self.mark_away();
        fence(Ordering::SeqCst);
        self.look()
    }

    /// The first half of [`Self::go_away`], for a CPU that has more to publish: then comes `fence(SeqCst)`, then
    /// [`Self::look`].
    #[inline]
    pub fn mark_away(&self) {
        self.away.store(1, Ordering::Relaxed);
    }

    /// Its CPU is back, or has not gone.
    #[inline]
    pub fn come_back(&self) {
        let order = if Rule::LeaveAfterAccesses.kept() { Ordering::Release } else { Ordering::Relaxed };
        self.away.store(0, order);
    }

    /// Whether its CPU is where only an interrupt reaches it. If not, what it did there is over; and it sees what was
    /// [`set`](Self::set) before this was asked before it goes there again.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire) != 0
    }

    /// What is there to look at; it stays there.
    #[inline]
    #[must_use]
    pub fn look(&self) -> Attention {
        Attention(self.bits.load(Ordering::Relaxed) as u32)
    }

    /// Takes what is there to look at. What its senders wrote before they set it can be read.
    #[must_use]
    pub fn take(&self) -> Attention {
        Attention(self.bits.swap(0, Ordering::Acquire) as u32)
    }

    /// Takes some of what is there to look at, as [`Self::take`].
    pub fn clear(&self, bits: Attention) {
        self.bits.fetch_and(!u64::from(bits.0), Ordering::Acquire);
    }

    /// Sets bits, of whatever CPU's word this is. Whether the CPU has to be interrupted to see them.
    #[must_use]
    pub fn set(&self, bits: Attention) -> bool {
        self.bits.fetch_or(u64::from(bits.0), Ordering::Release);
        fence(Ordering::SeqCst);
        self.away.load(Ordering::Relaxed) != 0
    }
}

impl Default for AttentionWord {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicUsize;
    use std::thread;

    #[test]
    fn bits_are_gathered_and_taken_once() {
        let word = AttentionWord::new();
        assert!(!word.set(Attention::MAIL));
        assert!(!word.set(Attention::MANAGE));
        assert_eq!(word.look(), Attention::MAIL | Attention::MANAGE);
        assert!(word.take().contains(Attention::MANAGE));
        assert!(word.take().is_empty());
    }

    #[test]
    fn a_cpu_that_is_away_is_interrupted_and_one_that_is_back_is_not() {
        let word = AttentionWord::new();
        assert!(word.go_away().is_empty());
        assert!(word.set(Attention::MAIL));
        word.come_back();
        assert!(!word.set(Attention::HANDED_OVER));
        assert_eq!(word.go_away(), Attention::MAIL | Attention::HANDED_OVER);
    }

    /// A CPU that halts until it is interrupted, and senders: without a lost wake-up all that was sent arrives.
    #[test]
    fn no_wake_up_is_lost_between_threads() {
        const SENDERS: usize = 3;
        const EACH: usize = 20_000;
        let (word, mail, interrupts) = (AttentionWord::new(), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        mail.fetch_add(1, Ordering::Relaxed);
                        if word.set(Attention::MAIL) {
                            interrupts.fetch_add(1, Ordering::Release);
                        }
                    }
                });
            }
            let (mut got, mut handled) = (0, 0);
            while got < SENDERS * EACH {
                if word.go_away().is_empty() {
                    // HLT: nothing but an interrupt ends it.
                    while interrupts.load(Ordering::Acquire) == handled {
                        thread::yield_now();
                    }
                }
                word.come_back();
                handled = interrupts.load(Ordering::Acquire);
                let _ = word.take();
                got += mail.swap(0, Ordering::Relaxed);
            }
            assert_eq!(got, SENDERS * EACH);
        });
    }
}

#[cfg(test)]
#[cfg(feature = "loom")]
mod loom {
    use super::*;
    use ::loom::sync::Arc;
    use ::loom::thread;

    #[test]
    fn either_the_cpu_sees_the_bits_or_the_sender_sees_that_it_is_away() {
        ::loom::model(|| {
            let word = Arc::new(AttentionWord::new());
            let sender = {
                let word = word.clone();
                thread::spawn(move || word.set(Attention::MAIL))
            };
            let seen = word.go_away();
            let interrupted = sender.join().unwrap();
            assert!(interrupted || seen.contains(Attention::MAIL));
        });
    }
}
