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
use core::ptr;

#[cfg(test)]
#[cfg(feature = "loom")]
mod loom;
#[cfg(test)]
mod tests;

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

    /// Until it is dropped, nothing that was found published since is freed. `me` is the CPU that calls; that costs the least,
    /// and whoever lets two share a number only waits longer.
    ///
    /// Within it the CPU must not wait for another one that may be in [`synchronize`](Self::synchronize).
    ///
    /// # Panics
    /// If 255 sections are open: a fault of our own.
    pub fn read(&self, me: CpuNumber) -> Reading<'_> {
        let word = &self.0[me].0;
        let mut before = word.load(Ordering::Relaxed);
        loop {
            assert!(before & DEPTH < DEPTH, "{me} is in {DEPTH} sections at once");
            let outermost = before & DEPTH == 0;
            let after = before.wrapping_add(if outermost { SECTION + 1 } else { 1 });
            match word.compare_exchange(before, after, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if outermost && Rule::FenceAfterReading.kept() => break fence(Ordering::SeqCst),
                Ok(_) => break,
                Err(now) => before = now,
            }
        }
        Reading { grace: self, me, not_send: PhantomData }
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
        if Rule::FenceBeforeWaiting.kept() {
            fence(Ordering::SeqCst);
        }
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
    grace: &'a Grace,
    me: CpuNumber,
    /// It belongs to the CPU that began it.
    not_send: PhantomData<*const ()>,
}

impl Reading<'_> {
    /// Whether it is `grace` whose [`synchronize`](Grace::synchronize) waits for it.
    #[must_use]
    #[inline]
    pub fn is_of(&self, grace: &Grace) -> bool {
        ptr::eq(self.grace, grace)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let word = &self.grace.0[self.me].0;
        if Rule::OuterSectionLasts.kept() {
            word.fetch_sub(1, Ordering::Release);
        } else {
            word.fetch_and(!DEPTH, Ordering::Release);
        }
    }
}
