// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the guest writes to its console.

use super::ENTRIES;
use super::Sink;
use crate::devices::virtio::Broken;
use crate::devices::virtio::Served;
use crate::devices::virtio::queue::Chain;
use crate::devices::virtio::queue::Queue;
use crate::mmu::GuestMemory;
use core::fmt;

/// Bytes that are printed at a time; a chain may have any number.
const BYTES_AT_A_TIME: usize = 4096;
/// Bytes that are given to the sink at once.
const PIECE: usize = 256;
/// Chains at a time, as some have no bytes.
const CHAINS_AT_A_TIME: u32 = 64;

/// What prints.
pub(super) struct Output {
    sink: Sink,
    chain: Chain,
    /// The chain was popped, and not all of it is printed.
    begun: bool,
    /// It left off, and the driver need not notify of what there still is.
    unfinished: bool,
    /// It left off since the sink has no room.
    waits: bool,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("begun", &self.begun).finish_non_exhaustive()
    }
}

impl Output {
    pub(super) fn new(sink: Sink) -> Self {
        Self { sink, chain: Chain::new(ENTRIES), begun: false, unfinished: false, waits: false }
    }

    pub(super) fn reset(&mut self) {
        self.begun = false;
        self.unfinished = false;
    }

    pub(super) fn is_unfinished(&self) -> bool {
        self.unfinished
    }

    /// Prints what is available, for a bounded time, and as long as there is room. What was printed is staged.
    pub(super) fn work(&mut self, queue: &mut Queue, memory: &dyn GuestMemory) -> Result<Served, Broken> {
        self.unfinished = false;
        self.waits = false;
        let mut left = BYTES_AT_A_TIME;
        for _ in 0..CHAINS_AT_A_TIME {
            if !self.begun && !queue.pop_or_await(memory, &mut self.chain)? {
                return Ok(Served::All);
            }
            left -= self.print(memory, left)?;
            self.begun = self.chain.readable() > 0;
            if !self.begun {
                queue.stage(memory, &self.chain, 0)?;
            }
            if self.begun || self.waits {
                break;
            }
        }
        self.unfinished = true;
        // Who has room again rings.
        Ok(if self.waits { Served::All } else { Served::More })
    }

    /// Prints of the chain what there is, `most` bytes at most; tells how many.
    fn print(&mut self, memory: &dyn GuestMemory, most: usize) -> Result<usize, Broken> {
        let mut piece = [0; PIECE];
        let mut printed = 0;
        loop {
            let count = self.chain.read(memory, &mut piece[..PIECE.min(most - printed)])?;
            if count == 0 {
                return Ok(printed);
            }
            printed += count;
            self.waits = (self.sink)(&piece[..count]);
            if self.waits {
                return Ok(printed);
            }
        }
    }
}
