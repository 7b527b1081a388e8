// SPDX-License-Identifier: MIT OR Apache-2.0
//! A generator of random bytes: ChaCha20, seeded by the processor, and seeded anew now and then.

use crate::cpu::hardware::tsc;
use crate::cpu::random::NoRandom;
use crate::cpu::random::Random;
use chacha20::ChaCha20Rng;
use chacha20::rand_core::Rng;
use chacha20::rand_core::SeedableRng;
use core::fmt;

/// Bytes that come of one seed.
const BYTES_OF_A_SEED: usize = 64 << 10;

/// A generator.
pub struct Generator {
    random: Random,
    stream: ChaCha20Rng,
    /// Bytes that this seed is still good for.
    left: usize,
}

impl Generator {
    /// Seeded by `random`.
    pub fn new(random: Random) -> Result<Self, NoRandom> {
        let seed = seed(random, [0; 32])?;
        Ok(Self { random, stream: ChaCha20Rng::from_seed(seed), left: BYTES_OF_A_SEED })
    }

    /// Fills `buffer`.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        if self.left < buffer.len() {
            self.seed_anew();
        }
        self.left = self.left.saturating_sub(buffer.len());
        self.stream.fill_bytes(buffer);
    }

    /// Out of what the stream would have given next, and what the processor gives: whoever knows only one of them knows nothing.
    fn seed_anew(&mut self) {
        let mut old = [0; 32];
        self.stream.fill_bytes(&mut old);
        // If it gives nothing now, the stream is as good as before.
        if let Ok(seed) = seed(self.random, old) {
            self.stream = ChaCha20Rng::from_seed(seed);
        }
        self.left = BYTES_OF_A_SEED;
    }
}

impl fmt::Debug for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator").finish_non_exhaustive()
    }
}

/// What the processor gives, with the time and `old` mixed in.
fn seed(random: Random, old: [u8; 32]) -> Result<[u8; 32], NoRandom> {
    let mut seed = old;
    for word in seed.as_chunks_mut::<8>().0 {
        let mixed = u64::from_le_bytes(*word) ^ random.word()? ^ tsc();
        *word = mixed.to_le_bytes();
    }
    Ok(seed)
}
