// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grace periods: who waits for whom.

use super::Grace;
use crate::cpu::CpuNumber;
use crate::mmu::Kick;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;

#[derive(Debug, Default)]
struct Waits(AtomicU64);

impl Kick for Waits {
    fn kick(&self, _: CpuNumber) {}

    fn relax(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        thread::yield_now();
    }
}

fn cpu(number: usize) -> CpuNumber {
    CpuNumber::new(number).unwrap()
}

#[test]
fn without_readers_nobody_waits() {
    let (grace, waits) = (Grace::new(), Waits::default());
    drop(grace.read(cpu(1)));
    drop(grace.read(cpu(0)));
    grace.synchronize(cpu(0), &waits);
    assert_eq!(waits.0.into_inner(), 0);
}

#[test]
fn sections_end_with_the_outermost() {
    let grace = Grace::new();
    let outer = grace.read(cpu(1));
    let inner = grace.read(cpu(1));
    drop(inner);
    assert!(grace.is_reading(cpu(1)));
    drop(outer);
    assert!(!grace.is_reading(cpu(1)));
}

#[test]
fn what_began_to_read_later_is_not_waited_for() {
    let (grace, waits) = (Grace::new(), Waits::default());
    thread::scope(|scope| {
        let reading = grace.read(cpu(1));
        let waiting = scope.spawn(|| grace.synchronize(cpu(0), &waits));
        while waits.0.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        // Without a moment in which nobody reads that the other thread could see.
        drop(reading);
        let _reading = grace.read(cpu(1));
        waiting.join().unwrap();
    });
}

#[test]
#[should_panic(expected = "waits for readers, and is one")]
fn a_reader_does_not_wait_for_itself() {
    let grace = Grace::new();
    let _reading = grace.read(cpu(0));
    grace.synchronize(cpu(0), &Waits::default());
}
