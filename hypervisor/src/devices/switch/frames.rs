// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole frames, first in first out, in a bounded piece of memory.

use alloc::boxed::Box;
use alloc::vec;
use core::fmt;

/// Bytes of memory, in which each frame takes [`LENGTH`] bytes more than it has.
pub const CAPACITY: usize = 64 << 10;
/// Bytes of the number before each frame that tells its length.
const LENGTH: usize = size_of::<u16>();

/// Frames that wait. What is taken out makes no room before all is: one that is filled and one that is emptied are
/// exchanged for each other, so that who fills never waits for who empties.
pub struct Frames {
    bytes: Box<[u8]>,
    /// Where the first one begins.
    start: usize,
    /// Where the last one ends.
    end: usize,
    /// How many there are.
    count: u64,
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Default for Frames {
    fn default() -> Self {
        Self { bytes: vec![0; CAPACITY].into_boxed_slice(), start: 0, end: 0, count: 0 }
    }
}

impl Frames {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends a copy of `frame`, and tells whether there was room for it.
    #[must_use]
    pub fn push(&mut self, frame: &[u8]) -> bool {
        let Ok(length) = u16::try_from(frame.len()) else { return false };
        let Some(room) = self.bytes[self.end..].get_mut(..LENGTH + frame.len()) else { return false };
        let (before, room) = room.split_at_mut(LENGTH);
        before.copy_from_slice(&length.to_le_bytes());
        room.copy_from_slice(frame);
        self.end += LENGTH + frame.len();
        self.count += 1;
        true
    }

    /// The first frame.
    #[must_use]
    pub fn first(&self) -> Option<&[u8]> {
        let (length, rest) = self.bytes[self.start..self.end].split_first_chunk()?;
        Some(&rest[..usize::from(u16::from_le_bytes(*length))])
    }

    /// Takes the first frame out, if there is one.
    pub fn pop(&mut self) {
        let Some(frame) = self.first() else { return };
        self.start += LENGTH + frame.len();
        self.count -= 1;
        if self.is_empty() {
            self.clear();
        }
    }

    /// Takes all out, and tells how many there were.
    pub fn clear(&mut self) -> u64 {
        (self.start, self.end) = (0, 0);
        core::mem::take(&mut self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(steps in prop::collection::vec(prop::option::of(0..2000_usize), 0..300)) {
            let mut frames = Frames::default();
            let mut model = VecDeque::new();
            for (step, number) in steps.into_iter().zip((0..=u8::MAX).cycle()) {
                match step {
                    Some(length) => {
                        let frame = vec![number; length];
                        if frames.push(&frame) {
                            model.push_back(frame);
                        }
                    }
                    None => {
                        frames.pop();
                        model.pop_front();
                    }
                }
                prop_assert_eq!(frames.first(), model.front().map(Vec::as_slice));
                prop_assert_eq!(frames.is_empty(), model.is_empty());
            }
            prop_assert_eq!(frames.clear(), model.len() as u64);
            prop_assert!(frames.first().is_none());
        }
    }

    #[test]
    fn what_does_not_fit_leaves_no_trace_and_there_is_room_again_when_all_is_out() {
        let mut frames = Frames::default();
        let mut pushed = 0;
        while frames.push(&[7; 1514]) {
            pushed += 1;
        }
        assert_eq!(pushed, CAPACITY / (1514 + LENGTH));
        for _ in 0..pushed {
            assert_eq!(frames.first(), Some(&[7; 1514][..]));
            frames.pop();
        }
        assert!(frames.is_empty() && frames.first().is_none());
        assert!(frames.push(&[8; 1514]));
    }
}
