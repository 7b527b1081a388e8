// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which frames of physical memory are free: one bit each, no pointers into the memory that it hands out.

use core::ops::Range;

const BITS: usize = u64::BITS as usize;

/// A bit a frame, set while the frame is taken. Frames that are no RAM are taken for ever.
#[derive(Debug)]
pub struct FrameBitmap<'a> {
    words: &'a mut [u64],
    free: usize,
    /// No frame below this one is free.
    lowest_free: usize,
}

impl<'a> FrameBitmap<'a> {
    /// Words needed to cover `frames` frames.
    #[must_use]
    pub const fn words_for(frames: usize) -> usize {
        frames.div_ceil(BITS)
    }

    /// A map of which every frame is taken.
    #[must_use]
    pub fn new(words: &'a mut [u64]) -> Self {
        words.fill(u64::MAX);
        let lowest_free = words.len() * BITS;
        Self { words, free: 0, lowest_free }
    }

    /// Frames that are free.
    #[must_use]
    pub fn free_frames(&self) -> usize {
        self.free
    }

    /// Takes `count` neighbouring frames, the first a multiple of `align`; the lowest that there are.
    ///
    /// # Panics
    /// If `count` is 0 or `align` is no power of two: a fault of our own.
    pub fn allocate(&mut self, count: usize, align: usize) -> Option<usize> {
        assert!(count > 0 && align.is_power_of_two(), "a run of frames that cannot be");
        let end = self.words.len() * BITS;
        let mut start = self.lowest_free.next_multiple_of(align);
        while start.checked_add(count)? <= end {
            match self.last_taken(start..start + count) {
                None => {
                    self.set(start..start + count, true);
                    self.free -= count;
                    if start == self.lowest_free {
                        self.lowest_free = start + count;
                    }
                    return Some(start);
                }
                Some(taken) => start = (taken + 1).next_multiple_of(align),
            }
        }
        None
    }

    /// Gives frames back, or adds them for the first time.
    ///
    /// # Panics
    /// If one of them is free already or not covered: a fault of our own.
    pub fn release(&mut self, frames: Range<usize>) {
        assert!(frames.end <= self.words.len() * BITS, "frames {frames:?} are not covered");
        for frame in frames.clone() {
            assert!(self.is_taken(frame), "frame {frame:#x} was given back twice");
        }
        self.free += frames.len();
        self.lowest_free = self.lowest_free.min(frames.start);
        self.set(frames, false);
    }

    /// Takes those of `frames` that are free.
    pub fn reserve(&mut self, frames: Range<usize>) {
        let end = frames.end.min(self.words.len() * BITS);
        for frame in frames.start..end {
            if !self.is_taken(frame) {
                self.free -= 1;
                self.set(frame..frame + 1, true);
            }
        }
    }

    fn is_taken(&self, frame: usize) -> bool {
        self.words[frame / BITS] >> (frame % BITS) & 1 != 0
    }

    /// The last taken frame of a range: the next run can begin after it.
    fn last_taken(&self, frames: Range<usize>) -> Option<usize> {
        pieces(frames).rev().find_map(|(word, mask)| match self.words[word] & mask {
            0 => None,
            taken => Some(word * BITS + taken.ilog2() as usize),
        })
    }

    fn set(&mut self, frames: Range<usize>, taken: bool) {
        for (word, mask) in pieces(frames) {
            if taken { self.words[word] |= mask } else { self.words[word] &= !mask }
        }
    }
}

/// A range of bits as (word, mask of its bits there).
fn pieces(bits: Range<usize>) -> impl DoubleEndedIterator<Item = (usize, u64)> {
    (bits.start / BITS..bits.end.div_ceil(BITS)).map(move |word| {
        let first = bits.start.saturating_sub(word * BITS);
        let after = (bits.end - word * BITS).min(BITS);
        (word, u64::MAX << first & u64::MAX >> (BITS - after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_released_is_never_handed_out() {
        let mut words = [0; 4];
        let mut map = FrameBitmap::new(&mut words);
        assert_eq!(map.allocate(1, 1), None);
        map.release(10..200);
        assert_eq!(map.allocate(64, 64), Some(64));
        assert_eq!(map.allocate(64, 64), Some(128));
        assert_eq!(map.allocate(64, 64), None);
        assert_eq!(map.allocate(54, 1), Some(10));
        assert_eq!(map.free_frames(), 8);
    }

    #[test]
    #[should_panic(expected = "given back twice")]
    fn giving_back_twice_is_caught() {
        let mut words = [0; 1];
        let mut map = FrameBitmap::new(&mut words);
        map.release(0..4);
        map.release(3..4);
    }

    proptest! {
        /// Against a model with a `bool` a frame: no run overlaps another, and a run is refused only if there is none.
        #[test]
        fn runs_are_free_aligned_and_found(
            steps in prop::collection::vec((1_usize..70, 0_u32..7, any::<bool>(), any::<prop::sample::Index>()), 1..60)
        ) {
            let mut words = [0; 6];
            let mut map = FrameBitmap::new(&mut words);
            map.release(3..300);
            map.reserve(100..105);
            let mut free: Vec<bool> = (0..384).map(|n| (3..300).contains(&n) && !(100..105).contains(&n)).collect();
            let mut held: Vec<Range<usize>> = Vec::new();
            for (count, align, give_back, which) in steps {
                if give_back && !held.is_empty() {
                    let run = held.swap_remove(which.index(held.len()));
                    free[run.clone()].fill(true);
                    map.release(run);
                    continue;
                }
                let align = 1 << align;
                let fits = |start: usize| free.get(start..start + count).is_some_and(|run| run.iter().all(|&free| free));
                let expected = (0..384).step_by(align).find(|&start| fits(start));
                let run = map.allocate(count, align);
                prop_assert_eq!(run, expected);
                if let Some(start) = run {
                    free[start..start + count].fill(false);
                    held.push(start..start + count);
                }
                prop_assert_eq!(map.free_frames(), free.iter().filter(|&&free| free).count());
            }
        }
    }
}
