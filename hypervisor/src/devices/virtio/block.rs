// SPDX-License-Identifier: MIT OR Apache-2.0
//! A block device (virtio 1.2, 5.2) over a disk in memory.

mod copies;
pub mod disk;
mod request;
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
use crate::mmu::GuestMemory;
use disk::Disk;
use spin::Mutex;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

/// Bytes of a sector, in which a driver counts whatever the block size is.
const SECTOR: u64 = 512;
/// Bytes of a block: of a piece that is copied when it is first written.
const BLOCK: usize = 4096;

/// Entries of the queue of requests.
const QUEUE: u16 = 128;
/// Buffers of data that a request may have: the queue's, but one for its header and one for its status.
const SEGMENTS: u16 = QUEUE - 2;
/// Bytes that each of them may have.
const SEGMENT_BYTES: u32 = 64 << 10;
/// Bytes of data that a request may have: what an exit may have to copy.
const REQUEST_BYTES: u64 = SEGMENTS as u64 * SEGMENT_BYTES as u64;

/// As much as is done at a time.
const REQUESTS_AT_ONCE: u32 = 64;
const BYTES_AT_ONCE: u64 = 256 << 10;

/// Bytes of the name that a driver can ask for.
const NAME: usize = 20;

/// VIRTIO_BLK_F_SIZE_MAX, _SEG_MAX, _RO, _BLK_SIZE and _FLUSH.
const SIZE_MAX: u64 = 1 << 1;
const SEG_MAX: u64 = 1 << 2;
const READ_ONLY: u64 = 1 << 5;
const BLOCK_SIZE: u64 = 1 << 6;
const FLUSH: u64 = 1 << 9;

/// What the driver reads of its configuration (virtio 1.2, 5.2.4), up to the last field that is offered.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Configuration {
    capacity: u64,
    size_max: u32,
    seg_max: u32,
    /// Cylinders, heads and sectors of a track: there are none.
    geometry: u32,
    block_size: u32,
}

const _: () = assert!(size_of::<Configuration>() == 24);

/// A block device.
#[derive(Debug)]
pub struct Block {
    name: [u8; NAME],
    sectors: u64,
    read_only: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    disk: Disk,
    /// The request that is being carried out.
    chain: Chain,
}

impl Block {
    /// With that disk. The driver is told the first 20 bytes of `name`.
    #[must_use]
    pub fn new(disk: Disk, name: &str) -> Self {
        let mut padded = [0; NAME];
        let bytes = name.len().min(NAME);
        padded[..bytes].copy_from_slice(&name.as_bytes()[..bytes]);
        Self {
            name: padded,
            sectors: disk.sectors(),
            read_only: disk.is_read_only(),
            state: Mutex::new(State { disk, chain: Chain::new(QUEUE) }),
        }
    }

    /// Forgets what was written to the disk.
    pub fn reset_disk(&self) {
        self.state.lock().disk.reset();
    }

    /// Bytes of physical memory that hold what was written to the disk.
    #[must_use]
    pub fn taken_bytes(&self) -> u64 {
        self.state.lock().disk.taken_bytes()
    }

    /// Carries out requests until there are none, or it is enough for now.
    fn carry_out(
        &self,
        queue: &mut Queue,
        State { disk, chain }: &mut State,
        memory: &dyn GuestMemory,
    ) -> Result<Served, Broken> {
        let mut bytes = 0;
        for _ in 0..REQUESTS_AT_ONCE {
            if !queue.pop_or_await(memory, chain)? {
                return Ok(Served::All);
            }
            bytes += chain.readable() + chain.writable();
            let written = request::carry_out(memory, chain, disk, &self.name)?;
            queue.stage(memory, chain, written)?;
            if bytes >= BYTES_AT_ONCE {
                break;
            }
        }
        Ok(Served::More)
    }
}

impl Device for Block {
    fn id(&self) -> DeviceId {
        DeviceId::BLOCK
    }

    fn features(&self) -> u64 {
        let read_only = if self.read_only { READ_ONLY } else { 0 };
        SIZE_MAX | SEG_MAX | BLOCK_SIZE | FLUSH | read_only
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE]
    }

    fn configuration(&self, offset: usize, buffer: &mut [u8]) {
        let configuration = Configuration {
            capacity: self.sectors,
            size_max: SEGMENT_BYTES,
            seg_max: SEGMENTS.into(),
            geometry: 0,
            block_size: SECTOR as u32,
        };
        buffer.fill(0);
        let from = configuration.as_bytes().get(offset..).unwrap_or_default();
        for (to, from) in buffer.iter_mut().zip(from) {
            *to = *from;
        }
    }

    fn serve(&self, _: Occasion, driver: &Driver<'_>) -> Result<Served, Broken> {
        let mut state = self.state.lock();
        driver.work(0, |queue, memory| self.carry_out(queue, &mut state, memory))
    }
}
