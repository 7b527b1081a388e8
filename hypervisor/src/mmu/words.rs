// SPDX-License-Identifier: MIT OR Apache-2.0
//! A frame of words that many CPUs change at once, and how it goes by its address alone.
//!
//! Model checking needs words of its own kind, and few of them: there such a page has two, and what is given back stays as
//! rubble, so that whoever still goes there is found.

// UNSAFETY: makes words out of the addresses that other words hold.
#![expect(unsafe_code)]

use crate::memory::Commitment;
#[cfg(not(feature = "loom"))]
use crate::memory::FRAME;
use crate::memory::Frames;
use crate::memory::OutOfFrames;
#[cfg(not(feature = "loom"))]
use crate::memory::physical;
use crate::mmu::atomic::AtomicU64;
#[cfg(not(feature = "loom"))]
use core::mem;

/// Bits of an address that choose a word of a page.
pub const INDEX_BITS: u32 = if cfg!(feature = "loom") { 1 } else { 9 };
/// Words of a page.
pub const WORDS: usize = 1 << INDEX_BITS;

/// An owned page of words, all zero at first.
#[derive(Debug)]
#[cfg(not(feature = "loom"))]
pub struct WordPage(Frames);

#[cfg(not(feature = "loom"))]
impl WordPage {
    /// A fresh one.
    pub fn take(memory: &Commitment) -> Result<Self, OutOfFrames> {
        memory.take(1).map(Self)
    }

    /// Gives it back to where it came from.
    pub fn give_back(self, memory: &Commitment) {
        memory.give_back(self.0);
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64; WORDS] {
        // SAFETY: ours, for as long as `self` is borrowed.
        unsafe { Self::at(self.0.address()) }
    }

    /// Physical address.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.0.address()
    }

    /// From here on it goes by its address.
    #[must_use]
    pub fn into_address(self) -> u64 {
        let address = self.0.address();
        mem::forget(self);
        address
    }

    /// The page that became this address.
    ///
    /// # Safety
    /// [`WordPage::into_address`] gave it, nobody did this before, and nobody uses the words any more.
    #[must_use]
    pub unsafe fn from_address(address: u64) -> Self {
        // SAFETY: a page is one frame, and it was forgotten.
        Self(unsafe { Frames::from_forgotten(address, FRAME) })
    }

    /// The words of the page that became this address.
    ///
    /// # Safety
    /// It is not turned back into a page for as long as `'a` lasts.
    #[must_use]
    #[inline]
    pub unsafe fn at<'a>(address: u64) -> &'a [AtomicU64; WORDS] {
        // SAFETY: a frame of words, which are only ever touched as atomics, and it stays, as the caller promised.
        unsafe { &*physical::pointer(address).cast::<[AtomicU64; WORDS]>() }
    }
}

#[cfg(feature = "loom")]
pub use explored::WordPage;

/// The same for model checking, out of loom's atomics.
#[cfg(feature = "loom")]
mod explored {
    use super::*;
    use core::sync::atomic::AtomicBool;
    use core::sync::atomic::Ordering;
    use std::cell::RefCell;
    use std::collections::VecDeque;

    /// More than one run of a model ever gives back.
    const RUBBLE: usize = 64;

    std::thread_local! {
        static GIVEN_BACK: RefCell<VecDeque<WordPage>> = const { RefCell::new(VecDeque::new()) };
    }

    #[derive(Debug)]
    #[repr(align(4096))]
    struct Page {
        words: [AtomicU64; WORDS],
        /// To count as one.
        _frame: Option<Frames>,
        given_back: AtomicBool,
    }

    #[derive(Debug)]
    pub struct WordPage(Box<Page>);

    impl WordPage {
        pub fn take(memory: &Commitment) -> Result<Self, OutOfFrames> {
            let frame = Some(memory.take(1)?);
            let words = core::array::from_fn(|_| AtomicU64::new(0));
            Ok(Self(Box::new(Page { words, _frame: frame, given_back: AtomicBool::new(false) })))
        }

        pub fn give_back(mut self, memory: &Commitment) {
            if let Some(frame) = self.0._frame.take() {
                memory.give_back(frame);
            }
            self.0.given_back.store(true, Ordering::Relaxed);
            GIVEN_BACK.with_borrow_mut(|rubble| {
                rubble.push_back(self);
                rubble.truncate(RUBBLE);
            });
        }

        pub fn words(&self) -> &[AtomicU64; WORDS] {
            &self.0.words
        }

        pub fn address(&self) -> u64 {
            (&raw const *self.0).expose_provenance() as u64
        }

        pub fn into_address(self) -> u64 {
            Box::into_raw(self.0).expose_provenance() as u64
        }

        /// # Safety
        /// As for the real one.
        pub unsafe fn from_address(address: u64) -> Self {
            // SAFETY: as the caller promised.
            Self(unsafe { Box::from_raw(core::ptr::with_exposed_provenance_mut(address as usize)) })
        }

        /// # Safety
        /// As for the real one; but a page that was given back a short while ago is found.
        pub unsafe fn at<'a>(address: u64) -> &'a [AtomicU64; WORDS] {
            // SAFETY: as the caller promised.
            let page: &Page = unsafe { &*core::ptr::with_exposed_provenance(address as usize) };
            assert!(!page.given_back.load(Ordering::Relaxed), "stale use of a table that was given back");
            &page.words
        }
    }
}
