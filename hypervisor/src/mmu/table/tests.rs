// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tables are reached, changed and freed in the ways that are sound; small enough for Miri.

use super::*;
use crate::memory::FRAME;
use crate::mmu::entry::Rights;
use crate::mmu::model;

const ME: CpuNumber = CpuNumber::BOOT;
const MARKER: Entry = Entry::removed_marker(ME, false);

fn tables() -> (Tables, Arc<Coherence>) {
    let coherence = model::coherence();
    (Tables::new(Commitment::new(8).unwrap(), Arc::clone(&coherence)).unwrap(), coherence)
}

fn page(number: u64) -> Entry {
    Entry::page(number * FRAME, 1, Rights { write: true, dirty: false })
}

/// The place of a frame in a table of level 1, with all tables to it.
fn lowest<'r>(tables: &Tables, root: Table<'r>, frame: u64) -> Place<'r> {
    let mut table = root;
    loop {
        let place = table.place(frame);
        match place.see().found() {
            Found::Table(below) => table = below,
            _ if place.level() == 1 => return place,
            _ => place.see().link(tables.new_table().unwrap()).unwrap(),
        }
    }
}

#[test]
fn what_is_linked_is_found_and_freed_with_all_below() {
    let (tables, coherence) = tables();
    let reading = coherence.grace.read(ME);
    let root = tables.root(&reading);
    let place = lowest(&tables, root, 0x12_3456);
    assert_eq!(place.frames(), 0x12_3456..0x12_3457);
    assert_eq!(place.see().replace(page(7)), Ok(()));
    assert_eq!(lowest(&tables, root, 0x12_3456).see().entry(), page(7));
    assert_eq!(tables.memory().taken(), 4);
    let top = root.place(0x12_3456);
    let unlinked = tables.unlink(top.see(), MARKER).unwrap();
    assert_eq!(unlinked.table(&reading).all_places().count(), WORDS);
    drop(reading);
    tables.free(ME, [unlinked]);
    assert_eq!(tables.memory().taken(), 1);
}

#[test]
fn only_what_was_seen_is_changed() {
    let (tables, coherence) = tables();
    let reading = coherence.grace.read(ME);
    let root = tables.root(&reading);
    let seen = root.place(0).see();
    assert!(matches!(seen.found(), Found::Nothing));
    seen.link(tables.new_table().unwrap()).unwrap();
    // The second one comes too late, and has its table back.
    let back = seen.link(tables.new_table().unwrap()).unwrap_err();
    tables.give_back(back);
    assert_eq!(tables.memory().taken(), 2);
    assert_eq!(seen.replace(MARKER), Err(Changed));
    let table = root.place(0).see();
    assert!(matches!(table.found(), Found::Table(_)));
    // Once only.
    let unlinked = tables.unlink(table, MARKER).unwrap();
    assert!(tables.unlink(table, MARKER).is_err_and(|changed| changed == Changed));
    drop(reading);
    tables.free(ME, [unlinked]);
}

/// What is out of sight and not given back yet will be: there is no memory *now*.
#[test]
fn memory_of_tables_that_are_being_freed_is_waited_for() {
    let coherence = model::coherence();
    let tables = Tables::new(Commitment::new(2).unwrap(), Arc::clone(&coherence)).unwrap();
    let reading = coherence.grace.read(ME);
    let place = tables.root(&reading).place(0);
    place.see().link(tables.new_table().unwrap()).unwrap();
    assert_eq!(tables.new_table().err(), Some(NotNow::OutOfFrames));
    let unlinked = tables.unlink(place.see(), MARKER).unwrap();
    assert_eq!(tables.new_table().err(), Some(NotNow::Busy));
    drop(reading);
    tables.free(ME, [unlinked]);
    let table = tables.new_table().unwrap();
    assert_eq!(tables.new_table().err(), Some(NotNow::OutOfFrames));
    tables.give_back(table);
}

#[test]
fn places_are_those_of_the_range_and_no_others() {
    let (tables, coherence) = tables();
    let reading = coherence.grace.read(ME);
    let root = tables.root(&reading);
    let each = frames_of(LEVELS);
    let firsts = |frames: Range<u64>| root.places(&frames).map(|place| place.frames().start / each);
    assert!(firsts(0..1).eq([0]));
    assert!(firsts(each - 1..each + 1).eq([0, 1]));
    assert!(firsts(0..u64::MAX).eq(0..WORDS as u64));
    assert_eq!(firsts(GUEST_FRAMES..u64::MAX).count(), 0);
    assert_eq!(firsts(5..5).count(), 0);
    let low = lowest(&tables, root, each + 600).frames().start;
    assert_eq!(low, each + 600);
}

#[test]
fn the_pointer_tells_levels_and_memory_type() {
    let (tables, _) = tables();
    assert_eq!(tables.pointer(true) & 0xfff, 0x5e);
    assert_eq!(tables.pointer(false) & 0xfff, 0x1e);
}

#[test]
#[should_panic(expected = "a section protects what its own grace periods free")]
fn a_section_of_another_machine_is_refused() {
    let (tables, _) = tables();
    let other = model::coherence();
    let reading = other.grace.read(ME);
    let _ = tables.root(&reading);
}

/// Checklist A2: a page that becomes another in one step is a fault of our own, and stops everything.
#[test]
#[should_panic(expected = "in one step")]
fn a2_a_page_that_becomes_another_is_caught() {
    let (tables, coherence) = tables();
    let reading = coherence.grace.read(ME);
    let place = lowest(&tables, tables.root(&reading), 0);
    assert_eq!(place.see().replace(page(1)), Ok(()));
    let _ = place.see().replace(page(2));
}

/// Checklist A2: so is an absent entry that becomes absent.
#[test]
#[should_panic(expected = "in one step")]
fn a2_nothing_that_becomes_nothing_is_caught() {
    let (tables, coherence) = tables();
    let reading = coherence.grace.read(ME);
    let _ = tables.root(&reading).place(0).see().replace(Entry::ABSENT);
}

/// Only a table that somebody owns can be linked: an address is not enough.
#[test]
#[should_panic(expected = "tables are linked")]
fn an_entry_for_a_table_cannot_be_made_up() {
    let (tables, coherence) = tables();
    let reading = coherence.grace.read(ME);
    let _ = tables.root(&reading).place(0).see().replace(Entry::table(0x1000));
}
