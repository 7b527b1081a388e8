// SPDX-License-Identifier: MIT OR Apache-2.0
//! A lane: one word in each page of a range that one vCPU alone writes, and what it must therefore hold.

use crate::physical;
use crate::verdict;

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// The most pages that a lane can run through.
pub const MOST_PAGES: usize = 128;

/// A lane, with what was written last in each page.
#[derive(Debug)]
pub struct Lane {
    first: u64,
    pages: usize,
    /// Which word of a page it is; its number, too.
    number: u64,
    written: [u64; MOST_PAGES],
    noise: Noise,
}

impl Lane {
    /// The lane `number` through so many pages from `first` on. Lanes with different numbers do not touch.
    ///
    /// # Panics
    /// When it is longer than [`MOST_PAGES`].
    #[must_use]
    pub fn new(first: u64, pages: usize, number: usize) -> Self {
        assert!(pages <= MOST_PAGES && number < 512);
        let number = number as u64;
        Self { first, pages, number, written: [0; MOST_PAGES], noise: Noise::new(number) }
    }

    fn address(&self, page: usize) -> u64 {
        // Not the same word of each page, so that the lines that are used differ.
        self.first + page as u64 * PAGE + (self.number * 8 + page as u64 * 64) % PAGE
    }

    /// Puts something into each page, before the first [`Lane::step`].
    pub fn fill(&mut self) {
        for page in 0..self.pages {
            self.write(page);
        }
    }

    fn write(&mut self, page: usize) {
        let value = self.noise.next();
        physical::write(self.address(page), value);
        self.written[page] = value;
    }

    /// Checks the lane in one page, whichever comes up, and writes there.
    #[track_caller]
    pub fn step(&mut self) {
        let page = self.noise.below(self.pages);
        self.check(page);
        self.write(page);
    }

    /// Checks all of it.
    #[track_caller]
    pub fn check_all(&self) {
        (0..self.pages).for_each(|page| self.check(page));
    }

    #[track_caller]
    fn check(&self, page: usize) {
        let (address, expected) = (self.address(page), self.written[page]);
        let seen: u64 = physical::read(address);
        if seen != expected {
            let again: u64 = physical::read(address);
            verdict::fail(format_args!(
                "lane {} at {address:#x}: expected {expected:#x}, saw {seen:#x}, and then {again:#x}",
                self.number
            ));
        }
    }
}

/// Numbers without a pattern, the same in each run.
#[derive(Clone, Copy, Debug)]
pub struct Noise(u64);

impl Noise {
    /// A sequence for each seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        // xorshift64: the state is never zero.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// The next number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        // The high bits are the better ones, and a product needs no division.
        (((self.next() >> 32) * limit as u64) >> 32) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_do_not_touch_and_stay_in_their_pages() {
        let mut words = std::collections::BTreeSet::new();
        for number in 0..8 {
            let lane = Lane::new(0x10_0000, MOST_PAGES, number);
            for page in 0..MOST_PAGES {
                let address = lane.address(page);
                assert_eq!(address / PAGE, 0x100 + page as u64);
                assert!(address.is_multiple_of(8) && words.insert(address));
            }
        }
    }
}
