// SPDX-License-Identifier: MIT OR Apache-2.0
//! While somebody removes something: checklist A2, as a guest's memory as a whole keeps it.

use super::*;
use crate::mmu::changes::Changes;
use crate::mmu::changes::TakenOut;
use crate::mmu::flush::Pages;
use crate::mmu::rule::Rule;

/// Does `act` while CPU 2 has removed those frames, and not flushed yet.
fn while_removed(machine: &Machine, frames: Range<u64>, act: impl FnOnce()) {
    let me = Machine::cpu(2);
    let space = &machine.space;
    let mut taken_out = TakenOut::default();
    let reading = space.section(me);
    let mut changes = Changes::new(&space.tables, &reading, me, &mut taken_out);
    assert!(changes.remove(frames).is_empty());
    act();
    let retired = changes.flush(&space.roots).release(None);
    drop(reading);
    retired.free(&space.tables);
}

/// A fault on REMOVED is tried again; it takes no memory, and is neither a device's nor nothing.
#[test]
fn a2_a_fault_on_removed_is_tried_again_takes_nothing_and_is_no_device() {
    for removed in [0..1, 0..LARGE, 0..frames_of(3)] {
        let machine = Machine::with_ram(2 * LARGE + 3);
        machine.reaches_memory(0, true);
        machine.reaches_memory(2 * LARGE, true);
        let space = &machine.space;
        let me = machine.leave(0);
        while_removed(&machine, removed.clone(), || {
            let before = (space.held_bytes(), space.backed_bytes());
            for write in [false, true] {
                let access = Access { read: !write, write, execute: false };
                assert_eq!(space.fault(me, at(1), access), Fault::Again);
            }
            assert_eq!((space.held_bytes(), space.backed_bytes()), before);
        });
        machine.reaches_memory(1, true);
        machine.reaches_memory(2 * LARGE, true);
    }
}

/// What is brought by software meanwhile is there for the guest afterwards.
#[test]
fn software_does_not_wait_for_markers() {
    let machine = Machine::with_ram(LARGE);
    machine.reaches_memory(0, true);
    machine.leave(0);
    while_removed(&machine, 0..1, || machine.space.write(at(3), &[7; 8]).unwrap());
    assert_eq!(machine::load(machine.reaches_memory(3, false)), u64::from_le_bytes([7; 8]));
}

/// Who zaps what another is about to remove comes back when nobody can use it, too.
#[test]
fn a_zap_of_what_another_removes_is_flushed() {
    let machine = Machine::with_ram(LARGE);
    machine.reaches_memory(0, true);
    while_removed(&machine, 0..1, || {
        let occupancy = &machine.space.coherence().occupancy;
        assert_eq!(occupancy.root(Machine::cpu(0)), Some(machine.space.root().id()));
        machine.space.zap(Machine::cpu(1), range(0, 1));
        assert_eq!(occupancy.root(Machine::cpu(0)), None, "it had to leave for the flush");
    });
}

/// A zap takes away mappings, and no contents.
#[test]
fn what_was_zapped_comes_back_as_it_was() {
    let machine = Machine::with_ram(LARGE + 9);
    for frame in [3, LARGE + 4] {
        machine::store(machine.reaches_memory(frame, true), frame);
        machine.space.zap(machine.leave(0), range(frame, 1));
        assert_eq!(machine.mapped(frame), None);
        assert_eq!(machine::load(machine.reaches_memory(frame, false)), frame);
    }
}

/// A zap of nothing flushes nothing.
#[test]
fn a_zap_where_nothing_is_mapped_costs_no_flush() {
    let machine = Machine::with_ram(2 * LARGE);
    machine.reaches_memory(0, true);
    let generation = machine.space.root().generation();
    machine.space.zap(Machine::cpu(1), range(LARGE, LARGE));
    assert_eq!(machine.space.root().generation(), generation);
    machine.space.zap(Machine::cpu(1), range(0, 1));
    assert!(machine.space.root().generation() > generation);
}

/// The model of CPUs that the tests here use finds a flush that is missing.
#[test]
#[should_panic(expected = "the page is another one")]
fn a_slot_that_changes_without_a_flush_is_found() {
    let machine = Machine::with_ram(1);
    let alpha = machine.reaches_memory(0, false);
    let beta = Ram::new(FRAME).unwrap();
    Rule::Flush.broken(|| machine.space.set(Machine::cpu(1), range(0, 1), Content::Ram(beta)).unwrap());
    assert_ne!(machine.reaches_memory(0, false), alpha, "the page is another one");
}

/// The pages that a root flush is asked for begin at the base of the level's entry: also through [`Pages::of_entry`].
#[test]
fn a2_pages_of_an_entry_are_those_of_its_level() {
    for level in 1..=4 {
        let frames = frames_of(level);
        let base = GuestPhysical(3 * frames * FRAME);
        let inside = GuestPhysical(base.0 + frames * FRAME - 1);
        assert_eq!(Pages::of_entry(inside, level), Pages::Run { start: base, count: frames });
    }
}
