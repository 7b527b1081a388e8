// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is replaced is dropped once, and after all who read it; small enough for Miri.

use super::*;
use crate::mmu::model;
use core::sync::atomic::AtomicU64;
use std::thread;

const ME: CpuNumber = CpuNumber::BOOT;

#[test]
fn what_was_replaced_is_dropped_after_it_was_cleansed_and_the_last_with_its_owner() {
    let coherence = model::coherence();
    let (first, second) = (Arc::new(1), Arc::new(2));
    let published = Published::new(Arc::clone(&coherence), Arc::clone(&first));
    let reading = coherence.grace.read(ME);
    assert_eq!(**published.read(&reading), 1);
    drop(reading);
    published.replace(ME, Arc::clone(&second), || assert_eq!(Arc::strong_count(&first), 2));
    assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 2));
    assert_eq!(**published.read(&coherence.grace.read(ME)), 2);
    drop(published);
    assert_eq!(Arc::strong_count(&second), 1);
}

#[test]
fn readers_find_one_or_the_other() {
    let coherence = model::coherence();
    let published = Published::new(Arc::clone(&coherence), vec![0_u64; 3]);
    let over = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let me = CpuNumber::new(1).unwrap();
            while over.load(Ordering::Acquire) == 0 {
                let reading = coherence.grace.read(me);
                let values = published.read(&reading);
                assert!(values.iter().all(|&value| value == values[0]));
            }
        });
        for round in 1..20 {
            published.replace(ME, vec![round; 3], || ());
        }
        over.store(1, Ordering::Release);
    });
}

#[test]
#[should_panic(expected = "a section protects what its own grace periods free")]
fn a_section_of_another_machine_is_refused() {
    let published = Published::new(model::coherence(), 0);
    let other = model::coherence();
    let _ = published.read(&other.grace.read(ME));
}
