// SPDX-License-Identifier: MIT OR Apache-2.0
//! One fault after the other.

use super::*;
use crate::cpu::CpuNumber;
use crate::memory::Commitment;
use crate::mmu::Coherence;
use crate::mmu::model;
use crate::mmu::walker::walk;
use core::cell::Cell;
use std::sync::Arc;

const ME: CpuNumber = CpuNumber::BOOT;
const LARGE: u64 = frames_of(2);
const READ: Access = Access { read: true, write: false, execute: false };
const WRITE: Access = Access { read: false, write: true, execute: false };

fn tables(memory: u64) -> (Tables, Arc<Coherence>) {
    let coherence = model::coherence();
    (Tables::new(Commitment::new(memory).unwrap(), Arc::clone(&coherence)).unwrap(), coherence)
}

fn leaf(page: u64, level: u32, write: bool) -> Leaf {
    Leaf { address: page * FRAME, level, rights: Rights { write, dirty: false } }
}

/// What became of a fault, in short.
fn fault(
    tables: &(Tables, Arc<Coherence>),
    frame: u64,
    access: Access,
    page: Result<Leaf, NotNow>,
) -> String {
    let reading = tables.1.grace.read(ME);
    let mapped = map(&tables.0, tables.0.root(&reading), frame, access, || page);
    match mapped {
        Mapped::Split(_) => "Split".into(),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_page_is_mapped_as_large_as_it_may_be_and_in_its_place() {
    let tables = tables(20);
    assert_eq!(fault(&tables, 5, READ, Ok(leaf(9, 1, true))), "Done { level: 1 }");
    assert_eq!(fault(&tables, LARGE + 5, READ, Ok(leaf(7 * LARGE + 5, 2, true))), "Done { level: 2 }");
    // Where a table is already, a page of its own.
    assert_eq!(fault(&tables, 6, READ, Ok(leaf(7 * LARGE + 6, 2, true))), "Done { level: 1 }");
    let pointer = tables.0.pointer(false);
    let pages = [5, 6, LARGE, LARGE + 511].map(|frame| walk(pointer, frame, false).unwrap().address / FRAME);
    assert_eq!(pages, [9, 7 * LARGE + 6, 7 * LARGE, 7 * LARGE + 511]);
}

#[test]
fn what_is_allowed_is_spurious_and_the_page_is_not_asked_for() {
    let tables = tables(20);
    fault(&tables, 5, READ, Ok(leaf(9, 1, false)));
    let asked = Cell::new(false);
    let reading = tables.1.grace.read(ME);
    let ask = || {
        asked.set(true);
        Ok(leaf(9, 1, true))
    };
    let mapped = map(&tables.0, tables.0.root(&reading), 5, READ, ask);
    assert!(matches!(mapped, Mapped::Spurious { level: 1 }) && !asked.get());
}

#[test]
fn the_right_to_write_is_added_to_the_page_that_is_there() {
    let tables = tables(20);
    let pointer = tables.0.pointer(false);
    fault(&tables, 5, READ, Ok(leaf(9, 1, false)));
    assert_eq!(walk(pointer, 5, true), None);
    // What another slot has left: to be tried again until it is gone.
    assert_eq!(fault(&tables, 5, WRITE, Ok(leaf(8, 1, true))), "Again");
    assert_eq!(walk(pointer, 5, true), None);
    assert_eq!(fault(&tables, 5, WRITE, Ok(leaf(9, 1, true))), "Done { level: 1 }");
    assert!(walk(pointer, 5, true).is_some());
}

#[test]
fn a_large_page_that_is_to_be_writable_in_part_is_to_be_split() {
    let tables = tables(20);
    fault(&tables, 5, READ, Ok(leaf(LARGE + 5, 2, false)));
    assert_eq!(fault(&tables, 5, WRITE, Ok(leaf(LARGE + 5, 1, true))), "Split");
    assert_eq!(fault(&tables, 5, WRITE, Ok(leaf(LARGE + 5, 2, true))), "Done { level: 2 }");
}

#[test]
fn without_memory_nothing_changes() {
    let tables = tables(3);
    assert_eq!(fault(&tables, 5, READ, Err(NotNow::OutOfFrames)), "OutOfFrames");
    assert_eq!(fault(&tables, 5, READ, Err(NotNow::Busy)), "Again");
    assert_eq!(tables.0.memory().taken(), 1, "a page that does not come takes no tables");
    assert_eq!(fault(&tables, 5, READ, Ok(leaf(9, 1, true))), "OutOfFrames");
    assert_eq!(tables.0.memory().taken(), 3);
    assert_eq!(walk(tables.0.pointer(false), 5, false), None);
}
