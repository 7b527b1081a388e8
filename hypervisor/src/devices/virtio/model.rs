// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver for tests on the host: it lays rings out in memory byte by byte, as virtio 1.2, 2.7 says, and knows of the
//! device's own code nothing but what a transport does.

use super::Broken;
use super::Device;
use super::Driver;
use super::Interrupts;
use super::Occasion;
use super::Served;
use super::queue::Area;
use super::queue::Queue;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::mmu::model::ModelMemory;
use spin::Mutex;
use std::slice;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// Where RAM ends.
pub(crate) const RAM: u64 = 4 << 20;
/// Bytes that each descriptor's own buffer may have.
pub(crate) const BUFFER: usize = 4096;

const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// What became of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    /// By which it was added.
    pub(crate) head: u16,
    /// What the device has written.
    pub(crate) written: Vec<u8>,
}

/// One queue, as its driver keeps it.
#[derive(Debug)]
struct Ring {
    /// Where everything of it begins.
    base: u64,
    size: u16,
    free: Vec<u16>,
    /// By head: descriptors of the chain, and the bytes of those that can be written.
    chains: Vec<Vec<(u16, usize)>>,
    available: u16,
    used: u16,
}

impl Ring {
    fn descriptor(&self, index: u16) -> u64 {
        self.base + 16 * u64::from(index)
    }

    fn driver(&self) -> u64 {
        self.base + 0x2000
    }

    fn device(&self) -> u64 {
        self.base + 0x4000
    }

    fn buffer(&self, index: u16) -> u64 {
        self.base + 0x10_000 + BUFFER as u64 * u64::from(index)
    }
}

/// How often each queue has interrupted.
#[derive(Debug, Default)]
struct Told([AtomicU64; 2]);

impl Interrupts for Told {
    fn queue(&self, queue: u16) {
        self.0[usize::from(queue)].fetch_add(1, Ordering::Relaxed);
    }

    fn configuration(&self) {}
}

/// A driver of a device with two queues at most.
#[derive(Debug)]
pub(crate) struct ModelDriver {
    /// The guest's memory.
    pub(crate) memory: ModelMemory,
    queues: Vec<Mutex<Queue>>,
    rings: Vec<Ring>,
    features: u64,
    told: Told,
}

impl ModelDriver {
    /// Brings `device` up with queues of `size` entries, with these of its features.
    pub(crate) fn new(device: &dyn Device, size: u16, features: u64) -> Self {
        let (mut queues, mut rings) = (Vec::new(), Vec::new());
        for (&most, base) in device.queue_sizes().iter().zip((0..).step_by(2 << 20)) {
            let free = (0..size).rev().collect();
            let ring =
                Ring { base, size, free, chains: vec![Vec::new(); size.into()], available: 0, used: 0 };
            let mut queue = Queue::new(most);
            queue.set_size(size).expect("the device has queues of that size");
            queue.set_address(Area::Descriptors, ring.base);
            queue.set_address(Area::Driver, ring.driver());
            queue.set_address(Area::Device, ring.device());
            queue.enable(features).expect("the rings are aligned");
            queues.push(Mutex::new(queue));
            rings.push(ring);
        }
        device.start(features);
        Self {
            memory: ModelMemory::new(slice::from_ref(&(0..RAM))),
            queues,
            rings,
            features,
            told: Told::default(),
        }
    }

    /// Makes a chain available: buffers with those contents to read, then such of those bytes to write. `None`: there are no
    /// descriptors left for it.
    pub(crate) fn add(&mut self, queue: u16, readable: &[&[u8]], writable: &[usize]) -> Option<u16> {
        let ring = &mut self.rings[usize::from(queue)];
        let count = readable.len() + writable.len();
        let first = ring.free.len().checked_sub(count)?;
        let indices = ring.free.split_off(first);
        let lengths = readable.iter().map(|bytes| (bytes.len(), 0));
        let lengths = lengths.chain(writable.iter().map(|&bytes| (bytes, WRITE)));
        for (place, (&index, (length, kind))) in indices.iter().zip(lengths).enumerate() {
            assert!(length <= BUFFER, "a buffer of {length} bytes is not one of a model");
            let next = indices.get(place + 1);
            let flags = kind | if next.is_some() { NEXT } else { 0 };
            let descriptor = [
                &ring.buffer(index).to_le_bytes()[..],
                &(length as u32).to_le_bytes(),
                &flags.to_le_bytes(),
                &next.copied().unwrap_or(0xDEAD).to_le_bytes(),
            ];
            write(&self.memory, ring.descriptor(index), &descriptor.concat());
            if let Some(bytes) = readable.get(place) {
                write(&self.memory, ring.buffer(index), bytes);
            }
        }
        let head = indices[0];
        let write_bytes = readable.iter().map(|_| 0).chain(writable.iter().copied());
        ring.chains[usize::from(head)] = indices.into_iter().zip(write_bytes).collect();
        let entry = ring.driver() + 4 + 2 * u64::from(ring.available % ring.size);
        write(&self.memory, entry, &head.to_le_bytes());
        ring.available = ring.available.wrapping_add(1);
        write(&self.memory, ring.driver() + 2, &ring.available.to_le_bytes());
        Some(head)
    }

    /// What was used since this was asked last; its descriptors are free again.
    pub(crate) fn used(&mut self, queue: u16) -> Vec<Used> {
        let memory = &self.memory;
        let ring = &mut self.rings[usize::from(queue)];
        let [low, high] = memory.bytes(ring.device() + 2, 2)[..] else { unreachable!() };
        let mut all = Vec::new();
        while ring.used != u16::from_le_bytes([low, high]) {
            let entry = memory.bytes(ring.device() + 4 + 8 * u64::from(ring.used % ring.size), 8);
            let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
            let (head, written) = (number(&entry[..4]) as u16, number(&entry[4..]) as usize);
            let chain = std::mem::take(&mut ring.chains[usize::from(head)]);
            assert!(!chain.is_empty(), "chain {head} was used that is not available");
            let bytes = chain
                .iter()
                .flat_map(|&(index, bytes)| memory.bytes(ring.buffer(index), bytes))
                .take(written);
            let written = bytes.collect::<Vec<_>>();
            all.push(Used { head, written });
            ring.free.extend(chain.iter().map(|&(index, _)| index));
            ring.used = ring.used.wrapping_add(1);
        }
        all
    }

    /// Has the device serve.
    pub(crate) fn serve(&self, device: &dyn Device, occasion: Occasion) -> Result<Served, Broken> {
        let driver = Driver {
            memory: &self.memory,
            queues: &self.queues,
            features: self.features,
            interrupts: &self.told,
        };
        device.serve(occasion, &driver)
    }

    /// Whether the device wants to be notified of what becomes available, where that goes by flag.
    pub(crate) fn is_notification_wanted(&self, queue: u16) -> bool {
        self.memory.bytes(self.rings[usize::from(queue)].device(), 1)[0] & 1 == 0
    }

    /// How often a queue has interrupted since this was asked last.
    pub(crate) fn interrupts(&self, queue: u16) -> u64 {
        self.told.0[usize::from(queue)].swap(0, Ordering::Relaxed)
    }

    /// Writes whatever there is to the descriptors and the ring of what is available, as a driver may that breaks the rules.
    pub(crate) fn scribble(&self, queue: u16, descriptors: &[u8], available: &[u8]) {
        let ring = &self.rings[usize::from(queue)];
        write(&self.memory, ring.base, &descriptors[..descriptors.len().min(0x2000)]);
        write(&self.memory, ring.driver(), &available[..available.len().min(0x2000)]);
    }
}

fn write(memory: &ModelMemory, address: u64, bytes: &[u8]) {
    memory.write(GuestPhysical(address), bytes).expect("the model's addresses are RAM");
}
