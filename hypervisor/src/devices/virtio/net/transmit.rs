// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packets from the driver to the switch (virtio 1.2, 5.1.6.2, "Packet Transmission").

use super::ENTRIES;
use super::HEADER;
use crate::devices::ethernet;
use crate::devices::switch::port::Port;
use crate::devices::virtio::Broken;
use crate::devices::virtio::Served;
use crate::devices::virtio::queue::Chain;
use crate::devices::virtio::queue::Queue;
use crate::mmu::GuestMemory;
use core::fmt;

/// Copies of frames that are made at a time: out of the guest, and into each inbox.
const COPIES_AT_A_TIME: usize = 128;

/// A header, the longest frame, and one byte more, by which longer ones are known.
const PACKET: usize = HEADER + ethernet::LONGEST + 1;

/// What sends. A packet is read out of the guest before it is given to the switch: so how its driver has scattered it is
/// no matter to who waits for an inbox.
pub(super) struct Transmitter {
    chain: Chain,
    packet: [u8; PACKET],
    /// It left off, and the driver need not notify of what there still is.
    unfinished: bool,
}

impl Default for Transmitter {
    fn default() -> Self {
        Self { chain: Chain::new(ENTRIES), packet: [0; PACKET], unfinished: false }
    }
}

impl fmt::Debug for Transmitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transmitter").field("unfinished", &self.unfinished).finish_non_exhaustive()
    }
}

impl Transmitter {
    pub(super) fn reset(&mut self) {
        self.unfinished = false;
    }

    pub(super) fn is_unfinished(&self) -> bool {
        self.unfinished
    }

    /// Sends what is available, for a bounded time. What was sent is staged.
    pub(super) fn work(
        &mut self,
        queue: &mut Queue,
        memory: &dyn GuestMemory,
        port: &Port,
    ) -> Result<Served, Broken> {
        self.unfinished = false;
        let mut copies = 0;
        while queue.pop_or_await(memory, &mut self.chain)? {
            copies += 1 + self.send(memory, port)?;
            queue.stage(memory, &self.chain, 0)?;
            if copies >= COPIES_AT_A_TIME {
                self.unfinished = true;
                return Ok(Served::More);
            }
        }
        Ok(Served::All)
    }

    /// Sends one packet. What its header says is for offloads, of which none is offered.
    fn send(&mut self, memory: &dyn GuestMemory, port: &Port) -> Result<usize, Broken> {
        let bytes = self.chain.read(memory, &mut self.packet)?;
        let frame = self.packet[..bytes].get(HEADER..).ok_or(Broken::Request)?;
        Ok(port.send(frame))
    }
}
