// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grace periods: what was taken out of sight is freed when every CPU that might still look at it is done.
//!
//! A CPU shows that it reads, and reads what it finds published; whoever replaces that waits until all CPUs that were reading
//! have been through. Readers wait for nobody. Sections nest, and belong to the CPU: no section lasts while another thread
//! of execution takes the CPU over.

use super::coherence::Kick;
use crate::cpu::CpuNumber;
use crate::cpu::PerCpu;
use crate::cpu::number::Padded;
use crate::mmu::atomic::AtomicU64;
use crate::mmu::atomic::Ordering;
use crate::mmu::atomic::fence;
use crate::mmu::rule::Rule;
use core::marker::PhantomData;

/// How deep sections are nested, in the low bits of a CPU's word.
const DEPTH: u64 = 0xff;
/// Above it, how many outermost sections there have been.
const SECTION: u64 = DEPTH + 1;

/// Who reads.
#[derive(Debug)]
pub struct Grace(PerCpu<Padded<AtomicU64>>);

impl Grace {
    pub(super) fn new() -> Self {
        Self(PerCpu::new(|_| Padded(AtomicU64::new(0))))
    }

    /// Until it is dropped, nothing that this CPU finds published is freed. `me` must be the CPU that calls.
    ///
    /// Within it the CPU must not wait for another one that may be in [`synchronize`](Self::synchronize).
    ///
    /// # Panics
    /// If 255 sections are open: a fault of our own.
    pub fn read(&self, me: CpuNumber) -> Reading<'_> {
        let word = &self.0[me].0;
        let before = word.load(Ordering::Relaxed);
        let depth = before & DEPTH;
        assert!(depth < DEPTH, "{me} is in {depth} sections at once");
        let first = depth == 0;
        // Release: who finds a new section finds the old one over.
        word.store(before + 1 + if first { SECTION } else { 0 }, Ordering::Release);
        if first && Rule::FenceAfterReading.kept() {
            fence(Ordering::SeqCst);
        }
        Reading { word, not_send: PhantomData }
    }

    /// Whether `cpu` is in a section.
    #[must_use]
    pub fn is_reading(&self, cpu: CpuNumber) -> bool {
        self.0[cpu].0.load(Ordering::Acquire) & DEPTH != 0
    }

    /// Waits until every CPU that is in a section now has left it.
    ///
    /// # Panics
    /// If `me` is in one: it would wait for itself.
    pub fn synchronize(&self, me: CpuNumber, kick: &dyn Kick) {
        assert!(!self.is_reading(me), "{me} waits for readers, and is one");
        fence(Ordering::SeqCst);
        for (_, word) in self.0.iter().filter(|_| Rule::WaitForReaders.kept()) {
            let then = word.0.load(Ordering::Acquire);
            let mut now = then;
            while now & DEPTH != 0 && now / SECTION == then / SECTION {
                kick.relax();
                now = word.0.load(Ordering::Acquire);
            }
        }
    }
}

/// A section in which what was found stays.
#[must_use = "it lasts until it is dropped"]
#[derive(Debug)]
pub struct Reading<'a> {
    word: &'a AtomicU64,
    /// It belongs to the CPU that began it.
    not_send: PhantomData<*const ()>,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let now = self.word.load(Ordering::Relaxed);
        let after = if Rule::OuterSectionLasts.kept() { now - 1 } else { now & !DEPTH };
        self.word.store(after, Ordering::Release);
    }
}
