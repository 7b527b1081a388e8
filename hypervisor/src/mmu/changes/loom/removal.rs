// SPDX-License-Identifier: MIT OR Apache-2.0
//! A page is removed, and others map something in its place.

use super::*;
use crate::mmu::explore::explore;
use crate::mmu::explore::finds;

/// CPU 0 removes a page, CPU 1 maps another one there, and CPU 2 is in a guest.
fn remove_map_and_walk() {
    let world = World::new(&[(0, OLD, 1, true)]);
    let (mapper, guest) = (Arc::clone(&world), Arc::clone(&world));
    let mapper = thread::spawn(move || {
        mapper.map(cpu(1), 0, NEW, 1, true);
    });
    let guest = thread::spawn(move || guest.walk_twice(0, 0));
    world.remove(cpu(0), 0..1);
    world.gone(|found| found.address == OLD * FRAME);
    mapper.join().unwrap();
    guest.join().unwrap();
    world.check();
}

/// CPU 0 maps a page and removes it again. CPU 1 removes the pages on both sides, and all between; so it comes by the marker.
fn two_removals_side_by_side() {
    let world = World::new(&[(1, NEW, 1, true), (4, NEW, 1, true)]);
    let remover = Arc::clone(&world);
    let remover = thread::spawn(move || remover.remove(cpu(1), 1..5));
    world.map(cpu(0), 2, OLD, 1, true);
    let mut taken_out = TakenOut::default();
    let reading = world.coherence.grace.read(cpu(0));
    let mut changes = Changes::new(&world.tables, &reading, cpu(0), &mut taken_out);
    let place = lowest(world.tables.root(&reading), 2);
    assert!(changes.remove(2..3).is_empty());
    let marked = changes.marked.frames().contains(&2);
    let flushed = changes.flush(&world.guests);
    let still_marked = matches!(place.see().found(), Found::Removed);
    assert!(!marked || still_marked, "stale use: a marker was taken away by another CPU");
    let retired = flushed.release(None);
    drop(reading);
    retired.free(&world.tables);
    remover.join().unwrap();
    world.check();
}

/// The place of a frame in the lowest table that there is.
fn lowest(table: Table<'_>, frame: u64) -> Place<'_> {
    let place = table.place(frame);
    match place.see().found() {
        Found::Table(below) => lowest(below, frame),
        _ => place,
    }
}

/// Two CPUs remove the same page; what each took away is gone when it comes back, whoever was first.
fn two_removals_of_one_page() {
    let world = World::new(&[(0, OLD, 1, true)]);
    let (remover, guest) = (Arc::clone(&world), Arc::clone(&world));
    let remover = thread::spawn(move || {
        remover.remove(cpu(1), 0..1);
        remover.gone(|found| found.address == OLD * FRAME);
    });
    let guest = thread::spawn(move || guest.walk_twice(0, 0));
    world.remove(cpu(0), 0..1);
    world.gone(|found| found.address == OLD * FRAME);
    remover.join().unwrap();
    guest.join().unwrap();
    world.check();
}

/// Checklist A2: N threads map, zap and walk; nobody sees one page become another with no flush between.
#[test]
fn a2_no_walker_sees_a_page_become_another_without_a_flush() {
    explore(FEW, remove_map_and_walk);
}

/// Checklist A2: every zap has a covering flush between removal and release.
#[test]
fn a2_a_removal_without_a_flush_is_found() {
    finds(Rule::Flush, FEW, remove_map_and_walk);
}

/// Checklist A2, the same.
#[test]
fn a2_a_release_before_the_flush_is_found() {
    finds(Rule::ReleaseAfterFlush, FEW, remove_map_and_walk);
}

/// Checklist A2: nobody but the freezer leaves REMOVED; not a fault,
#[test]
fn a2_a_fault_that_overwrites_a_marker_is_found() {
    finds(Rule::MarkersAreLeftAlone, FEW, remove_map_and_walk);
}

/// and not another removal.
#[test]
fn a2_only_who_removed_takes_the_marker_away() {
    explore(MORE, two_removals_side_by_side);
}

#[test]
fn a2_a_marker_that_another_takes_away_is_found() {
    finds(Rule::OwnMarkersAreReleased, MORE, two_removals_side_by_side);
}

#[test]
fn who_finds_anothers_marker_flushes_too() {
    explore(FEW, two_removals_of_one_page);
}
