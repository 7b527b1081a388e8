// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes and what follows them, one after the other; loom has the histories with several CPUs.

use super::*;
use crate::memory::Commitment;
use crate::mmu::Coherence;
use crate::mmu::entry::Access;
use crate::mmu::entry::Rights;
use crate::mmu::model;
use crate::mmu::paging::Leaf;
use crate::mmu::paging::Mapped;
use crate::mmu::table::frames_of;
use crate::mmu::walker::walk;
use std::cell::RefCell;
use std::sync::Arc;
use std::vec::Vec;

const ME: CpuNumber = CpuNumber::BOOT;
const LARGE: u64 = frames_of(2);
const HUGE: u64 = frames_of(3);

/// A flush that takes note of what it was asked for, and looks around meanwhile.
struct Recorder<F>(RefCell<Vec<Pages>>, F);

impl<F: Fn()> Flush for Recorder<F> {
    fn flush(&self, me: CpuNumber, pages: Pages) {
        assert_eq!(me, ME);
        self.0.borrow_mut().push(pages);
        self.1();
    }
}

fn recorder() -> Recorder<impl Fn()> {
    Recorder(RefCell::default(), || {})
}

struct World {
    tables: Tables,
    coherence: Arc<Coherence>,
}

fn other() -> CpuNumber {
    CpuNumber::new(1).unwrap()
}

impl World {
    fn new() -> Self {
        let coherence = model::coherence();
        let tables = Tables::new(Commitment::new(200).unwrap(), Arc::clone(&coherence)).unwrap();
        Self { tables, coherence }
    }

    /// The page number `page` is mapped at a guest frame.
    fn map_as(&self, me: CpuNumber, frame: u64, page: u64, level: u32, write: bool) -> bool {
        let reading = self.coherence.grace.read(me);
        let leaf = Leaf { address: page * FRAME, level, rights: Rights { write, dirty: false } };
        let access = Access { read: true, write, execute: false };
        let root = self.tables.root(&reading);
        let mapped = paging::map(&self.tables, root, frame, access, || Ok(leaf));
        matches!(mapped, Mapped::Done { level: at } if at == level)
    }

    #[track_caller]
    fn map(&self, frame: u64, page: u64, level: u32) {
        assert!(self.map_as(ME, frame, page, level, true));
    }

    fn page(&self, frame: u64) -> Option<u64> {
        walk(self.tables.pointer(true), frame, false).map(|found| found.address / FRAME)
    }

    /// Makes changes, flushed by `flush`; gives what was told to be dirty.
    fn make<F: Fn()>(&self, flush: &Recorder<F>, act: impl FnOnce(&mut Changes<'_, '_>)) -> Vec<Range<u64>> {
        let mut taken_out = TakenOut::default();
        let mut dirty = Vec::new();
        let reading = self.coherence.grace.read(ME);
        let mut changes = Changes::new(&self.tables, &reading, ME, &mut taken_out);
        act(&mut changes);
        let mut mark = |frames| dirty.push(frames);
        let retired = changes.flush(flush).release(Some(&mut mark));
        drop(reading);
        retired.free(&self.tables);
        dirty
    }

    /// The flushes that a removal takes.
    fn remove(&self, frames: Range<u64>) -> Vec<Pages> {
        let flush = recorder();
        self.make(&flush, |changes| assert!(changes.remove(frames).is_empty()));
        flush.0.into_inner()
    }
}

fn run(first: u64, count: u64) -> Vec<Pages> {
    [Pages::Run { start: GuestPhysical(first * FRAME), count }].into()
}

/// Checklist A2: a range flush begins at the entry's base, rounded to its level, and takes 512^(level-1) pages.
#[test]
fn a2_a_range_flush_has_the_rounded_base_and_all_pages_of_the_level() {
    let world = World::new();
    world.map(5, 7, 1);
    assert_eq!(world.remove(5..6), run(5, 1));
    world.map(3 * LARGE + 5, LARGE + 5, 2);
    assert_eq!(world.remove(3 * LARGE + 17..3 * LARGE + 18), run(3 * LARGE, 512));
    world.map(2 * HUGE + 12345, HUGE + 12345, 3);
    assert_eq!(world.remove(2 * HUGE + 1..2 * HUGE + 2), run(2 * HUGE, 512 * 512));
    // A table is flushed with all that it could translate: what is below it may be cached at any place.
    world.map(LARGE + 5, 7, 1);
    assert_eq!(world.remove(LARGE..2 * LARGE), run(LARGE, 512));
    world.map(HUGE + LARGE + 5, 7, 1);
    assert_eq!(world.remove(HUGE..2 * HUGE), run(HUGE, 512 * 512));
}

#[test]
fn where_nothing_was_nothing_is_flushed() {
    let world = World::new();
    assert!(world.remove(0..frames_of(4)).is_empty());
    world.map(5, 7, 1);
    assert!(world.remove(6..100).is_empty());
}

/// Checklist A2: one flush covers each removal, and comes between the removal and the release.
#[test]
fn a2_the_flush_comes_after_the_removal_and_before_the_release() {
    let world = World::new();
    world.map(5, 7, 1);
    world.map(9, 8, 1);
    let flush = Recorder(RefCell::default(), || {
        assert_eq!((world.page(5), world.page(9)), (None, None), "removed before it is flushed");
        assert!(!world.map_as(other(), 5, 1, 1, true), "nobody puts anything there before the release");
    });
    world.make(&flush, |changes| assert!(changes.remove(5..10).is_empty()));
    assert_eq!(flush.0.into_inner(), run(5, 5));
    world.map(5, 1, 1);
}

/// Checklist A2: a fault on a removed entry, at whatever level, is to be tried again, and takes no memory.
#[test]
fn a2_a_fault_on_a_removed_entry_waits_and_takes_no_memory() {
    for (removed, frame) in [(5..6, 5), (0..LARGE, 7), (0..HUGE, LARGE + 3)] {
        let world = World::new();
        world.map(5, 7, 1);
        let flush = Recorder(RefCell::default(), || {
            let taken = world.tables.memory().taken();
            let reading = world.coherence.grace.read(other());
            let asked = || panic!("the page is asked for, and would be brought");
            let root = world.tables.root(&reading);
            let access = Access { read: true, ..Access::default() };
            let mapped = paging::map(&world.tables, root, frame, access, asked);
            assert!(matches!(mapped, Mapped::Again), "{mapped:?}");
            assert_eq!(world.tables.memory().taken(), taken);
        });
        world.make(&flush, |changes| assert!(changes.remove(removed).is_empty()));
        assert_eq!(flush.0.into_inner().len(), 1);
    }
}

/// Checklist A2: who stops half-way flushes first. Room for tables runs out after 32; then there is a flush, then the section
/// ends, then it goes on.
#[test]
fn a2_the_yield_path_flushes_first() {
    let world = World::new();
    for table in 0..40 {
        world.map(table * LARGE + table, 1, 1);
    }
    let mut rest = 0..39 * LARGE;
    let mut rounds = Vec::new();
    while !rest.is_empty() {
        let flush = Recorder(RefCell::default(), || {
            assert!(world.coherence.grace.is_reading(ME), "the section lasts until after the flush");
        });
        let before = rest.start;
        let held = world.tables.memory().taken();
        world.make(&flush, |changes| rest = changes.remove(rest.clone()));
        let left = rest.start;
        assert!((before..left).all(|frame| world.page(frame).is_none()));
        assert!((left..40 * LARGE).step_by(512).all(|first| world.page(first + first / LARGE).is_some()));
        rounds.push((flush.0.into_inner(), held - world.tables.memory().taken()));
    }
    assert_eq!(rounds, [(run(0, 32 * LARGE), 32), (run(32 * LARGE, 7 * LARGE), 7)]);
}

/// Checklist A2, the same: changes that nobody flushed cannot be let go of.
#[test]
#[should_panic(expected = "entries were changed, and nobody flushed")]
fn a2_nothing_is_let_go_of_unflushed() {
    let world = World::new();
    world.map(5, 7, 1);
    let mut taken_out = TakenOut::default();
    let reading = world.coherence.grace.read(ME);
    let mut changes = Changes::new(&world.tables, &reading, ME, &mut taken_out);
    assert!(changes.remove(5..6).is_empty());
    drop(changes);
}

/// Checklist A2: a table is freed after the flush and a grace period, not before.
#[test]
fn a2_a_table_is_freed_only_after_the_flush_and_a_grace_period() {
    let world = World::new();
    world.map(5, 7, 1);
    assert_eq!(world.tables.memory().taken(), 4);
    let flush = Recorder(RefCell::default(), || assert_eq!(world.tables.memory().taken(), 4));
    let mut taken_out = TakenOut::default();
    let reading = world.coherence.grace.read(ME);
    let mut changes = Changes::new(&world.tables, &reading, ME, &mut taken_out);
    assert!(changes.remove(0..LARGE).is_empty());
    let retired = changes.flush(&flush).release(None);
    drop(reading);
    // Another CPU reads: it is waited for.
    std::thread::scope(|scope| {
        let (begun, has_begun) = std::sync::mpsc::channel();
        let (coherence, tables) = (&world.coherence, &world.tables);
        scope.spawn(move || {
            let _reading = coherence.grace.read(other());
            begun.send(()).unwrap();
            for _ in 0..1000 {
                std::thread::yield_now();
                assert_eq!(tables.memory().taken(), 4, "freed while a CPU may walk it");
            }
        });
        has_begun.recv().unwrap();
        retired.free(tables);
    });
    assert_eq!(world.tables.memory().taken(), 3);
}

#[test]
fn tables_below_one_that_is_taken_out_go_with_it() {
    let world = World::new();
    for table in 0..10 {
        world.map(table * LARGE, 1, 1);
    }
    world.map(11 * LARGE, LARGE, 2);
    assert_eq!(world.remove(0..HUGE), run(0, 512 * 512));
    assert_eq!(world.tables.memory().taken(), 2);
    world.map(0, 1, 1);
}

/// Checklist A2: what was written to is told when it is removed, whatever way it goes, and only then.
#[test]
fn a2_a_dirty_bit_is_told_when_its_page_is_removed() {
    let ways = [3..4, 0..LARGE, 0..HUGE];
    for frames in ways {
        for write in [false, true] {
            let world = World::new();
            world.map(3, 7, 1);
            assert!(walk(world.tables.pointer(true), 3, write).is_some());
            let dirty = world.make(&recorder(), |changes| assert!(changes.remove(frames.clone()).is_empty()));
            let told: Vec<u64> = dirty.into_iter().flatten().collect();
            assert_eq!(told, if write { [3].as_slice() } else { &[] });
        }
    }
}

/// Checklist A2: a CPU may set the dirty bit after the entry was looked at and before it is changed: then it is looked at again.
#[test]
fn a2_a_dirty_bit_that_comes_in_between_is_not_overwritten() {
    let world = World::new();
    world.map(3, 7, 1);
    let reading = world.coherence.grace.read(ME);
    let mut table = world.tables.root(&reading);
    let seen = loop {
        let seen = table.place(3).see();
        match seen.found() {
            Found::Table(below) => table = below,
            _ => break seen,
        }
    };
    assert!(walk(world.tables.pointer(true), 3, true).is_some());
    for new in [Entry::removed_marker(ME, false), seen.entry().with_write(false)] {
        assert_eq!(seen.replace(new), Err(Changed));
    }
}

#[test]
fn protecting_tells_what_was_written_to_and_stops_further_writes() {
    let world = World::new();
    let pointer = world.tables.pointer(true);
    for frame in 3..6 {
        world.map(frame, frame, 1);
    }
    assert!(walk(pointer, 4, true).is_some());
    let mut told = Vec::new();
    let flush = recorder();
    world.make(&flush, |changes| changes.protect(0..5, &mut |page, dirty| told.push((page, dirty))));
    assert_eq!(told, [(3..4, false), (4..5, true)]);
    assert_eq!(flush.0.into_inner(), run(3, 2));
    assert_eq!([3, 4, 5].map(|frame| walk(pointer, frame, true).is_some()), [false, false, true]);
    // Once more: there is nothing to do.
    let flush = recorder();
    world.make(&flush, |changes| changes.protect(0..5, &mut |_, _| panic!("it was protected")));
    assert!(flush.0.into_inner().is_empty());
}

#[test]
fn a_split_keeps_memory_rights_and_bits_and_is_flushed() {
    let world = World::new();
    world.map(LARGE + 3, 5 * LARGE + 3, 2);
    let pointer = world.tables.pointer(true);
    assert!(walk(pointer, LARGE, true).is_some());
    let flush = recorder();
    world.make(&flush, |changes| {
        let reading = world.coherence.grace.read(ME);
        let Found::Table(table) = world.tables.root(&reading).place(LARGE).see().found() else { panic!() };
        let Found::Table(table) = table.place(LARGE).see().found() else { panic!() };
        changes.split(table.place(LARGE).see()).unwrap();
    });
    assert_eq!(flush.0.into_inner(), run(LARGE, 512));
    for frame in LARGE..2 * LARGE {
        let found = walk(pointer, frame, false).unwrap();
        assert_eq!((found.address / FRAME, found.level), (frame + 4 * LARGE, 1));
        assert!(found.write && found.dirty);
    }
}

#[test]
fn collapsing_takes_out_only_the_tables_that_fit() {
    let world = World::new();
    for table in 0..4 {
        world.map(table * LARGE, 1, 1);
    }
    world.map(4 * LARGE, LARGE, 2);
    let flush = recorder();
    world.make(&flush, |changes| {
        assert!(changes.collapse(0..3 * LARGE + 1, |first| first != LARGE).is_empty());
    });
    assert_eq!(flush.0.into_inner(), run(0, 3 * LARGE));
    let mapped: Vec<_> = (0..5).map(|table| world.page(table * LARGE).is_some()).collect();
    assert_eq!(mapped, [false, true, false, true, true]);
}

#[test]
fn an_access_is_told_once() {
    let world = World::new();
    world.map(3, 7, 1);
    let accessed = || {
        let mut accessed = None;
        world.make(&recorder(), |changes| accessed = Some(changes.take_accessed(3)));
        accessed.unwrap()
    };
    assert!(accessed(), "it was mapped for an access");
    assert!(!accessed());
    assert!(walk(world.tables.pointer(true), 3, false).is_some());
    assert!(accessed());
    assert!(!accessed());
}
