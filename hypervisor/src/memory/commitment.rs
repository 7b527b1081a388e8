// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames that are set aside for somebody by number: who was promised them finds them when they are needed.

use crate::memory::FRAME;
use crate::memory::Frames;
use crate::memory::OutOfFrames;
use crate::memory::frames;
use core::mem;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;

/// A promise of frames. Which ones is open until they are taken; a single one can always be had, a run of several only
/// where so many neighbours are free.
#[derive(Debug)]
pub struct Commitment {
    left: AtomicU64,
    taken: AtomicU64,
}

impl Commitment {
    /// A promise of `frames` frames.
    pub fn new(frames: u64) -> Result<Self, OutOfFrames> {
        let commitment = Self { left: AtomicU64::new(0), taken: AtomicU64::new(0) };
        commitment.grow(frames)?;
        Ok(commitment)
    }

    /// Promises `frames` more.
    pub fn grow(&self, frames: u64) -> Result<(), OutOfFrames> {
        if !frames::promise(frames) {
            return Err(OutOfFrames { bytes: frames.saturating_mul(FRAME) });
        }
        self.left.fetch_add(frames, Ordering::Release);
        Ok(())
    }

    /// Takes the promise of `frames` frames back, if as many are left.
    #[must_use]
    pub fn shrink(&self, frames: u64) -> bool {
        let left = self.claim(frames).is_ok();
        if left {
            frames::withdraw(frames);
        }
        left
    }

    /// Takes `frames` zeroed frames in one piece, at a multiple of their number; in a power of two.
    pub fn take(&self, frames: u64) -> Result<Frames, OutOfFrames> {
        self.claim(frames)?;
        let taken = Frames::promised(frames * FRAME);
        match taken {
            Ok(_) => self.taken.fetch_add(frames, Ordering::Relaxed),
            Err(_) => self.left.fetch_add(frames, Ordering::Release),
        };
        taken
    }

    /// Gives back frames that were taken; they are promised again.
    pub fn give_back(&self, frames: Frames) {
        let count = frames.bytes() / FRAME;
        frames.give_back_promised();
        self.taken.fetch_sub(count, Ordering::Relaxed);
        self.left.fetch_add(count, Ordering::Release);
    }

    /// Frames that were taken and not given back.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Frames that were promised, whether they were taken or not.
    #[must_use]
    pub fn promised(&self) -> u64 {
        self.left.load(Ordering::Relaxed) + self.taken()
    }

    // Acquire: the promise that raised it was made before, to the allocator, too.
    fn claim(&self, frames: u64) -> Result<(), OutOfFrames> {
        let less = |left: u64| left.checked_sub(frames);
        match self.left.fetch_update(Ordering::Acquire, Ordering::Relaxed, less) {
            Ok(_) => Ok(()),
            Err(_) => Err(OutOfFrames { bytes: frames * FRAME }),
        }
    }
}

impl Drop for Commitment {
    fn drop(&mut self) {
        frames::withdraw(mem::take(self.left.get_mut()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_was_promised() {
        let commitment = Commitment::new(3).unwrap();
        let pair = commitment.take(2).unwrap();
        assert!(pair.address().is_multiple_of(2 * FRAME));
        assert_eq!(commitment.take(2).err(), Some(OutOfFrames { bytes: 2 * FRAME }));
        let one = commitment.take(1).unwrap();
        assert_eq!(commitment.take(1).err(), Some(OutOfFrames { bytes: FRAME }));
        commitment.give_back(pair);
        assert_eq!(commitment.taken(), 1);
        drop(commitment.take(2).unwrap());
        drop(one);
    }

    /// Nobody sees what the one before has left there.
    #[test]
    fn what_is_taken_is_zeroed() {
        let commitment = Commitment::new(2).unwrap();
        for _ in 0..2 {
            let frames = commitment.take(2).unwrap();
            assert!(frames.words().iter().all(|word| word.swap(u64::MAX, Ordering::Relaxed) == 0));
            commitment.give_back(frames);
        }
    }

    #[test]
    fn what_cannot_be_kept_is_not_promised() {
        let absurd = 1 << 40;
        assert_eq!(Commitment::new(absurd).err(), Some(OutOfFrames { bytes: absurd * FRAME }));
        let commitment = Commitment::new(1).unwrap();
        assert_eq!(commitment.grow(absurd), Err(OutOfFrames { bytes: absurd * FRAME }));
        commitment.grow(1).unwrap();
        assert!(commitment.shrink(2) && !commitment.shrink(1));
        assert_eq!(commitment.take(1).err(), Some(OutOfFrames { bytes: FRAME }));
    }
}
