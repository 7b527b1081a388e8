// SPDX-License-Identifier: MIT OR Apache-2.0
//! The entry protocol under loom: in no interleaving is anything used that was taken away, and no write is forgotten.
//!
//! Tables, faults and changes are the real ones, with two entries a table and three levels. Guests are the model's: a CPU that is
//! in one walks the tables as the processor does and keeps what it found; a flush waits until each has left.

mod dirty;
mod removal;
mod sizes;
mod unlinking;

use super::*;
use crate::cpu::number::MAX_CPUS;
use crate::memory::Commitment;
use crate::mmu::Coherence;
use crate::mmu::entry::Access;
use crate::mmu::entry::Rights;
use crate::mmu::explore::Preemptions;
use crate::mmu::explore::Yields;
use crate::mmu::flush::Provider;
use crate::mmu::lock::Mutex;
use crate::mmu::paging::Leaf;
use crate::mmu::paging::Mapped;
use crate::mmu::walker::Translation;
use crate::mmu::walker::walk;
use ::loom::thread;
use std::sync::Arc;

/// Two short threads can be explored whole.
const ALL: Preemptions = None;
/// For three threads.
const FEW: Preemptions = Some(2);
/// For what takes one more.
const MORE: Preemptions = Some(3);

/// The page numbers that guest frames are mapped to.
const OLD: u64 = 0x12;
const NEW: u64 = 0x14;

/// CPUs that are in a guest, or not.
struct Guests([Mutex<()>; 2]);

impl Flush for Guests {
    fn flush(&self, _: CpuNumber, _: Pages) {
        for guest in &self.0 {
            drop(guest.lock());
        }
    }
}

type Gone = Box<dyn Fn(Translation) -> bool + Send>;

struct World {
    tables: Tables,
    coherence: Arc<Coherence>,
    guests: Guests,
    /// Translations that no CPU may use any more.
    gone: std::sync::Mutex<Vec<Gone>>,
    /// Guest frames that a removal took note of.
    written: std::sync::Mutex<Vec<u64>>,
}

fn cpu(number: usize) -> CpuNumber {
    CpuNumber::new(number).expect("there are so many")
}

impl World {
    /// With those guest frames mapped, each to a page at that level, writable or not.
    fn new(mapped: &[(u64, u64, u32, bool)]) -> Arc<Self> {
        let coherence = Coherence::new(Provider::Native, Box::new(Yields(MAX_CPUS)));
        let tables = Tables::new(Commitment::new(20).unwrap(), Arc::clone(&coherence)).unwrap();
        let guests = Guests([Mutex::new(()), Mutex::new(())]);
        let world = Self { tables, coherence, guests, gone: Default::default(), written: Default::default() };
        for &(frame, page, level, write) in mapped {
            assert!(world.map(cpu(0), frame, page, level, write));
        }
        Arc::new(world)
    }

    /// A fault of CPU `me`, as often as it takes twice. Whether the frame was absent, and is now mapped to that page.
    fn map(&self, me: CpuNumber, frame: u64, page: u64, level: u32, write: bool) -> bool {
        let leaf = Leaf { address: page * FRAME, level, rights: Rights { write, dirty: false } };
        let access = Access { read: true, write, execute: false };
        for _ in 0..2 {
            let reading = self.coherence.grace.read(me);
            let root = self.tables.root(&reading);
            match paging::map(&self.tables, root, frame, access, || Ok(leaf)) {
                Mapped::Done { .. } => return true,
                Mapped::Spurious { .. } => return false,
                Mapped::Split(seen) => {
                    let mut taken_out = TakenOut::default();
                    let mut changes = Changes::new(&self.tables, &reading, me, &mut taken_out);
                    changes.split(seen).unwrap();
                    let _ = changes.flush(&self.guests).release(None);
                    self.gone(move |found| found.level == 2);
                }
                Mapped::Again => {}
                Mapped::OutOfFrames => panic!("20 tables are enough"),
            }
            drop(reading);
            thread::yield_now();
        }
        false
    }

    /// Changes of CPU `me` and all that follows them.
    fn make(&self, me: CpuNumber, act: impl FnOnce(&mut Changes<'_, '_>)) {
        let mut taken_out = TakenOut::default();
        let mut mark = |frames: Range<u64>| self.written.lock().unwrap().extend(frames);
        let reading = self.coherence.grace.read(me);
        let mut changes = Changes::new(&self.tables, &reading, me, &mut taken_out);
        act(&mut changes);
        let retired = changes.flush(&self.guests).release(Some(&mut mark));
        drop(reading);
        retired.free(&self.tables);
    }

    fn remove(&self, me: CpuNumber, frames: Range<u64>) {
        self.make(me, |changes| assert!(changes.remove(frames).is_empty()));
    }

    /// Such translations are taken away, and nobody may use one any more.
    fn gone(&self, which: impl Fn(Translation) -> bool + Send + 'static) {
        self.gone.lock().unwrap().push(Box::new(which));
    }

    /// A CPU uses what it has cached.
    fn uses(&self, cached: Translation) {
        let stale = self.gone.lock().unwrap().iter().any(|gone| gone(cached));
        assert!(!stale, "stale use of {cached:?}");
    }

    /// CPU number `guest` walks twice while it is in its guest, and uses what it found first.
    fn walk_twice(&self, guest: usize, frame: u64) {
        let stay = self.guests.0[guest].lock();
        let pointer = self.tables.pointer(true);
        let first = walk(pointer, frame, false);
        let second = walk(pointer, frame, false);
        if let Some(first) = first {
            let same = second.is_none_or(|second| second.address == first.address);
            assert!(same, "stale use: {frame} was {first:?} and is {second:?}, and nobody flushed");
            self.uses(first);
        }
        drop(stay);
    }

    /// When all is over: no marker is left that a fault could meet, and no table that nobody reaches.
    fn check(&self) {
        let reading = self.coherence.grace.read(cpu(0));
        let tables = 1 + tables_below(self.tables.root(&reading));
        assert_eq!(self.tables.memory().taken(), tables, "a table was lost");
    }

    fn was_written(&self, frame: u64) -> bool {
        self.written.lock().unwrap().contains(&frame)
    }
}

fn tables_below(table: Table<'_>) -> u64 {
    let below = |place: Place<'_>| match place.see().found() {
        Found::Table(below) => 1 + tables_below(below),
        Found::Removed => panic!("a marker was forgotten"),
        Found::Nothing | Found::Page => 0,
    };
    table.all_places().map(below).sum()
}
