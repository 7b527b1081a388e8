// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver of a whole device for tests on the host: its memory, its queues, and a buffer of each descriptor's own.

use super::Broken;
use super::Device;
use super::Driver;
use super::Interrupts;
use super::Occasion;
use super::Served;
use super::queue::EVENT_INDEX;
use super::queue::Queue;
use super::queue::model;
use super::queue::model::Offered;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::mmu::model::ModelMemory;
use spin::Mutex;
use std::collections::BTreeMap;
use std::slice;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// Where RAM ends.
pub(crate) const RAM: u64 = 4 << 20;
/// What of it each queue has, and where in that its buffers begin.
const SHARE: u64 = RAM / QUEUES as u64;
const BUFFERS: u64 = 0x2_0000;
/// Bytes that a buffer may have.
pub(crate) const BUFFER: u64 = 4096;
/// Queues that a device may have.
const QUEUES: usize = 2;

/// A chain that was used.
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
    driver: model::ModelDriver,
    /// Where buffers are, and which of them are free.
    buffers: u64,
    free: Vec<u64>,
    /// By head.
    chains: BTreeMap<u16, Vec<Offered>>,
}

/// How often each queue has interrupted.
#[derive(Debug, Default)]
struct Told([AtomicU64; QUEUES]);

impl Interrupts for Told {
    fn queue(&self, queue: u16) {
        self.0[usize::from(queue)].fetch_add(1, Ordering::Relaxed);
    }

    fn configuration(&self) {}
}

/// A driver of a device.
#[derive(Debug)]
pub(crate) struct ModelDriver {
    memory: ModelMemory,
    queues: Vec<Mutex<Queue>>,
    rings: Vec<Ring>,
    features: u64,
    told: Told,
}

impl ModelDriver {
    /// Brings `device` up with queues of `size` entries, with these of its features.
    pub(crate) fn new(device: &dyn Device, size: u16, features: u64) -> Self {
        let (mut queues, mut rings) = (Vec::new(), Vec::new());
        for (&most, base) in device.queue_sizes().iter().zip((0..RAM).step_by(SHARE as usize)) {
            let driver = model::ModelDriver::new(size, base, features & EVENT_INDEX != 0);
            let mut queue = Queue::new(most);
            driver.set_up(&mut queue);
            queues.push(Mutex::new(queue));
            let free = (0..u64::from(size)).collect();
            rings.push(Ring { driver, buffers: base + BUFFERS, free, chains: BTreeMap::new() });
        }
        device.start(features);
        let memory = ModelMemory::new(slice::from_ref(&(0..RAM)));
        Self { memory, queues, rings, features, told: Told::default() }
    }

    /// Makes a chain available: buffers with those contents to read, then such of those bytes to write. `None`: there are no
    /// descriptors left for it.
    pub(crate) fn add(&mut self, queue: u16, readable: &[&[u8]], writable: &[usize]) -> Option<u16> {
        let ring = &mut self.rings[usize::from(queue)];
        let readable_lengths = readable.iter().map(|bytes| (bytes.len(), false));
        let lengths = readable_lengths.chain(writable.iter().map(|&bytes| (bytes, true)));
        let first = ring.free.len().checked_sub(readable.len() + writable.len())?;
        let offered: Vec<_> = ring.free[first..]
            .iter()
            .zip(lengths)
            .map(|(buffer, (bytes, writable))| {
                assert!(bytes as u64 <= BUFFER, "a buffer of {bytes} bytes is not one of a model");
                Offered { address: ring.buffers + BUFFER * buffer, bytes: bytes as u32, writable }
            })
            .collect();
        for (buffer, bytes) in offered.iter().zip(readable) {
            write(&self.memory, buffer.address, bytes);
        }
        let head = ring.driver.offer(&self.memory, &offered, false)?;
        ring.driver.publish(&self.memory);
        ring.free.truncate(first);
        ring.chains.insert(head, offered);
        Some(head)
    }

    /// What was used since this was asked last; its descriptors are free again.
    pub(crate) fn used(&mut self, queue: u16) -> Vec<Used> {
        let memory = &self.memory;
        let ring = &mut self.rings[usize::from(queue)];
        let mut all = Vec::new();
        while let Some((head, written)) = ring.driver.reap(memory) {
            let chain = ring.chains.remove(&head).expect("what is used was available");
            let writable = chain.iter().filter(|buffer| buffer.writable);
            let bytes = writable.flat_map(|buffer| memory.bytes(buffer.address, buffer.bytes as usize));
            all.push(Used { head, written: bytes.take(written as usize).collect() });
            ring.free.extend(chain.iter().map(|buffer| (buffer.address - ring.buffers) / BUFFER));
        }
        ring.driver.want_interrupt(memory);
        all
    }

    /// Has the device serve.
    pub(crate) fn serve(&self, device: &dyn Device, occasion: Occasion) -> Result<Served, Broken> {
        let (memory, queues) = (&self.memory, &self.queues);
        let driver = Driver { memory, queues, features: self.features, interrupts: &self.told };
        device.serve(occasion, &driver)
    }

    /// Whether the driver has to notify of what it made available since this was asked last.
    pub(crate) fn must_notify(&mut self, queue: u16) -> bool {
        self.rings[usize::from(queue)].driver.must_notify(&self.memory)
    }

    /// How often a queue has interrupted since this was asked last.
    pub(crate) fn interrupts(&self, queue: u16) -> u64 {
        self.told.0[usize::from(queue)].swap(0, Ordering::Relaxed)
    }

    /// Writes whatever there is over the descriptors of a queue of `size` entries, and the ring behind them of what is available.
    pub(crate) fn scribble(&self, queue: u16, size: u16, descriptors: &[u8], available: &[u8]) {
        let base = SHARE * u64::from(queue);
        let table = size_of::<[u64; 2]>() * usize::from(size);
        write(&self.memory, base, &descriptors[..descriptors.len().min(table)]);
        write(&self.memory, base + table as u64, available);
    }
}

fn write(memory: &ModelMemory, address: u64, bytes: &[u8]) {
    memory.write(GuestPhysical(address), bytes).expect("the model's addresses are RAM");
}
