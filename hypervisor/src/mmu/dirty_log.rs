// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which guest frames were written to and can no more be told from the tables: a bit for each.

use crate::memory::FRAME;
use crate::memory::Frames;
use crate::memory::OutOfFrames;
use core::ops::Range;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;

const BITS: u64 = 64;

/// The log of a run of guest frames.
#[derive(Debug)]
pub struct DirtyLog {
    frames: Range<u64>,
    /// Bit `n % 64` of word `n / 64 - start / 64` is that of frame `n`.
    words: Frames,
}

impl DirtyLog {
    /// In which nothing was written to.
    pub fn new(frames: Range<u64>) -> Result<Self, OutOfFrames> {
        let words = frames.end.div_ceil(BITS) - frames.start / BITS;
        Ok(Self { frames, words: Frames::zeroed((words * 8).next_multiple_of(FRAME), FRAME)? })
    }

    /// Some frames were written to; those that are not of the log do not count.
    pub fn mark(&self, frames: Range<u64>) {
        self.for_each_word(frames, |word, mask, _| {
            word.fetch_or(mask, Ordering::Release);
        });
    }

    /// Which of the 64 frames from `first` on were written to since this was asked last: bit `n` for frame `first + n`. Only the
    /// `count` first are asked for.
    #[must_use]
    pub fn take(&self, first: u64, count: u64) -> u64 {
        let mut taken = 0;
        self.for_each_word(first..first + count.min(BITS), |word, mask, word_first| {
            let bits = word.fetch_and(!mask, Ordering::AcqRel) & mask;
            taken |=
                if word_first < first { bits >> (first - word_first) } else { bits << (word_first - first) };
        });
        taken
    }

    /// The words of frames, each with the mask of their bits and the frame of its first bit.
    fn for_each_word(&self, frames: Range<u64>, mut act: impl FnMut(&AtomicU64, u64, u64)) {
        let (start, end) = (frames.start.max(self.frames.start), frames.end.min(self.frames.end));
        if start >= end {
            return;
        }
        for word in start / BITS..end.div_ceil(BITS) {
            let first = word * BITS;
            let mask = u64::MAX << start.saturating_sub(first) & u64::MAX >> (BITS - (end - first).min(BITS));
            act(&self.words.words()[(word - self.frames.start / BITS) as usize], mask, first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_window_across_two_words_is_in_order() {
        let log = DirtyLog::new(100..300).unwrap();
        log.mark(120..121);
        log.mark(127..129);
        assert_eq!(log.take(120, 64), 1 | 1 << 7 | 1 << 8);
        assert_eq!(log.take(120, 64), 0);
    }

    proptest! {
        /// Against a `bool` a frame: what was marked is told once, of what lies in the log and was asked for.
        #[test]
        fn what_was_marked_is_told_once(
            start in 0_u64..200, frames in 1_u64..300,
            steps in prop::collection::vec((0_u64..600, 1_u64..100, any::<bool>()), 1..40)
        ) {
            let log = DirtyLog::new(start..start + frames).unwrap();
            let mut model = [false; 800];
            for (first, count, mark) in steps {
                if mark {
                    log.mark(first..first + count);
                    let (first, end) = (first.max(start), (first + count).min(start + frames));
                    for frame in first..end {
                        model[frame as usize] = true;
                    }
                } else {
                    let count = count.min(64);
                    let expected = (0..count)
                        .filter(|n| core::mem::take(&mut model[(first + n) as usize]))
                        .fold(0, |mask, n| mask | 1 << n);
                    prop_assert_eq!(log.take(first, count), expected);
                }
            }
        }
    }
}
