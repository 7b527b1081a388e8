// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which frames of physical memory are free: one bit each, no pointers into the memory that it hands out.

use core::ops::Range;

const BITS: usize = u64::BITS as usize;
/// Frames of a 2 MiB page: guests' memory comes in runs of that many, or one by one.
const LARGE: usize = 512;

/// A bit a frame, set while the frame is taken. Frames that are no RAM are taken for ever.
#[derive(Debug)]
pub struct FrameBitmap<'a> {
    words: &'a mut [u64],
    free: usize,
    /// How many of the free ones are promised to somebody, and for nobody else.
    promised: usize,
    /// No frame below this one is free.
    lowest_free: usize,
    /// No run of [`LARGE`] frames at a multiple of that is free below this one.
    lowest_large: usize,
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
        Self { words, free: 0, promised: 0, lowest_free, lowest_large: lowest_free }
    }

    /// Frames that are free and not promised.
    #[must_use]
    pub fn free_frames(&self) -> usize {
        self.free - self.promised
    }

    /// Promises `count` frames, if there are as many: they can be had one by one, whatever others take.
    pub fn promise(&mut self, count: usize) -> bool {
        let can = count <= self.free_frames();
        if can {
            self.promised += count;
        }
        can
    }

    /// Takes the promise of `count` frames back.
    ///
    /// # Panics
    /// If fewer are promised: a fault of our own.
    pub fn withdraw(&mut self, count: usize) {
        self.promised = self.promised.checked_sub(count).expect("only what was promised is withdrawn");
    }

    /// Takes `count` neighbouring frames that are not promised, the first a multiple of `align`; the lowest that there are.
    ///
    /// # Panics
    /// If `count` is 0 or `align` is no power of two: a fault of our own.
    pub fn allocate(&mut self, count: usize, align: usize) -> Option<usize> {
        if count > self.free_frames() {
            return None;
        }
        self.take(count, align)
    }

    /// Takes `count` frames that were promised, as [`FrameBitmap::allocate`] does. A single one is always there.
    pub fn allocate_promised(&mut self, count: usize, align: usize) -> Option<usize> {
        let start = self.take(count, align)?;
        self.withdraw(count);
        Some(start)
    }

    fn take(&mut self, count: usize, align: usize) -> Option<usize> {
        assert!(count > 0 && align.is_power_of_two(), "a run of frames that cannot be");
        let start = if count == 1 && align == 1 { self.first_free()? } else { self.first_run(count, align)? };
        self.set(start..start + count, true);
        self.free -= count;
        if start == self.lowest_free {
            self.lowest_free = start + count;
        }
        Some(start)
    }

    /// The lowest free frame. The most frequent question, so it takes whole words at a time.
    fn first_free(&mut self) -> Option<usize> {
        let first = self.lowest_free / BITS;
        let word = first + self.words.get(first..)?.iter().position(|&word| word != u64::MAX)?;
        self.lowest_free = word * BITS + self.words[word].trailing_ones() as usize;
        Some(self.lowest_free)
    }

    fn first_run(&mut self, count: usize, align: usize) -> Option<usize> {
        let large = count == LARGE && align == LARGE;
        let end = self.words.len() * BITS;
        let from = if large { self.lowest_large.max(self.lowest_free) } else { self.lowest_free };
        let mut start = from.next_multiple_of(align);
        let found = loop {
            if start.checked_add(count)? > end {
                break None;
            }
            match self.last_taken(start..start + count) {
                None => break Some(start),
                Some(taken) => start = (taken + 1).next_multiple_of(align),
            }
        };
        if large {
            self.lowest_large = start;
        }
        found
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
        self.set(frames.clone(), false);
        // Not where a frame among taken ones comes back, as a table does: the next search would go through all of memory again.
        if let Some(run) = self.first_large_around(frames) {
            self.lowest_large = self.lowest_large.min(run);
        }
    }

    /// The lowest free run of [`LARGE`] frames at a multiple of that which has some of `frames`.
    fn first_large_around(&self, frames: Range<usize>) -> Option<usize> {
        let end = self.words.len() * BITS;
        let mut runs = (frames.start / LARGE * LARGE..frames.end).step_by(LARGE);
        runs.find(|&run| run + LARGE <= end && self.last_taken(run..run + LARGE).is_none())
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

    #[test]
    fn what_comes_back_has_large_runs_looked_for_again_only_where_it_completes_one() {
        let mut words = [0; 4 * LARGE / BITS];
        let mut map = FrameBitmap::new(&mut words);
        map.release(0..4 * LARGE);
        assert_eq!(map.allocate(3 * LARGE + 1, 1), Some(0));
        assert_eq!(map.allocate(LARGE, LARGE), None);
        map.release(LARGE..LARGE + 1);
        assert_eq!(map.allocate(LARGE, LARGE), None);
        map.release(2 * LARGE - 3..2 * LARGE);
        assert_eq!(map.lowest_large, 4 * LARGE, "nothing to be found was passed by");
        map.release(LARGE + 1..2 * LARGE - 3);
        assert_eq!(map.lowest_large, LARGE);
        assert_eq!(map.allocate(LARGE, LARGE), Some(LARGE));
    }

    #[test]
    fn what_is_promised_is_there_one_by_one_and_for_nobody_else() {
        let mut words = [0; 1];
        let mut map = FrameBitmap::new(&mut words);
        map.release(0..10);
        assert!(map.promise(8) && !map.promise(3));
        assert_eq!(map.free_frames(), 2);
        assert_eq!(map.allocate(3, 1), None);
        assert_eq!(map.allocate(2, 1), Some(0));
        assert_eq!(map.allocate(1, 1), None);
        for _ in 0..6 {
            assert!(map.allocate_promised(1, 1).is_some());
        }
        map.withdraw(2);
        assert_eq!(map.allocate(2, 1), Some(8));
    }

    /// How much is asked for, and at what multiple.
    fn sizes() -> impl Strategy<Value = (usize, usize)> {
        let small = (1_usize..70, 0_u32..7).prop_map(|(count, align)| (count, 1 << align));
        prop_oneof![2 => small, 2 => Just((1, 1)), 2 => Just((LARGE, LARGE)), 1 => Just((2 * LARGE, LARGE))]
    }

    proptest! {
        /// Against a model with a `bool` a frame: no run overlaps another, and a run is refused only if there is none.
        #[test]
        fn runs_are_free_aligned_and_found(
            steps in prop::collection::vec((sizes(), any::<bool>(), any::<prop::sample::Index>()), 1..60)
        ) {
            const FRAMES: usize = 80 * BITS;
            let mut words = [0; FRAMES / BITS];
            let mut map = FrameBitmap::new(&mut words);
            map.release(3..5000);
            map.reserve(600..605);
            let mut free: Vec<bool> =
                (0..FRAMES).map(|n| (3..5000).contains(&n) && !(600..605).contains(&n)).collect();
            let mut held: Vec<Range<usize>> = Vec::new();
            for ((count, align), give_back, which) in steps {
                if give_back && !held.is_empty() {
                    let run = held.swap_remove(which.index(held.len()));
                    free[run.clone()].fill(true);
                    map.release(run);
                    continue;
                }
                let fits = |start: usize| free.get(start..start + count).is_some_and(|run| run.iter().all(|&free| free));
                let expected = (0..FRAMES).step_by(align).find(|&start| fits(start));
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
