// SPDX-License-Identifier: MIT OR Apache-2.0
//! A source of entropy (virtio 1.2, 5.4, "Entropy Device").

mod generator;
#[cfg(test)]
mod tests;

use super::Broken;
use super::Device;
use super::DeviceId;
use super::Driver;
use super::Occasion;
use super::Served;
use super::queue::Chain;
use super::queue::Queue;
use crate::cpu::random::NoRandom;
use crate::cpu::random::Random;
use crate::mmu::GuestMemory;
use generator::Generator;
use spin::Mutex;

/// Entries of the queue.
const QUEUE: u16 = 64;
/// The most that is written for one request, and how much of it at a time.
const REQUEST_BYTES: u64 = 4096;
const PIECE: usize = 256;
/// As much as is done at a time.
const REQUESTS_AT_ONCE: u32 = 64;

/// A source of entropy.
#[derive(Debug)]
pub struct Entropy(Mutex<State>);

#[derive(Debug)]
struct State {
    generator: Generator,
    chain: Chain,
}

impl Entropy {
    /// With a generator of its own that is seeded by `random`.
    pub fn new(random: Random) -> Result<Self, NoRandom> {
        let generator = Generator::new(random)?;
        Ok(Self(Mutex::new(State { generator, chain: Chain::new(QUEUE) })))
    }
}

impl Device for Entropy {
    fn id(&self) -> DeviceId {
        DeviceId::ENTROPY
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE]
    }

    fn configuration(&self, _: usize, buffer: &mut [u8]) {
        buffer.fill(0);
    }

    fn serve(&self, _: Occasion, driver: &Driver<'_>) -> Result<Served, Broken> {
        let mut state = self.0.lock();
        driver.work(0, |queue, memory| fill(queue, &mut state, memory))
    }
}

/// Answers requests until there are none, or it is enough for now.
fn fill(
    queue: &mut Queue,
    State { generator, chain }: &mut State,
    memory: &dyn GuestMemory,
) -> Result<Served, Broken> {
    for _ in 0..REQUESTS_AT_ONCE {
        if !queue.pop_or_await(memory, chain)? {
            return Ok(Served::All);
        }
        let wanted = chain.writable().min(REQUEST_BYTES) as usize;
        if wanted == 0 {
            return Err(Broken::Request);
        }
        let mut left = wanted;
        while left > 0 {
            let mut piece = [0; PIECE];
            let piece = &mut piece[..left.min(PIECE)];
            generator.fill(piece);
            left -= chain.write(memory, piece)?;
        }
        queue.stage(memory, chain, wanted as u32)?;
    }
    Ok(Served::More)
}
