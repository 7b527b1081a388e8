// SPDX-License-Identifier: MIT OR Apache-2.0
//! Large pages are split, and small ones give way to large ones.

use super::*;
use crate::mmu::explore::explore;
use crate::mmu::explore::finds;

/// CPU 0 writes to a frame of a large page that is not writable as a whole; so it is split. CPU 1 is in a guest.
fn split_and_walk() {
    let world = World::new(&[(0, OLD, 2, false)]);
    let guest = Arc::clone(&world);
    let guest = thread::spawn(move || guest.walk_twice(0, 0));
    assert!(world.map(cpu(0), 0, OLD, 1, true));
    guest.join().unwrap();
    world.check();
}

/// Two CPUs want to write to the two frames of such a page.
fn two_split() {
    let world = World::new(&[(0, OLD, 2, false)]);
    let other = Arc::clone(&world);
    let other = thread::spawn(move || other.map(cpu(1), 1, OLD + 1, 1, true));
    assert!(world.map(cpu(0), 0, OLD, 1, true));
    assert!(other.join().unwrap());
    world.check();
    let pages = [0, 1].map(|frame| walk(world.tables.pointer(true), frame, true).map(|found| found.address));
    assert_eq!(pages, [Some(OLD * FRAME), Some((OLD + 1) * FRAME)]);
}

/// CPU 0 takes small pages away that a large one could map, and maps it. CPU 1 is in a guest.
fn collapse_and_walk() {
    let world = World::new(&[(0, OLD, 1, true), (1, OLD + 1, 1, true)]);
    let guest = Arc::clone(&world);
    let guest = thread::spawn(move || guest.walk_twice(0, 0));
    world.make(cpu(0), |changes| assert!(changes.collapse(0..2, |_| true).is_empty()));
    world.gone(|found| found.level == 1);
    assert!(world.map(cpu(0), 0, OLD, 2, true));
    guest.join().unwrap();
    world.check();
}

#[test]
fn nobody_uses_a_large_page_that_was_split() {
    explore(ALL, split_and_walk);
}

#[test]
fn a_split_that_is_not_flushed_is_found() {
    finds(Rule::Flush, ALL, split_and_walk);
}

#[test]
fn two_cpus_split_one_page() {
    explore(FEW, two_split);
}

#[test]
fn nobody_uses_small_pages_that_were_collapsed() {
    explore(ALL, collapse_and_walk);
}

#[test]
fn a_collapse_that_is_not_flushed_is_found() {
    finds(Rule::Flush, ALL, collapse_and_walk);
}
