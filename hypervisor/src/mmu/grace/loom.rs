// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grace periods under loom: what was replaced is not freed under a reader.

use super::Grace;
use crate::cpu::CpuNumber;
use crate::mmu::Kick;
use crate::mmu::atomic::AtomicU64;
use crate::mmu::atomic::Ordering;
use crate::mmu::explore::explore;
use crate::mmu::explore::finds;
use crate::mmu::rule::Rule;
use crate::mmu::watch::Watch;
use std::sync::Arc;

#[derive(Debug)]
struct Yields;

impl Kick for Yields {
    fn kick(&self, cpu: CpuNumber) {
        panic!("nobody who reads is in a guest, {cpu} included");
    }

    fn relax(&self) {
        loom::thread::yield_now();
    }
}

/// What is published, and what can be: the old one and the new one.
#[derive(Debug)]
struct World {
    grace: Grace,
    published: AtomicU64,
    pieces: [Watch; 2],
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self { grace: Grace::new(), published: AtomicU64::new(0), pieces: Default::default() })
    }

    /// Uses what is published, in a section of CPU 1.
    fn read(&self) {
        let _reading = self.grace.read(cpu(1));
        self.pieces[self.published.load(Ordering::Acquire) as usize].used();
    }

    /// Publishes the new piece and frees the old one.
    fn replace(&self) {
        self.published.store(1, Ordering::Release);
        self.grace.synchronize(cpu(0), &Yields);
        self.pieces[0].released();
    }
}

fn cpu(number: usize) -> CpuNumber {
    CpuNumber::new(number).unwrap()
}

fn against(reads: impl Fn(&World) + Send + 'static) {
    let world = World::new();
    let reading = Arc::clone(&world);
    let reader = loom::thread::spawn(move || reads(&reading));
    world.replace();
    reader.join().unwrap();
}

fn two_sections() {
    against(|world| {
        world.read();
        world.read();
    });
}

/// A section within another, and a use after the inner one has ended.
fn nested_sections() {
    against(|world| {
        let _reading = world.grace.read(cpu(1));
        let found = world.published.load(Ordering::Acquire) as usize;
        world.read();
        world.pieces[found].used();
    });
}

#[test]
fn nothing_is_freed_under_a_reader() {
    explore(None, two_sections);
}

#[test]
fn nothing_is_freed_under_an_outer_section() {
    explore(None, nested_sections);
}

#[test]
fn found_that_nobody_waits_for_readers() {
    finds(Rule::WaitForReaders, None, two_sections);
}

#[test]
fn found_that_no_fence_follows_the_begin_of_a_section() {
    finds(Rule::FenceAfterReading, None, two_sections);
}

#[test]
fn found_that_no_fence_precedes_the_wait() {
    finds(Rule::FenceBeforeWaiting, None, two_sections);
}

#[test]
fn found_that_an_inner_section_ends_the_outer_one() {
    finds(Rule::OuterSectionLasts, None, nested_sections);
}
