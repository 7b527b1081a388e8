// SPDX-License-Identifier: MIT OR Apache-2.0
//! A CPU writes to a page while it is removed or protected: the write is told, at once or next time.

use super::*;
use crate::mmu::explore::explore;
use crate::mmu::explore::finds;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;

/// Numbers the calls that tell what was written to: which was over when the last write took place. Not part of the protocol.
#[derive(Default)]
struct Round {
    over: AtomicU64,
    written: AtomicBool,
    written_after: AtomicU64,
}

/// Two writes of a CPU in its guest, the second through what it has cached.
fn write_twice(world: &World, round: &Round) {
    let stay = world.guests.0[0].lock();
    if walk(world.tables.pointer(true), 0, true).is_some() {
        for _ in 0..2 {
            round.written.store(true, Ordering::Relaxed);
            round.written_after.store(round.over.load(Ordering::Relaxed), Ordering::Relaxed);
            thread::yield_now();
        }
    }
    drop(stay);
}

/// Told twice what was written to: while the CPU writes, and when it is done.
fn write_and_tell(mut tell: impl FnMut(&World) -> bool) {
    let world = World::new(&[(0, OLD, 1, true)]);
    let round = Arc::new(Round::default());
    let writer = thread::spawn({
        let (world, round) = (Arc::clone(&world), Arc::clone(&round));
        move || write_twice(&world, &round)
    });
    let first = tell(&world);
    round.over.store(1, Ordering::Relaxed);
    writer.join().unwrap();
    let second = tell(&world);
    world.check();
    if round.written.load(Ordering::Relaxed) {
        let told = second || first && round.written_after.load(Ordering::Relaxed) == 0;
        assert!(told, "stale use: a write was forgotten");
    }
}

fn protect_and_tell() {
    write_and_tell(|world| {
        let mut written = false;
        world.make(cpu(0), |changes| changes.protect(0..1, &mut |_, dirty| written |= dirty));
        written
    });
}

fn remove_and_tell() {
    write_and_tell(|world| {
        world.remove(cpu(0), 0..1);
        mem::take(&mut *world.written.lock().unwrap()).contains(&0)
    });
}

/// The same with the whole table.
fn unlink_and_tell() {
    write_and_tell(|world| {
        world.remove(cpu(0), 0..2);
        mem::take(&mut *world.written.lock().unwrap()).contains(&0)
    });
}

/// Checklist A2: dirty bits are never lost when a fast fault, here the CPU itself, races with a zap.
#[test]
fn a2_a_write_during_a_removal_is_told() {
    explore(ALL, remove_and_tell);
    explore(ALL, unlink_and_tell);
}

#[test]
fn a2_a_write_during_a_protection_is_told() {
    explore(ALL, protect_and_tell);
}

#[test]
fn a2_a_stored_entry_that_loses_a_write_is_found() {
    finds(Rule::EntriesAreExchanged, ALL, remove_and_tell);
    finds(Rule::EntriesAreExchanged, ALL, protect_and_tell);
}

#[test]
fn a_protection_that_is_not_flushed_is_found() {
    finds(Rule::Flush, ALL, protect_and_tell);
}
