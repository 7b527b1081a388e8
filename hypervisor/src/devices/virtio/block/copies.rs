// SPDX-License-Identifier: MIT OR Apache-2.0
//! Blocks of a disk that were written, each in a frame of its own that is taken then, out of what was promised before.

// UNSAFETY: makes blocks out of the addresses of frames.
#![expect(unsafe_code)]

use super::BLOCK;
use crate::memory::Commitment;
use crate::memory::FRAME;
use crate::memory::Frames;
use crate::memory::OutOfFrames;
use crate::memory::physical;
use alloc::vec::Vec;
use core::mem;
use core::sync::atomic::Ordering;

const _: () = assert!(BLOCK as u64 == FRAME);

/// Blocks that a frame of the record has a word for.
const RECORDED: usize = BLOCK / 8;

/// Where the copies of a disk's blocks are.
#[derive(Debug)]
pub struct Copies {
    /// A word for each block: the address of its frame, or zero. Whoever has it alone has the words and the frames.
    record: Vec<Frames>,
    /// All frames, with those of the record.
    memory: Commitment,
}

impl Copies {
    /// For a disk of so many blocks, of which none was written. Memory for all of them is promised.
    pub fn new(blocks: u64) -> Result<Self, OutOfFrames> {
        let recording = blocks.div_ceil(RECORDED as u64);
        let memory = Commitment::new(blocks + recording)?;
        let record = (0..recording).map(|_| memory.take(1)).collect::<Result<_, _>>()?;
        Ok(Self { record, memory })
    }

    /// The copy of a block, if it was written.
    pub fn get(&self, block: usize) -> Option<&[u8; BLOCK]> {
        let address = self.address(block);
        // SAFETY: a frame that we own, for as long as `self` is borrowed, and nobody writes to it meanwhile.
        (address != 0).then(|| unsafe { &*physical::pointer(address).cast() })
    }

    /// The copy of a block. If it was not written yet it has `content`, and zeros after it.
    ///
    /// # Panics
    /// If there is no such block, or `content` is longer: faults of our own.
    pub fn get_or_take(&mut self, block: usize, content: &[u8]) -> &mut [u8; BLOCK] {
        if self.address(block) == 0 {
            let frame = self.memory.take(1).expect("a frame for each block was promised");
            frame.copy_in(0, content);
            let address = mem::ManuallyDrop::new(frame).address();
            self.record[block / RECORDED].words()[block % RECORDED].store(address, Ordering::Relaxed);
        }
        // SAFETY: a frame that we own, and `self` is borrowed by the caller alone.
        unsafe { &mut *physical::pointer(self.address(block)).cast() }
    }

    /// Forgets all of them: their frames are given back, and promised again.
    pub fn clear(&mut self) {
        for word in self.record.iter().flat_map(Frames::words) {
            let address = word.swap(0, Ordering::Relaxed);
            if address != 0 {
                // SAFETY: `get_or_take` took it and forgot it, and its word is gone.
                self.memory.give_back(unsafe { Frames::from_forgotten(address, FRAME) });
            }
        }
    }

    /// Bytes of physical memory that they take, with the record.
    pub fn taken_bytes(&self) -> u64 {
        self.memory.taken() * FRAME
    }

    /// Bytes of physical memory that they may take.
    pub fn promised_bytes(&self) -> u64 {
        self.memory.promised() * FRAME
    }

    fn address(&self, block: usize) -> u64 {
        self.record[block / RECORDED].words()[block % RECORDED].load(Ordering::Relaxed)
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        self.clear();
    }
}
