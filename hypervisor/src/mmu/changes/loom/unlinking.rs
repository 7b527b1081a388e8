// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tables are taken out while CPUs walk them, faults map something below, and others take out what is below.

use super::*;
use crate::mmu::explore::explore;
use crate::mmu::explore::finds;

/// CPU 0 takes out the table of frames 0 and 1, CPU 1 maps frame 1, and CPU 2 is in a guest.
fn unlink_map_and_walk() {
    let world = World::new(&[(0, OLD, 1, true)]);
    let (mapper, guest) = (Arc::clone(&world), Arc::clone(&world));
    let mapper = thread::spawn(move || {
        mapper.map(cpu(1), 1, NEW, 1, true);
    });
    let guest = thread::spawn(move || guest.walk_twice(0, 0));
    world.remove(cpu(0), 0..2);
    world.gone(|found| found.address == OLD * FRAME);
    mapper.join().unwrap();
    guest.join().unwrap();
    world.check();
}

/// CPU 0 takes out the table of frames 0 to 3 while CPU 1 maps frame 2, for which that has no table yet.
fn unlink_and_link_below() {
    let world = World::new(&[(0, OLD, 1, true)]);
    let mapper = Arc::clone(&world);
    let mapper = thread::spawn(move || {
        mapper.map(cpu(1), 2, NEW, 1, true);
    });
    world.remove(cpu(0), 0..4);
    mapper.join().unwrap();
    world.check();
}

/// CPU 1 removes a page that was written to, and CPU 0 takes out its table.
fn remove_and_unlink() {
    let world = World::new(&[(0, OLD, 1, true)]);
    assert!(walk(world.tables.pointer(true), 0, true).is_some());
    let remover = Arc::clone(&world);
    let remover = thread::spawn(move || remover.remove(cpu(1), 0..1));
    world.remove(cpu(0), 0..2);
    remover.join().unwrap();
    world.check();
    assert!(world.was_written(0), "stale use: a write was forgotten");
}

/// CPU 1 takes out the table of frames 0 and 1, and CPU 0 the one above.
fn unlink_on_two_levels() {
    let world = World::new(&[(0, OLD, 1, true), (2, NEW, 1, true)]);
    assert!(walk(world.tables.pointer(true), 0, true).is_some());
    let remover = Arc::clone(&world);
    let remover = thread::spawn(move || remover.remove(cpu(1), 0..2));
    let mut taken_out = TakenOut::default();
    let reading = world.coherence.grace.read(cpu(0));
    let above = world.tables.root(&reading).place(0).see().found();
    let mut changes = Changes::new(&world.tables, &reading, cpu(0), &mut taken_out);
    assert!(changes.remove(0..4).is_empty());
    let flushed = changes.flush(&world.guests);
    if let Found::Table(table) = above {
        for entry in table.all_places().map(Place::see) {
            let is_sealed = matches!(entry.found(), Found::Removed | Found::Table(_));
            assert!(is_sealed, "stale use: a table that is out has room again");
        }
    }
    let mut mark = |frames: Range<u64>| world.written.lock().unwrap().extend(frames);
    let retired = flushed.release(Some(&mut mark));
    drop(reading);
    retired.free(&world.tables);
    remover.join().unwrap();
    world.check();
    assert!(world.was_written(0), "stale use: a write was forgotten");
}

/// Checklist A2: a table is freed after the flush and a grace period, though CPUs walk it and others map in it.
#[test]
fn a2_no_table_is_used_that_was_freed() {
    explore(FEW, unlink_map_and_walk);
}

#[test]
fn a2_a_table_that_is_freed_unflushed_is_found() {
    finds(Rule::Flush, FEW, unlink_map_and_walk);
}

#[test]
fn a2_a_table_that_is_freed_without_a_grace_period_is_found() {
    finds(Rule::TablesOutliveTheirReaders, FEW, unlink_map_and_walk);
}

#[test]
fn a_table_that_a_fault_links_below_one_that_goes_is_not_lost() {
    explore(ALL, unlink_and_link_below);
}

/// Checklist A2: dirty bits are not lost, whichever of two removals comes first.
#[test]
fn a2_a_table_is_taken_out_from_under_another_removal() {
    explore(ALL, remove_and_unlink);
}

#[test]
fn a_table_is_taken_out_of_one_that_is_being_taken_out() {
    explore(FEW, unlink_on_two_levels);
}

#[test]
fn a_table_that_is_out_and_gets_room_again_is_found() {
    finds(Rule::SealsAreSeen, MORE, unlink_on_two_levels);
}
