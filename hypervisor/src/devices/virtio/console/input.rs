// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is typed for a guest, until its console's driver has buffers for it.

use super::ENTRIES;
use crate::devices::virtio::Broken;
use crate::devices::virtio::Served;
use crate::devices::virtio::queue::Chain;
use crate::devices::virtio::queue::Queue;
use crate::mmu::GuestMemory;
use alloc::collections::VecDeque;

/// Bytes that wait at most.
const CAPACITY: usize = 1024;

/// What is typed.
#[derive(Debug)]
pub(super) struct Input {
    bytes: VecDeque<u8>,
    chain: Chain,
}

impl Default for Input {
    fn default() -> Self {
        Self { bytes: VecDeque::with_capacity(CAPACITY), chain: Chain::new(ENTRIES) }
    }
}

impl Input {
    pub(super) fn room(&self) -> usize {
        CAPACITY - self.bytes.len()
    }

    /// Takes as many of `bytes` as there is room for, and tells how many.
    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        self.bytes.extend(&bytes[..taken]);
        taken
    }

    /// Gives the driver what was typed, as far as it has buffers. What it was given is staged.
    pub(super) fn work(&mut self, queue: &mut Queue, memory: &dyn GuestMemory) -> Result<Served, Broken> {
        queue.suppress_notifications(memory)?;
        while !self.bytes.is_empty() && self.next(queue, memory)? {
            let (first, second) = self.bytes.as_slices();
            let mut written = self.chain.write(memory, first)?;
            written += self.chain.write(memory, second)?;
            if written == 0 {
                return Err(Broken::Request);
            }
            self.bytes.drain(..written);
            queue.stage(memory, &self.chain, written as u32)?;
        }
        Ok(Served::All)
    }

    /// Only where there is no buffer at all does the driver have to tell of new ones.
    fn next(&mut self, queue: &mut Queue, memory: &dyn GuestMemory) -> Result<bool, Broken> {
        Ok(queue.pop(memory, &mut self.chain)? || queue.pop_or_await(memory, &mut self.chain)?)
    }
}
