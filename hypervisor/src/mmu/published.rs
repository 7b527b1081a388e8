// SPDX-License-Identifier: MIT OR Apache-2.0
//! Something that many CPUs read without a lock, and that is replaced as a whole: a new one is put in its place, and the
//! old one goes once nobody looks at it any more.

// UNSAFETY: the pointer that is replaced owns what it points to.
#![expect(unsafe_code)]

use crate::cpu::CpuNumber;
use crate::mmu::Coherence;
use crate::mmu::atomic::AtomicPtr;
use crate::mmu::atomic::Ordering;
use crate::mmu::grace::Reading;
use crate::mmu::rule::Rule;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::marker::PhantomData;

/// A value that is read under a grace period.
pub struct Published<T> {
    pointer: AtomicPtr<T>,
    coherence: Arc<Coherence>,
    owns: PhantomData<T>,
}

impl<T: Send + Sync> Published<T> {
    /// The first value.
    pub fn new(coherence: Arc<Coherence>, value: T) -> Self {
        Self { pointer: AtomicPtr::new(Box::into_raw(Box::new(value))), coherence, owns: PhantomData }
    }

    /// What is published now. It stays until the section ends.
    ///
    /// # Panics
    /// If the section is of another machine's grace periods: a fault of our own.
    #[inline]
    pub fn read<'a>(&'a self, reading: &'a Reading<'_>) -> &'a T {
        assert!(reading.is_of(&self.coherence.grace), "a section protects what its own grace periods free");
        // SAFETY: it came from a box, which `replace` only drops when all sections are over that could see it.
        unsafe { &*self.pointer.load(Ordering::Acquire) }
    }

    /// Publishes `value`. Once no CPU looks at the old one any more, `cleanse` takes away what came of it; then it is dropped.
    ///
    /// # Panics
    /// If `me` reads: it would wait for itself.
    pub fn replace(&self, me: CpuNumber, value: T, cleanse: impl FnOnce()) {
        let old = self.pointer.swap(Box::into_raw(Box::new(value)), Ordering::AcqRel);
        let in_time = Rule::PublishedIsWaitedFor.kept();
        if in_time {
            self.coherence.synchronize(me);
        }
        cleanse();
        if !in_time {
            self.coherence.synchronize(me);
        }
        // SAFETY: it came from a box, only this call has taken it out, and nobody that saw it is left.
        drop(unsafe { Box::from_raw(old) });
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        // SAFETY: it came from a box, and nobody can read it any more.
        drop(unsafe { Box::from_raw(self.pointer.load(Ordering::Acquire)) });
    }
}

impl<T: fmt::Debug> fmt::Debug for Published<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(feature = "loom")]
mod loom;

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;
