// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device and driver under loom: each falls asleep while the other has something for it, and is told or sees it.

use super::*;
use crate::mmu::Unbacked;
use crate::mmu::explore::explore;
use crate::mmu::explore::finds;
use ::loom::sync::Arc;
use ::loom::sync::atomic::AtomicU16;
use ::loom::thread;
use std::vec::Vec;

const SIZE: u16 = 4;
const DRIVER: u64 = 0x100;
const DEVICE: u64 = 0x200;
const END: usize = 0x300;
/// Where each side says of which index it wants to hear.
const USED_EVENT: u64 = DRIVER + ENTRIES + AVAILABLE_ENTRY * SIZE as u64;
const AVAILABLE_EVENT: u64 = DEVICE + ENTRIES + USED_ENTRY * SIZE as u64;

/// Memory whose indices are atomic, and in no order but what fences make; all else is a buffer, again and again.
#[derive(Default)]
struct Indices {
    available: AtomicU16,
    available_event: AtomicU16,
    used: AtomicU16,
    used_event: AtomicU16,
}

impl Indices {
    fn word(&self, address: u64) -> Option<&AtomicU16> {
        match address {
            _ if address == DRIVER + INDEX => Some(&self.available),
            _ if address == DEVICE + INDEX => Some(&self.used),
            USED_EVENT => Some(&self.used_event),
            AVAILABLE_EVENT => Some(&self.available_event),
            _ => None,
        }
    }
}

impl GuestMemory for Indices {
    fn read(&self, address: GuestPhysical, buffer: &mut [u8]) -> Result<(), Unbacked> {
        let content: Vec<u8> = match self.word(address.0) {
            Some(word) => word.load(Ordering::Relaxed).to_le_bytes().into(),
            // Descriptors with one byte, and no next; heads.
            None if address.0 < DRIVER => {
                [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0].repeat(SIZE.into())
            }
            None => [0; END].into(),
        };
        buffer.copy_from_slice(&content[..buffer.len()]);
        Ok(())
    }

    fn write(&self, address: GuestPhysical, bytes: &[u8]) -> Result<(), Unbacked> {
        if let Some(word) = self.word(address.0) {
            word.store(u16::from_le_bytes([bytes[0], bytes[1]]), Ordering::Relaxed);
        }
        Ok(())
    }

    fn compare_exchange(&self, _: GuestPhysical, _: u64, _: u64) -> Result<bool, Unbacked> {
        panic!("a queue exchanges nothing");
    }

    fn hold(&self, act: &mut dyn FnMut(&dyn GuestMemory)) {
        act(self);
    }
}

fn queue() -> Queue {
    let mut queue = Queue::new(SIZE);
    queue.set_address(Area::Driver, DRIVER);
    queue.set_address(Area::Device, DEVICE);
    queue.enable(EVENT_INDEX).unwrap();
    queue
}

/// One chain is available, and the driver makes another one available while the device works.
fn available_while_the_device_falls_asleep() {
    let memory = Arc::new(Indices::default());
    memory.available.store(1, Ordering::Relaxed);
    let driver = thread::spawn({
        let memory = Arc::clone(&memory);
        move || {
            memory.available.store(2, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            passes(memory.available_event.load(Ordering::Relaxed), 1, 2)
        }
    });
    let (mut queue, mut chain) = (queue(), Chain::new(SIZE));
    let mut found = 0;
    while queue.pop_or_await(&*memory, &mut chain).unwrap() {
        found += 1;
    }
    let notified = driver.join().unwrap();
    assert!(found == 2 || notified, "stale use: the device sleeps, and {found} of 2 were found");
}

/// A chain is used while the driver asks to be interrupted.
fn used_while_the_driver_falls_asleep() {
    let memory = Arc::new(Indices::default());
    memory.used_event.store(0x8000, Ordering::Relaxed);
    let driver = thread::spawn({
        let memory = Arc::clone(&memory);
        move || {
            memory.used_event.store(0, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            memory.used.load(Ordering::Relaxed) == 1
        }
    });
    let mut queue = queue();
    queue.push(&*memory, &Chain::new(SIZE), 0).unwrap();
    let interrupted = queue.should_interrupt(&*memory).unwrap();
    let seen = driver.join().unwrap();
    assert!(seen || interrupted, "stale use: the driver sleeps, and does not hear of what is used");
}

#[test]
fn no_notification_is_lost() {
    explore(None, available_while_the_device_falls_asleep);
}

#[test]
fn no_interrupt_is_lost() {
    explore(None, used_while_the_driver_falls_asleep);
}

#[test]
fn without_a_fence_before_the_second_look_a_notification_is_lost() {
    finds(Rule::FenceBeforeSecondLook, None, available_while_the_device_falls_asleep);
}

#[test]
fn without_a_fence_after_the_index_an_interrupt_is_lost() {
    finds(Rule::FenceAfterUsed, None, used_while_the_driver_falls_asleep);
}
