// SPDX-License-Identifier: MIT OR Apache-2.0
//! RAM of a guest: memory that is there in full from the beginning on, and taken as it is touched.
//!
//! Where 2 MiB of it are in one piece and physical memory has such a piece, it is taken as a whole, and one entry of the
//! guest's tables can map it; else frame by frame. What was taken stays until the RAM goes. A piece is brought by one CPU;
//! others that come by see that it is under way.

// UNSAFETY: words hold the addresses of frames and tables that the RAM owns.
#![expect(unsafe_code)]

use super::paging::NotNow;
use super::table::frames_of;
use super::words::WORDS;
use super::words::WordPage;
use crate::memory::Commitment;
use crate::memory::FRAME;
use crate::memory::Frames;
use crate::memory::OutOfFrames;
use crate::memory::frames::copy;
use crate::memory::physical;
use crate::mmu::atomic::AtomicU64;
use crate::mmu::atomic::Ordering;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;

/// Frames of a large page.
const LARGE: u64 = frames_of(2);

/// What a word says beside an address: nothing is there yet; a CPU is bringing it; a large page; frames one by one, in a
/// table. Addresses leave these bits free.
const EMPTY: u64 = 0;
const BUSY: u64 = 1;
const IS_LARGE: u64 = 2;
const IS_TABLE: u64 = 4;
const MARKS: u64 = FRAME - 1;

/// Pages of words for RAM of so many frames: a word for each block.
fn pages_of_words(frames: u64) -> u64 {
    frames.div_ceil(LARGE).div_ceil(WORDS as u64)
}

/// Frames that record what is behind RAM of so many frames: its words, and a table for each block.
fn record_frames(frames: u64) -> u64 {
    pages_of_words(frames) + frames.div_ceil(LARGE)
}

/// RAM of its own, which may be at places in guests' memory.
#[derive(Debug)]
pub struct Ram {
    frames: u64,
    /// A word for each 2 MiB.
    blocks: Vec<WordPage>,
    /// All of it, the pages of words, and a table for each block.
    memory: Commitment,
}

/// A part of RAM that is there, in one piece of physical memory: it stays as long as the RAM.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'r> {
    address: u64,
    bytes: u64,
    ram: PhantomData<&'r Ram>,
}

impl Piece<'_> {
    /// Nothing of it.
    pub const EMPTY: Self = Self { address: 0, bytes: 0, ram: PhantomData };

    /// Frames of it.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.bytes / FRAME
    }

    /// Copies out of it, from byte `offset` on. Tells whether it has all of that; if not, nothing is copied.
    #[inline]
    #[must_use]
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> bool {
        let has = self.has(offset, buffer.len());
        if has {
            // SAFETY: part of memory that the RAM keeps, which is borrowed, and a buffer that somebody borrows is not of it.
            unsafe { copy(physical::pointer(self.address + offset), buffer.as_mut_ptr(), buffer.len()) };
        }
        has
    }

    /// Copies into it, from byte `offset` on. Tells whether it has all of that; if not, nothing is copied.
    #[inline]
    #[must_use]
    pub fn write(&self, offset: u64, bytes: &[u8]) -> bool {
        let has = self.has(offset, bytes.len());
        if has {
            // SAFETY: as for `read`.
            unsafe { copy(bytes.as_ptr(), physical::pointer(self.address + offset), bytes.len()) };
        }
        has
    }

    fn has(&self, offset: u64, len: usize) -> bool {
        offset < self.bytes && len as u64 <= self.bytes - offset
    }
}

/// The frame behind a part of the RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backed {
    /// Its physical address.
    pub address: u64,
    /// It is part of 2 MiB in one piece.
    pub large: bool,
}

impl Ram {
    /// RAM of so many bytes, whole frames, all zero. Its memory is set aside.
    ///
    /// # Panics
    /// If they are not whole frames: a fault of our own.
    pub fn new(bytes: u64) -> Result<Arc<Self>, OutOfFrames> {
        assert!(bytes.is_multiple_of(FRAME), "RAM is whole frames");
        let frames = bytes / FRAME;
        let memory = Commitment::new(frames + record_frames(frames))?;
        Self::out_of(memory, frames).map(Arc::new)
    }

    fn out_of(memory: Commitment, frames: u64) -> Result<Self, OutOfFrames> {
        let blocks =
            (0..pages_of_words(frames)).map(|_| WordPage::take(&memory)).collect::<Result<_, _>>()?;
        Ok(Self { frames, blocks, memory })
    }

    /// Frames of it.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Bytes that are set aside for the record of what is behind it, if all of it comes page by page.
    #[must_use]
    pub fn record_bytes(&self) -> u64 {
        record_frames(self.frames) * FRAME
    }

    /// Bytes of physical memory that it has taken so far, with the record of what is where.
    #[must_use]
    pub fn backed_bytes(&self) -> u64 {
        self.memory.taken() * FRAME
    }

    /// The frame behind its frame number `frame`, if that is there yet.
    ///
    /// # Panics
    /// If it has no such frame: a fault of our own.
    #[must_use]
    pub fn look(&self, frame: u64) -> Option<Backed> {
        self.check(frame);
        let block = self.block(frame).load(Ordering::Acquire);
        if block & IS_LARGE != 0 {
            return Some(part_of_large(block, frame));
        }
        if block & IS_TABLE == 0 {
            return None;
        }
        let word = self.small(block, frame).load(Ordering::Acquire);
        (word & !MARKS != 0).then_some(Backed { address: word, large: false })
    }

    /// The frame behind its frame number `frame`, brought if it is not there yet.
    ///
    /// # Panics
    /// If it has no such frame: a fault of our own.
    pub fn back(&self, frame: u64) -> Result<Backed, NotNow> {
        self.check(frame);
        let whole = frame / LARGE * LARGE + LARGE <= self.frames;
        let block = brought(self.block(frame), || {
            if whole && let Ok(run) = self.memory.take(LARGE) {
                return Ok(forget(run) | IS_LARGE);
            }
            WordPage::take(&self.memory).map(|page| page.into_address() | IS_TABLE)
        })?;
        if block & IS_LARGE != 0 {
            return Ok(part_of_large(block, frame));
        }
        let address = brought(self.small(block, frame), || self.memory.take(1).map(forget))?;
        Ok(Backed { address, large: false })
    }

    fn check(&self, frame: u64) {
        assert!(frame < self.frames, "frame {frame:#x} of RAM that has {:#x}", self.frames);
    }

    /// The word of the block of a frame.
    fn block(&self, frame: u64) -> &AtomicU64 {
        let block = (frame / LARGE) as usize;
        &self.blocks[block / WORDS].words()[block % WORDS]
    }

    /// The word of a frame in the table that `block` leads to.
    fn small(&self, block: u64, frame: u64) -> &AtomicU64 {
        // SAFETY: `back` made the table, and it stays as long as the RAM.
        let table = unsafe { WordPage::at(block & !MARKS) };
        &table[(frame % LARGE) as usize]
    }

    /// The piece that has its frame number `frame`, if that is there yet; and how many frames come before that one in it.
    ///
    /// # Panics
    /// If it has no such frame: a fault of our own.
    #[must_use]
    pub fn piece(&self, frame: u64) -> Option<(Piece<'_>, u64)> {
        let backed = self.look(frame)?;
        let (before, frames) = if backed.large { (frame % LARGE, LARGE) } else { (0, 1) };
        let address = backed.address - before * FRAME;
        Some((Piece { address, bytes: frames * FRAME, ram: PhantomData }, before))
    }

    /// Copies out of its frame number `frame`, from byte `offset` on; zeros where nothing is there yet.
    pub fn read(&self, frame: u64, offset: u64, buffer: &mut [u8]) {
        match self.look(frame) {
            Some(backed) => borrowed(&backed).copy_out(offset, buffer),
            None => buffer.fill(0),
        }
    }

    /// Copies into its frame number `frame`, from byte `offset` on.
    pub fn write(&self, frame: u64, offset: u64, bytes: &[u8]) -> Result<(), NotNow> {
        borrowed(&self.back(frame)?).copy_in(offset, bytes);
        Ok(())
    }

    /// Replaces word number `index` of its frame number `frame`, if it is `current`; tells whether it was.
    pub fn compare_exchange(&self, frame: u64, index: usize, current: u64, new: u64) -> Result<bool, NotNow> {
        let backed = self.back(frame)?;
        let frame = borrowed(&backed);
        let exchanged =
            frame.words()[index].compare_exchange(current, new, Ordering::AcqRel, Ordering::Relaxed);
        Ok(exchanged.is_ok())
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        for block in self.blocks.iter().flat_map(WordPage::words) {
            let block = block.load(Ordering::Acquire);
            if block & IS_LARGE != 0 {
                // SAFETY: `back` took them as one run and forgot them, and nobody has the RAM any more.
                drop(unsafe { Frames::from_forgotten(block & !MARKS, LARGE * FRAME) });
            } else if block & IS_TABLE != 0 {
                // SAFETY: `back` made the table, and nobody has the RAM any more.
                let table = unsafe { WordPage::from_address(block & !MARKS) };
                for word in table.words() {
                    let address = word.load(Ordering::Acquire);
                    if address != EMPTY {
                        // SAFETY: `back` took it and forgot it.
                        drop(unsafe { Frames::from_forgotten(address, FRAME) });
                    }
                }
                table.give_back(&self.memory);
            }
        }
    }
}

/// What a word says once it says something: brought by `bring`, if nobody did or does.
fn brought(word: &AtomicU64, bring: impl FnOnce() -> Result<u64, OutOfFrames>) -> Result<u64, NotNow> {
    match word.load(Ordering::Acquire) {
        EMPTY => {}
        BUSY => return Err(NotNow::Busy),
        there => return Ok(there),
    }
    if word.compare_exchange(EMPTY, BUSY, Ordering::Acquire, Ordering::Relaxed).is_err() {
        return Err(NotNow::Busy);
    }
    let there = bring();
    // Release: who sees the memory sees it zeroed.
    word.store(*there.as_ref().unwrap_or(&EMPTY), Ordering::Release);
    Ok(there?)
}

fn part_of_large(block: u64, frame: u64) -> Backed {
    Backed { address: (block & !MARKS) + frame % LARGE * FRAME, large: true }
}

fn forget(frames: Frames) -> u64 {
    ManuallyDrop::new(frames).address()
}

/// A frame that the RAM owns, to copy from and to.
fn borrowed(backed: &Backed) -> ManuallyDrop<Frames> {
    // SAFETY: part of memory that the RAM keeps; it is never given back from here.
    ManuallyDrop::new(unsafe { Frames::from_forgotten(backed.address, FRAME) })
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;
