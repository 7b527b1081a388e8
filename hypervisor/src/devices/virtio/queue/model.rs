// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver for tests: it keeps a queue as the specification has drivers do (virtio 1.2, 2.7.13 and 2.7.14), and knows
//! nothing of how the device does its part.

use super::Area;
use super::EVENT_INDEX;
use super::INDIRECT_DESCRIPTORS;
use super::Queue;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// A buffer that a driver makes available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offered {
    pub(crate) address: u64,
    pub(crate) bytes: u32,
    pub(crate) writable: bool,
}

/// A driver of one queue.
#[derive(Debug)]
pub(crate) struct ModelDriver {
    size: u16,
    /// Where descriptors, the driver's ring and the device's are, and tables of descriptors of `size` each.
    areas: [u64; 3],
    tables: u64,
    event_index: bool,
    free: Vec<u16>,
    /// The descriptors of each head.
    outstanding: BTreeMap<u16, Vec<u16>>,
    /// The driver's index with what is not published, as it is published, and when it was asked last whether to notify.
    offered: u16,
    published: u16,
    told: u16,
    /// What was found used.
    reaped: u16,
}

impl ModelDriver {
    /// Bytes that it takes from its first address on.
    pub(crate) fn bytes(size: u16) -> u64 {
        0x100 + (16 + 2 + 8) * u64::from(size) + u64::from(size) * u64::from(size) * 16
    }

    /// With its queue at `address`.
    pub(crate) fn new(size: u16, address: u64, event_index: bool) -> Self {
        let entries = u64::from(size);
        let driver = address + 16 * entries;
        let device = (driver + 2 * entries + 6).next_multiple_of(4);
        let tables = (device + 8 * entries + 6).next_multiple_of(16);
        Self {
            size,
            areas: [address, driver, device],
            tables,
            event_index,
            free: (0..size).collect(),
            outstanding: BTreeMap::new(),
            offered: 0,
            published: 0,
            told: 0,
            reaped: 0,
        }
    }

    /// As if so many chains had come and gone already.
    pub(crate) fn begin_at(&mut self, memory: &dyn GuestMemory, index: u16) {
        (self.offered, self.published, self.told, self.reaped) = (index, index, index, index);
        put(memory, self.areas[1] + 2, index);
        put(memory, self.areas[2] + 2, index);
        if self.event_index {
            put(memory, self.areas[1] + 4 + 2 * u64::from(self.size), index);
            put(memory, self.areas[2] + 4 + 8 * u64::from(self.size), index);
        }
    }

    pub(crate) fn features(&self) -> u64 {
        INDIRECT_DESCRIPTORS | if self.event_index { EVENT_INDEX } else { 0 }
    }

    /// The queue that it sets up, of a device that has `most` entries.
    pub(crate) fn set_up(&self, queue: &mut Queue) {
        queue.set_size(self.size).unwrap();
        for (area, address) in [Area::Descriptors, Area::Driver, Area::Device].into_iter().zip(self.areas) {
            queue.set_address(area, address);
        }
        queue.enable(self.features()).unwrap();
    }

    /// Makes buffers available, but does not say so yet. `None`: it has no descriptors for them.
    pub(crate) fn offer(
        &mut self,
        memory: &dyn GuestMemory,
        buffers: &[Offered],
        indirect: bool,
    ) -> Option<u16> {
        let needed = if indirect { 1 } else { buffers.len() };
        if self.free.len() < needed {
            return None;
        }
        let taken = self.free.split_off(self.free.len() - needed);
        let head = taken[0];
        if indirect {
            let table = self.tables + u64::from(head) * u64::from(self.size) * 16;
            let order: Vec<u16> = (0..buffers.len() as u16).collect();
            write_chain(memory, table, &order, buffers);
            // That it is said to be writable is to be ignored.
            let flags = INDIRECT | if head % 2 == 0 { WRITE } else { 0 };
            write_descriptor(memory, self.areas[0], head, (table, 16 * buffers.len() as u32, flags, 0));
        } else {
            write_chain(memory, self.areas[0], &taken, buffers);
        }
        self.outstanding.insert(head, taken);
        let slot = u64::from(self.offered % self.size);
        put(memory, self.areas[1] + 4 + 2 * slot, head);
        self.offered = self.offered.wrapping_add(1);
        Some(head)
    }

    /// Says what is available.
    pub(crate) fn publish(&mut self, memory: &dyn GuestMemory) {
        self.published = self.offered;
        put(memory, self.areas[1] + 2, self.published);
    }

    /// Whether it has to notify of what it published since it was asked last.
    pub(crate) fn must_notify(&mut self, memory: &dyn GuestMemory) -> bool {
        let (before, now) = (self.told, self.published);
        self.told = now;
        if self.event_index {
            let event = get(memory, self.areas[2] + 4 + 8 * u64::from(self.size));
            let mut index = before;
            while index != now {
                if index == event {
                    return true;
                }
                index = index.wrapping_add(1);
            }
            return false;
        }
        before != now && get(memory, self.areas[2]) & 1 == 0
    }

    /// The next chain that was used: its head, and what was written.
    pub(crate) fn reap(&mut self, memory: &dyn GuestMemory) -> Option<(u16, u32)> {
        if !self.has_used(memory) {
            return None;
        }
        let mut entry = [0; 8];
        let slot = u64::from(self.reaped % self.size);
        memory.read(GuestPhysical(self.areas[2] + 4 + 8 * slot), &mut entry).unwrap();
        let head = u16::try_from(u32::from_le_bytes(entry[..4].try_into().unwrap())).unwrap();
        let written = u32::from_le_bytes(entry[4..].try_into().unwrap());
        self.reaped = self.reaped.wrapping_add(1);
        let back = self.outstanding.remove(&head).expect("only what is outstanding is used, and once");
        self.free.extend(back);
        // Another order than before.
        self.free.rotate_left(1);
        Some((head, written))
    }

    /// Asks for an interrupt at the next use. Afterwards it has to look whether there was one already.
    pub(crate) fn want_interrupt(&mut self, memory: &dyn GuestMemory) {
        if self.event_index {
            put(memory, self.areas[1] + 4 + 2 * u64::from(self.size), self.reaped);
        } else {
            put(memory, self.areas[1], 0);
        }
    }

    /// Whether something is used that was not reaped.
    pub(crate) fn has_used(&self, memory: &dyn GuestMemory) -> bool {
        get(memory, self.areas[2] + 2) != self.reaped
    }

    /// It wants none for now. With event index that needs nothing.
    pub(crate) fn refuse_interrupts(&mut self, memory: &dyn GuestMemory) {
        if !self.event_index {
            put(memory, self.areas[1], 1);
        }
    }

    /// Chains that the device has.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Writes over descriptor number `index`.
    pub(crate) fn corrupt(&self, memory: &dyn GuestMemory, index: u16, descriptor: (u64, u32, u16, u16)) {
        write_descriptor(memory, self.areas[0], index, descriptor);
    }

    /// Writes an index of what is available, true or not.
    pub(crate) fn claim(&self, memory: &dyn GuestMemory, index: u16) {
        put(memory, self.areas[1] + 2, index);
    }

    /// Writes a head into a place of the ring, true or not.
    pub(crate) fn claim_head(&self, memory: &dyn GuestMemory, slot: u64, head: u16) {
        put(memory, self.areas[1] + 4 + 2 * slot, head);
    }
}

fn write_chain(memory: &dyn GuestMemory, table: u64, order: &[u16], buffers: &[Offered]) {
    let nexts = order.iter().skip(1).copied().map(Some).chain([None]);
    for ((&index, buffer), next) in order.iter().zip(buffers).zip(nexts) {
        let flags = if buffer.writable { WRITE } else { 0 } | next.map_or(0, |_| NEXT);
        write_descriptor(memory, table, index, (buffer.address, buffer.bytes, flags, next.unwrap_or(0xbad)));
    }
}

fn write_descriptor(memory: &dyn GuestMemory, table: u64, index: u16, descriptor: (u64, u32, u16, u16)) {
    let (address, bytes, flags, next) = descriptor;
    let mut image = vec![];
    image.extend_from_slice(&address.to_le_bytes());
    image.extend_from_slice(&bytes.to_le_bytes());
    image.extend_from_slice(&flags.to_le_bytes());
    image.extend_from_slice(&next.to_le_bytes());
    memory.write(GuestPhysical(table + 16 * u64::from(index)), &image).unwrap();
}

fn put(memory: &dyn GuestMemory, address: u64, value: u16) {
    memory.write(GuestPhysical(address), &value.to_le_bytes()).unwrap();
}

fn get(memory: &dyn GuestMemory, address: u64) -> u16 {
    let mut bytes = [0; 2];
    memory.read(GuestPhysical(address), &mut bytes).unwrap();
    u16::from_le_bytes(bytes)
}
