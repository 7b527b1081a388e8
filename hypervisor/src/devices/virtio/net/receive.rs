// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packets from the switch to the driver (virtio 1.2, 5.1.6.4, "Processing of Incoming Packets").

use super::ENTRIES;
use super::HEADER;
use crate::devices::switch::counters::Traffic;
use crate::devices::switch::frames::Frames;
use crate::devices::switch::port::Port;
use crate::devices::virtio::Broken;
use crate::devices::virtio::Served;
use crate::devices::virtio::queue::Chain;
use crate::devices::virtio::queue::Queue;
use crate::mmu::GuestMemory;

/// Frames that are delivered at a time.
const FRAMES_AT_A_TIME: u64 = 64;

/// Buffers that one packet may take.
const MOST_MERGED: u16 = 64;

/// What became of a frame.
enum Delivery {
    Done,
    /// The driver has no buffers now, and notifies when it has.
    NoBuffers,
    /// The driver's buffers are too small for it.
    TooLong,
}

/// What receives.
#[derive(Debug)]
pub(super) struct Receiver {
    chain: Chain,
    /// What has been taken out of the inbox, and not yet delivered.
    frames: Frames,
}

impl Default for Receiver {
    fn default() -> Self {
        Self { chain: Chain::new(ENTRIES), frames: Frames::default() }
    }
}

impl Receiver {
    pub(super) fn reset(&mut self, port: &Port) {
        port.count_dropped(self.frames.clear());
    }

    /// Delivers what waits, for a bounded time. What was delivered is staged.
    pub(super) fn work(
        &mut self,
        queue: &mut Queue,
        memory: &dyn GuestMemory,
        port: &Port,
        mergeable: bool,
    ) -> Result<Served, Broken> {
        queue.suppress_notifications(memory)?;
        let mut received = Traffic::default();
        let served = self.deliver_all(queue, memory, port, mergeable, &mut received);
        port.count_received(received);
        served
    }

    fn deliver_all(
        &mut self,
        queue: &mut Queue,
        memory: &dyn GuestMemory,
        port: &Port,
        mergeable: bool,
        received: &mut Traffic,
    ) -> Result<Served, Broken> {
        for _ in 0..FRAMES_AT_A_TIME {
            if self.frames.is_empty() {
                port.take(&mut self.frames);
            }
            let Some(frame) = self.frames.first() else { return Ok(Served::All) };
            match deliver(frame, queue, memory, &mut self.chain, mergeable)? {
                Delivery::Done => *received += frame,
                Delivery::TooLong => port.count_dropped(1),
                Delivery::NoBuffers => return Ok(Served::All),
            }
            self.frames.pop();
        }
        Ok(Served::More)
    }
}

/// The driver's next buffer. Only where there is none at all does it have to tell of new ones.
fn next(queue: &mut Queue, memory: &dyn GuestMemory, chain: &mut Chain) -> Result<bool, Broken> {
    Ok(queue.pop(memory, chain)? || queue.pop_or_await(memory, chain)?)
}

/// Gives one frame to the driver.
fn deliver(
    frame: &[u8],
    queue: &mut Queue,
    memory: &dyn GuestMemory,
    chain: &mut Chain,
    mergeable: bool,
) -> Result<Delivery, Broken> {
    if !next(queue, memory, chain)? {
        return Ok(Delivery::NoBuffers);
    }
    let bytes = (HEADER + frame.len()) as u64;
    if chain.writable() < bytes {
        // Popped again by who knows how many it takes.
        queue.undo_pop();
        return if mergeable { merge(frame, queue, memory, chain) } else { Ok(Delivery::TooLong) };
    }
    chain.write(memory, &header(1))?;
    chain.write(memory, frame)?;
    queue.stage(memory, chain, bytes as u32)?;
    Ok(Delivery::Done)
}

/// Gives one frame to the driver in several buffers. The first one tells how many, so they are counted before.
fn merge(
    frame: &[u8],
    queue: &mut Queue,
    memory: &dyn GuestMemory,
    chain: &mut Chain,
) -> Result<Delivery, Broken> {
    let (mut room, mut buffers) = (0, 0);
    let outcome = loop {
        if room >= (HEADER + frame.len()) as u64 {
            break Delivery::Done;
        }
        if buffers == MOST_MERGED.min(queue.size()) {
            break Delivery::TooLong;
        }
        if !next(queue, memory, chain)? {
            break Delivery::NoBuffers;
        }
        buffers += 1;
        room += chain.writable();
    };
    for _ in 0..buffers {
        queue.undo_pop();
    }
    if matches!(outcome, Delivery::Done) {
        scatter(frame, buffers, queue, memory, chain)?;
    }
    Ok(outcome)
}

fn scatter(
    frame: &[u8],
    buffers: u16,
    queue: &mut Queue,
    memory: &dyn GuestMemory,
    chain: &mut Chain,
) -> Result<(), Broken> {
    let header = header(buffers);
    let mut rest = [&header[..], frame];
    for _ in 0..buffers {
        let _ = queue.pop(memory, chain)?;
        let mut written = 0;
        for part in &mut rest {
            let count = chain.write(memory, part)?;
            *part = &part[count..];
            written += count;
        }
        queue.stage(memory, chain, written as u32)?;
    }
    // The driver may have made buffers smaller since they were counted.
    if rest.iter().all(|part| part.is_empty()) { Ok(()) } else { Err(Broken::Request) }
}

/// `struct virtio_net_hdr`: nothing is offloaded, and the packet takes so many buffers.
fn header(buffers: u16) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[HEADER - 2..].copy_from_slice(&buffers.to_le_bytes());
    header
}
