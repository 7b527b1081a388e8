// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is written and must be found again: bytes without a pattern, the same in each run, and their checksum.

/// An endless sequence of bytes, another for each seed.
#[derive(Clone, Debug)]
pub struct Content(u64);

impl Content {
    /// The sequence of this seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Fills `words` with what comes next.
    pub fn fill(&mut self, words: &mut [u64]) {
        for word in words {
            *word = self.word();
        }
    }

    /// So many of the words that come next.
    #[must_use]
    pub fn words(mut self, count: usize) -> Vec<u64> {
        let mut words = vec![0; count];
        self.fill(&mut words);
        words
    }

    fn word(&mut self) -> u64 {
        // xorshift64: the state is never zero.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A checksum of 64 bits, word by word (the multiplication and the prime are those of FNV-1a).
#[derive(Clone, Debug)]
pub struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    /// Takes the next bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.take_words(&[u64::from_le_bytes(word)]);
        }
    }

    /// Takes the next words.
    pub fn take_words(&mut self, words: &[u64]) {
        for word in words {
            // The high half comes down, or it would never matter for the low one.
            self.0 = (self.0 ^ word).wrapping_mul(0x0100_0000_01b3);
            self.0 ^= self.0 >> 32;
        }
    }

    /// The checksum of all that was taken.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0
    }

    /// The checksum of `words`.
    #[must_use]
    pub fn of(words: &[u64]) -> u64 {
        let mut hash = Self::default();
        hash.take_words(words);
        hash.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_of_each_word_counts() {
        let words = Content::of(1).words(64);
        let hash = Hash::of(&words);
        for bit in 0..64 * 64 {
            let mut changed = words.clone();
            changed[bit / 64] ^= 1 << (bit % 64);
            assert_ne!(Hash::of(&changed), hash, "bit {bit}");
        }
        assert_ne!(Content::of(2).words(64), words);
    }
}
