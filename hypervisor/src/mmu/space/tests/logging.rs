// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes that are logged, and accesses.

use super::*;
use crate::mmu::table::GUEST_FRAMES;

fn logged(frames: u64) -> Machine {
    let machine = Machine::with_ram(frames);
    machine.reaches_memory(0, true);
    machine.space.start_log(machine.leave(0), range(0, frames)).unwrap();
    machine
}

fn fetch(machine: &Machine, first: u64) -> u64 {
    machine.space.fetch_log(machine.leave(0), first, 64)
}

#[test]
fn writes_are_told_once_whoever_wrote() {
    let machine = logged(LARGE);
    assert_eq!(fetch(&machine, 0), 0, "what was written before does not count");
    machine.reaches_memory(1, true);
    machine.reaches_memory(2, false);
    machine.space.write(GuestPhysical(4 * FRAME - 1), &[1, 2]).unwrap();
    machine.space.compare_exchange(at(9), 0, 1).unwrap();
    machine.space.compare_exchange(at(10), 8, 1).unwrap();
    assert_eq!(fetch(&machine, 0), 1 << 1 | 1 << 3 | 1 << 4 | 1 << 9);
    assert_eq!(fetch(&machine, 0), 0);
    machine.reaches_memory(1, true);
    assert_eq!(fetch(&machine, 1), 1);
}

#[test]
fn a_large_page_is_split_by_the_first_write_and_not_before() {
    let machine = logged(LARGE);
    machine.reaches_memory(7, false);
    assert_eq!(machine.mapped(7).map(|found| (found.level, found.write)), Some((2, false)));
    machine.reaches_memory(7, true);
    assert_eq!(machine.mapped(7).map(|found| (found.level, found.write)), Some((1, true)));
    assert_eq!(machine.mapped(8).map(|found| (found.level, found.write)), Some((1, false)));
    assert_eq!(fetch(&machine, 0), 1 << 7);
    assert_eq!(machine.mapped(7).map(|found| found.write), Some(false));
}

/// Checklist A2: what was written to is told though its mapping is gone.
#[test]
fn a2_a_write_before_a_zap_is_told() {
    for zapped in [range(3, 1), range(0, LARGE), range(0, frames_of(3))] {
        let machine = logged(LARGE);
        machine.reaches_memory(3, true);
        machine.space.zap(machine.leave(0), zapped);
        assert_eq!(machine.mapped(3), None);
        assert_eq!(fetch(&machine, 0), 1 << 3);
        assert_eq!(fetch(&machine, 0), 0);
    }
}

#[test]
fn memory_that_comes_while_writes_are_logged_is_mapped_in_small_pages() {
    let machine = logged(2 * LARGE);
    let first = LARGE;
    machine.reaches_memory(first, true);
    machine.reaches_memory(first + 1, false);
    assert_eq!(fetch(&machine, first), 1);
}

#[test]
fn without_a_log_nothing_is_told_and_pages_become_writable_and_large_again() {
    let machine = logged(LARGE);
    machine.reaches_memory(1, true);
    machine.reaches_memory(2, false);
    machine.space.stop_log(machine.leave(0), range(5, 1));
    assert_eq!(fetch(&machine, 0), 0);
    machine.reaches_memory(2, true);
    assert_eq!(machine.mapped(2).map(|found| (found.level, found.write)), Some((1, true)));
    assert_eq!(fetch(&machine, 0), 0);
    machine.space.collapse(machine.leave(0), range(0, LARGE));
    machine.reaches_memory(2, true);
    assert_eq!(machine.mapped(2).map(|found| (found.level, found.write)), Some((2, true)));
}

#[test]
fn a_large_page_that_was_protected_becomes_writable_as_a_whole() {
    let machine = logged(LARGE);
    machine.space.stop_log(machine.leave(0), range(0, LARGE));
    machine.reaches_memory(9, true);
    assert_eq!(machine.mapped(9).map(|found| (found.level, found.write)), Some((2, true)));
}

#[test]
fn collapsing_leaves_alone_what_no_large_page_can_map() {
    let machine = logged(LARGE);
    machine.put(LARGE, Content::Ram(Ram::new(5 * FRAME).unwrap()), 5);
    machine.reaches_memory(1, true);
    machine.reaches_memory(LARGE + 1, true);
    machine.space.collapse(machine.leave(0), range(0, 2 * LARGE));
    assert!(machine.mapped(1).is_some_and(|found| found.level == 1), "its writes are logged");
    assert!(machine.mapped(LARGE + 1).is_some(), "it is no whole block");
}

#[test]
fn an_access_is_told_once_with_and_without_the_processors_bit() {
    for accessed_dirty in [false, true] {
        let machine = Machine::new(accessed_dirty);
        machine.put(0, Content::Ram(Ram::new(3 * FRAME).unwrap()), 3);
        let age = |frame| machine.space.age(machine.leave(0), frame);
        assert!(!age(1), "it is not mapped");
        machine.reaches_memory(1, false);
        assert!(age(1));
        assert!(!age(1));
        machine.reaches_memory(1, false);
        assert!(age(1));
    }
}

#[test]
fn a_frame_that_guests_do_not_have_was_not_accessed_whatever_was_at_the_others() {
    for accessed_dirty in [false, true] {
        let machine = Machine::new(accessed_dirty);
        machine.put(0, Content::Ram(Ram::new(3 * FRAME).unwrap()), 3);
        machine.reaches_memory(1, false);
        for frame in [GUEST_FRAMES + 1, GUEST_FRAMES, u64::MAX - GUEST_FRAMES + 2, u64::MAX] {
            assert!(!machine.space.age(machine.leave(0), frame));
        }
        assert!(machine.space.age(machine.leave(0), 1));
    }
}

#[test]
fn a_window_outside_of_all_memory_is_empty() {
    let machine = logged(LARGE);
    assert_eq!(machine.space.fetch_log(machine.leave(0), u64::MAX - 3, u64::MAX), 0);
    assert_eq!(machine.space.fetch_log(machine.leave(0), LARGE, 64), 0);
    machine.reaches_memory(LARGE - 1, true);
    assert_eq!(machine.space.fetch_log(machine.leave(0), LARGE - 2, 64), 2);
}
