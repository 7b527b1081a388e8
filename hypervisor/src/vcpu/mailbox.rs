// SPDX-License-Identifier: MIT OR Apache-2.0
//! What other CPUs, and other vCPUs, tell a vCPU: atomics that anybody writes and its owner empties, without a lock.
//!
//! One word sums up what is there. Whoever posts a vector first sets its bit among the vectors and then, releasing, the
//! summary's bit for them; the owner takes the whole summary, acquiring, and then the vectors that it tells of. So a
//! vector is found with the summary that tells of it or, if the owner has come by in between, before: nothing is lost, and
//! at worst a summary tells of vectors that are gone already.
//!
//! Posting wakes nobody. A sender for whom [`Mailbox::post`] was true notifies the owner's CPU, by a protocol like that of
//! flushes: `fence(SeqCst)` between the post and its look at whether that CPU is in a guest or idles, and between that
//! CPU's publication that it is and its look at [`Mailbox::is_empty`]. A sender for whom it was false relies on the one
//! before, who found the mailbox empty and has not been answered yet.

use crate::irqchip::DeliveryMode;
use crate::irqchip::Destination;
use crate::irqchip::Message;
use crate::irqchip::Trigger;
use crate::mmu::atomic::AtomicU64;
use crate::mmu::atomic::Ordering;
use crate::vcpu::end::End;
use crate::vcpu::guest::Guest;
use core::array;
use core::iter;

/// Words of 64 vectors each: first those that are edge triggered, then those that are level triggered.
const WORDS: usize = 8;
/// Where those that are level triggered begin.
const LEVEL: usize = 4;

// The summary: a bit for each word of vectors, and the rest.
const NMI: u64 = 1 << 8;
const INIT: u64 = 1 << 9;
const START_UP: u64 = 1 << 10;
const STOP: u64 = 1 << 11;
const NUDGE: u64 = 1 << 12;
/// The page of a start-up IPI, bits 23:16.
const PAGE_SHIFT: u32 = 16;
const PAGE: u64 = 0xff << PAGE_SHIFT;

/// The mailbox of one vCPU.
#[derive(Debug)]
pub struct Mailbox {
    summary: AtomicU64,
    vectors: [AtomicU64; WORDS],
}

impl Default for Mailbox {
    fn default() -> Self {
        Self { summary: AtomicU64::new(0), vectors: array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Mailbox {
    /// Posts a message that is for this vCPU. Tells whether the mailbox was empty: then the sender has to notify its owner.
    ///
    /// As on a bus, an INIT makes an NMI and a start-up IPI that came before it meaningless, and after it the first
    /// start-up IPI counts.
    #[must_use = "its owner may have to be notified"]
    pub fn post(&self, message: Message) -> bool {
        match message.delivery {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                self.post_vector(message.vector, message.trigger)
            }
            DeliveryMode::Nmi => self.change(|summary| summary | NMI),
            DeliveryMode::Init => self.change(|summary| summary & !(NMI | START_UP | PAGE) | INIT),
            DeliveryMode::StartUp => self.change(|summary| {
                let earlier = summary & START_UP != 0;
                if earlier { summary } else { summary | START_UP | u64::from(message.vector) << PAGE_SHIFT }
            }),
            DeliveryMode::Smi | DeliveryMode::ExtInt => false,
        }
    }

    /// Tells the vCPU to stop, since its machine has come to an end. Else as [`Self::post`].
    #[must_use = "its owner may have to be notified"]
    pub fn stop(&self) -> bool {
        self.change(|summary| summary | STOP)
    }

    /// Has the vCPU come by, since something has changed at which it looks by itself before an entry. Else as [`Self::post`].
    #[must_use = "its owner may have to be notified"]
    pub fn nudge(&self) -> bool {
        // Release: who takes this sees what has changed.
        self.summary.fetch_or(NUDGE, Ordering::Release) == 0
    }

    /// Whether nothing is there. One plain load; see above for the fence that has to come before it.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.summary.load(Ordering::Relaxed) == 0
    }

    /// Hands the vCPU all that is there, in an order in which it can have come. Its owner alone does this.
    pub fn drain(&self, guest: &mut Guest<'_>) -> Result<(), End> {
        let mail = self.take();
        if mail.has(STOP) {
            return Err(End::Stopped);
        }
        // An NMI or a start-up IPI that came before INIT is gone. Vectors may have come before, but after INIT the local APIC
        // is disabled by software, which accepts none.
        if mail.has(INIT) {
            guest.take_init()?;
        }
        if mail.has(NMI) {
            guest.take_nmi();
        }
        for message in mail.interrupts() {
            guest.accept(message)?;
        }
        if mail.has(START_UP) {
            guest.start_up((mail.summary >> PAGE_SHIFT) as u8);
        }
        Ok(())
    }

    fn post_vector(&self, vector: u8, trigger: Trigger) -> bool {
        let first = match trigger {
            Trigger::Edge => 0,
            Trigger::Level => LEVEL,
        };
        let word = first + usize::from(vector / 64);
        // Relaxed: the summary's release comes after it.
        self.vectors[word].fetch_or(1 << (vector % 64), Ordering::Relaxed);
        // Even if the bit was there already. Whoever set it may not have come to the summary yet, and once we are back the
        // vector has been sent.
        self.summary.fetch_or(1 << word, Ordering::Release) == 0
    }

    /// Changes the summary, and tells whether it was zero. Another try means that somebody else's change was made.
    fn change(&self, change: impl Fn(u64) -> u64) -> bool {
        let changed = |summary| Some(change(summary));
        // There is nothing to release here; but a take that reads this change acquires what those before it have released only
        // because all of them are read-modify-writes.
        self.summary.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed) == Ok(0)
    }

    fn take(&self) -> Mail {
        // Nothing there is the common case for whoever looks in passing; it writes nothing.
        if self.is_empty() {
            return Mail::default();
        }
        let summary = self.summary.swap(0, Ordering::Acquire);
        let mut vectors = [0; WORDS];
        for (word, vectors) in vectors.iter_mut().enumerate() {
            if summary & 1 << word != 0 {
                *vectors = self.vectors[word].swap(0, Ordering::Relaxed);
            }
        }
        Mail { summary, vectors }
    }
}

/// What was in a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mail {
    summary: u64,
    vectors: [u64; WORDS],
}

impl Mail {
    fn has(&self, bit: u64) -> bool {
        self.summary & bit != 0
    }

    /// Those that are level triggered last: if a vector came both ways, its EOI is told to the I/O APIC, which does no harm to
    /// one that does not wait for it.
    fn interrupts(self) -> impl Iterator<Item = Message> {
        let mut word = 0;
        let mut left = self.vectors[0];
        iter::from_fn(move || {
            while left == 0 {
                word += 1;
                left = *self.vectors.get(word)?;
            }
            let bit = left.trailing_zeros() as u8;
            left &= left - 1;
            Some(Message {
                destination: Destination::Everyone,
                delivery: DeliveryMode::Fixed,
                vector: (word % LEVEL * 64) as u8 + bit,
                trigger: if word < LEVEL { Trigger::Edge } else { Trigger::Level },
            })
        })
    }
}

#[cfg(test)]
mod tests;
