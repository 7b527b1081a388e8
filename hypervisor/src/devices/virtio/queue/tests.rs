// SPDX-License-Identifier: MIT OR Apache-2.0
//! Queues against a driver that keeps the rules, and one that does not.

mod broken;
mod hostile;
mod lockstep;

use super::model::ModelDriver;
use super::model::Offered;
use super::*;
use crate::mmu::model::ModelMemory;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

/// Where queues are, and buffers.
const RINGS: u64 = 0x1000;
const BUFFERS: u64 = 0x10_0000;

fn memory() -> ModelMemory {
    ModelMemory::new(&[RINGS..0x4_0000, BUFFERS..BUFFERS + 0x1_0000])
}

/// A queue of so many entries, its driver, and a chain for it.
fn queue(size: u16, event_index: bool) -> (Queue, ModelDriver, Chain) {
    let driver = ModelDriver::new(size, RINGS, event_index);
    let mut queue = Queue::new(256);
    driver.set_up(&mut queue);
    (queue, driver, Chain::new(16))
}

fn readable(address: u64, bytes: u32) -> Offered {
    Offered { address, bytes, writable: false }
}

fn writable(address: u64, bytes: u32) -> Offered {
    Offered { address, bytes, writable: true }
}

#[test]
fn a_size_must_be_a_power_of_two_and_no_more_than_offered() {
    let mut queue = Queue::new(64);
    for size in [0, 3, 63, 128, 0x8001] {
        assert_eq!(queue.set_size(size), Err(Broken::Size));
    }
    assert_eq!(queue.size(), 64);
    queue.set_size(16).unwrap();
    queue.reset();
    assert_eq!(queue.size(), 64);
}

#[test]
fn areas_must_be_aligned_and_must_not_wrap_around() {
    let areas = [Area::Descriptors, Area::Driver, Area::Device];
    for (area, below) in areas.into_iter().zip([8, 1, 2]) {
        for (address, error) in [(below, Broken::Alignment), (u64::MAX - 15, Broken::Memory)] {
            let mut queue = Queue::new(8);
            queue.set_address(area, address);
            assert_eq!(queue.enable(0), Err(error));
            assert!(!queue.enabled());
        }
    }
}

#[test]
fn an_enabled_queue_stays_where_it_is_until_reset() {
    let (mut queue, ..) = queue(8, true);
    queue.set_size(16).unwrap();
    queue.set_address(Area::Driver, 0);
    assert_eq!((queue.size(), queue.address(Area::Driver)), (8, RINGS + 128));
    queue.reset();
    assert_eq!((queue.size(), queue.address(Area::Driver), queue.enabled()), (256, 0, false));
}

#[test]
fn a_queue_that_is_not_enabled_has_nothing_and_writes_nothing() {
    let memory = ModelMemory::new(&[0..0x1000]);
    let (mut queue, mut chain) = (Queue::new(8), Chain::new(8));
    memory.write(GuestPhysical(2), &[1, 0]).unwrap();
    assert_eq!(queue.pop(&memory, &mut chain), Ok(false));
    assert_eq!(queue.pop_or_await(&memory, &mut chain), Ok(false));
    queue.push(&memory, &chain, 1).unwrap();
    queue.suppress_notifications(&memory).unwrap();
    assert_eq!(queue.should_interrupt(&memory), Ok(false));
    assert_eq!(memory.bytes(4, 0x100), vec![0; 0x100]);
}

#[test]
fn an_undone_pop_comes_again() {
    let memory = memory();
    let (mut queue, mut driver, mut chain) = queue(4, true);
    let first = driver.offer(&memory, &[writable(BUFFERS, 8)], false).unwrap();
    driver.offer(&memory, &[writable(BUFFERS, 16)], false).unwrap();
    driver.publish(&memory);
    assert_eq!(queue.pop(&memory, &mut chain), Ok(true));
    queue.undo_pop();
    assert_eq!(queue.pop(&memory, &mut chain), Ok(true));
    assert_eq!((chain.head(), chain.writable()), (first, 8));
    assert_eq!(queue.pop(&memory, &mut chain), Ok(true));
    assert_eq!(chain.writable(), 16);
    assert_eq!(queue.pop(&memory, &mut chain), Ok(false));
}

#[test]
fn what_is_staged_is_seen_when_it_is_published_and_all_at_once() {
    let memory = memory();
    let (mut queue, mut driver, mut chain) = queue(4, false);
    for _ in 0..3 {
        driver.offer(&memory, &[writable(BUFFERS, 8)], false).unwrap();
    }
    driver.publish(&memory);
    for written in 1..=3 {
        assert_eq!(queue.pop(&memory, &mut chain), Ok(true));
        queue.stage(&memory, &chain, written).unwrap();
    }
    assert_eq!((driver.reap(&memory), queue.should_interrupt(&memory)), (None, Ok(false)));
    queue.publish(&memory).unwrap();
    assert_eq!(queue.should_interrupt(&memory), Ok(true));
    assert_eq!(queue.should_interrupt(&memory), Ok(false));
    let written: Vec<_> = core::iter::from_fn(|| driver.reap(&memory)).map(|(_, written)| written).collect();
    assert_eq!(written, [1, 2, 3]);
}

#[test]
fn a_driver_that_wants_no_interrupts_gets_none() {
    let memory = memory();
    let (mut queue, mut driver, mut chain) = queue(4, false);
    driver.refuse_interrupts(&memory);
    driver.offer(&memory, &[writable(BUFFERS, 8)], false).unwrap();
    driver.publish(&memory);
    assert_eq!(queue.pop(&memory, &mut chain), Ok(true));
    queue.push(&memory, &chain, 0).unwrap();
    assert_eq!(queue.should_interrupt(&memory), Ok(false));
}

#[test]
fn a_driver_need_not_notify_while_it_is_looked_after() {
    for event_index in [false, true] {
        let memory = memory();
        let (mut queue, mut driver, mut chain) = queue(4, event_index);
        let mut offer = |driver: &mut ModelDriver| {
            driver.offer(&memory, &[writable(BUFFERS, 8)], false).unwrap();
            driver.publish(&memory);
            driver.must_notify(&memory)
        };
        assert!(offer(&mut driver));
        queue.suppress_notifications(&memory).unwrap();
        assert_eq!(queue.pop(&memory, &mut chain), Ok(true));
        assert!(!offer(&mut driver));
        assert_eq!(queue.await_notifications(&memory), Ok(true));
        assert_eq!(queue.pop(&memory, &mut chain), Ok(true));
        assert_eq!(queue.pop_or_await(&memory, &mut chain), Ok(false));
        assert!(offer(&mut driver));
    }
}

/// Passing is what it is when indices are counted without end.
#[test]
fn an_event_is_passed_by_those_indices_that_go_beyond_it() {
    for start in [0_u16, 1, 0x7fff, 0xfff0, 0xffff] {
        for steps in 0..20_u16 {
            for event in 0..40_u16 {
                let now = start.wrapping_add(steps);
                let event_at = start.wrapping_add(event).wrapping_sub(10);
                let passed = (0..steps).any(|step| start.wrapping_add(step) == event_at);
                assert_eq!(passes(event_at, start, now), passed);
            }
        }
    }
}
