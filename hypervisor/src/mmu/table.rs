// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tables of a guest's second level, and the only ways to read and change what is in them.
//!
//! Other CPUs change entries at any time, and the processor sets bits in them. So an entry is first *seen*, and a change is made
//! only if it is still what was seen. A table is reached only through what leads to it, within a read section; it is freed
//! only by who took it out, after a grace period.

// UNSAFETY: follows the tables by the addresses in their entries.
#![expect(unsafe_code)]

use super::entry::Entry;
use super::entry::Kind;
use super::entry::WRITE_BACK;
use super::words::INDEX_BITS;
use super::words::WORDS;
use super::words::WordPage;
use crate::cpu::CpuNumber;
use crate::memory::Commitment;
use crate::memory::OutOfFrames;
use crate::mmu::Coherence;
use crate::mmu::atomic::AtomicU64;
use crate::mmu::atomic::Ordering;
use crate::mmu::grace::Reading;
use crate::mmu::paging::NotNow;
use crate::mmu::rule::Rule;
use alloc::sync::Arc;
use core::ops::Range;
use core::sync::atomic::AtomicU64 as AtomicCount;

/// Levels of tables; the root's is the highest, 1 is the one whose entries map 4 KiB. Model checking makes do with few.
pub const LEVELS: u32 = if cfg!(feature = "loom") { 3 } else { 4 };

/// How many guest frames there can be.
pub const GUEST_FRAMES: u64 = frames_of(LEVELS + 1);

/// Guest frames that an entry of a table of `level` stands for.
#[must_use]
pub const fn frames_of(level: u32) -> u64 {
    1 << (INDEX_BITS * (level - 1))
}

/// The tables of one guest.
#[derive(Debug)]
pub struct Tables {
    /// Address of the page of the root. It is never given back before the tables are dropped.
    root: u64,
    memory: Commitment,
    /// How often a table was about to be taken out, and how often that was over: with the table given back, or as it was.
    removals: AtomicCount,
    removals_over: AtomicCount,
    coherence: Arc<Coherence>,
}

impl Tables {
    /// A root that leads nowhere. `memory` is what it and all further tables come out of.
    pub fn new(memory: Commitment, coherence: Arc<Coherence>) -> Result<Self, OutOfFrames> {
        let root = WordPage::take(&memory)?.into_address();
        let removals = AtomicCount::new(0);
        Ok(Self { root, memory, removals, removals_over: AtomicCount::new(0), coherence })
    }

    /// Value for the VMCS's EPT pointer: write-back tables, accessed and dirty bits where the CPU has them (SDM vol. 3, "Format
    /// of Extended-Page-Table Pointer").
    #[must_use]
    pub fn pointer(&self, accessed_dirty: bool) -> u64 {
        self.root | u64::from(WRITE_BACK) | u64::from(LEVELS - 1) << 3 | u64::from(accessed_dirty) << 6
    }

    /// What tables come out of.
    #[must_use]
    pub fn memory(&self) -> &Commitment {
        &self.memory
    }

    /// The root table, and through it all others, for as long as the section lasts.
    ///
    /// # Panics
    /// If the section is of another machine's grace periods: a fault of our own.
    #[inline]
    pub fn root<'r>(&'r self, reading: &'r Reading<'_>) -> Table<'r> {
        assert!(reading.is_of(&self.coherence.grace), "a section protects what its own grace periods free");
        // SAFETY: the root stays for as long as the tables.
        Table { words: unsafe { WordPage::at(self.root) }, level: LEVELS, first: 0 }
    }

    /// A table for [`Seen::link`].
    pub fn new_table(&self) -> Result<NewTable, NotNow> {
        let over = self.removals_over.load(Ordering::SeqCst);
        WordPage::take(&self.memory).map(NewTable).map_err(|OutOfFrames { .. }| {
            // What was taken out meanwhile comes back after a grace period.
            let none_missing = self.removals.load(Ordering::SeqCst) == over;
            if none_missing { NotNow::OutOfFrames } else { NotNow::Busy }
        })
    }

    /// Takes out the table that was seen: `marker` is in its place.
    ///
    /// # Panics
    /// If that was no table, or is no marker: faults of our own.
    pub fn unlink(&self, seen: Seen<'_>, marker: Entry) -> Result<Unlinked, Changed> {
        let Seen { place, entry } = seen;
        assert!(entry.kind(place.level) == Kind::Table && marker.kind(place.level) == Kind::Removed);
        self.removals.fetch_add(1, Ordering::SeqCst);
        seen.exchange(marker).inspect_err(|Changed| _ = self.removals_over.fetch_add(1, Ordering::SeqCst))?;
        Ok(Unlinked { address: entry.address(), level: place.level - 1, first: place.first })
    }

    /// Takes back a table that was not needed.
    pub fn give_back(&self, table: NewTable) {
        table.0.give_back(&self.memory);
    }

    /// Frees tables that were taken out, and all that they lead to, after a grace period. No CPU walks them any more: they
    /// were flushed.
    ///
    /// # Panics
    /// If `me` reads: it would wait for itself.
    pub fn free(&self, me: CpuNumber, tables: impl IntoIterator<Item = Unlinked>) {
        let mut tables = tables.into_iter().peekable();
        if tables.peek().is_some() && Rule::TablesOutliveTheirReaders.kept() {
            self.coherence.synchronize(me);
        }
        for table in tables {
            // SAFETY: taken out by the one who passes it, once; and whoever may have read the way to it is out of the section.
            unsafe { self.free_from(table.address, table.level) };
            self.removals_over.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// # Safety
    /// Nobody can reach the table at `address`, and nobody else frees it.
    unsafe fn free_from(&self, address: u64, level: u32) {
        // SAFETY: as the caller promised.
        let page = unsafe { WordPage::from_address(address) };
        if level > 1 {
            for word in page.words() {
                let entry = Entry::from_bits(word.load(Ordering::Acquire));
                if entry.kind(level) == Kind::Table {
                    // SAFETY: reached through this table alone; taken out of it, its place would have a marker.
                    unsafe { self.free_from(entry.address(), level - 1) };
                }
            }
        }
        page.give_back(&self.memory);
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        // SAFETY: no section can begin any more, and none lasts: both borrow the tables.
        unsafe { self.free_from(self.root, LEVELS) };
    }
}

/// A table that some entry leads to, or led to when it was looked up.
#[derive(Clone, Copy, Debug)]
pub struct Table<'r> {
    words: &'r [AtomicU64; WORDS],
    level: u32,
    /// The first guest frame that it translates.
    first: u64,
}

impl<'r> Table<'r> {
    /// The place that decides about a guest frame.
    #[inline]
    pub fn place(self, frame: u64) -> Place<'r> {
        self.at((frame >> (INDEX_BITS * (self.level - 1))) as usize % WORDS)
    }

    /// The places that decide about those guest frames of a range that it translates, in order.
    pub fn places(self, frames: &Range<u64>) -> impl Iterator<Item = Place<'r>> + use<'r> {
        let shift = INDEX_BITS * (self.level - 1);
        let end = frames.end.min(self.first + ((WORDS as u64) << shift)).saturating_sub(self.first);
        let start = frames.start.saturating_sub(self.first);
        let indexes = if start < end { start >> shift..((end - 1) >> shift) + 1 } else { 0..0 };
        indexes.map(move |index| self.at(index as usize))
    }

    /// All its places.
    pub fn all_places(self) -> impl Iterator<Item = Place<'r>> + use<'r> {
        (0..WORDS).map(move |index| self.at(index))
    }

    #[inline]
    fn at(self, index: usize) -> Place<'r> {
        let first = self.first + index as u64 * frames_of(self.level);
        Place { word: &self.words[index], level: self.level, first }
    }
}

/// The place of one entry.
#[derive(Clone, Copy, Debug)]
pub struct Place<'r> {
    word: &'r AtomicU64,
    level: u32,
    /// The first guest frame that it decides about.
    first: u64,
}

impl<'r> Place<'r> {
    /// The guest frames that it decides about.
    #[must_use]
    pub fn frames(self) -> Range<u64> {
        self.first..self.first + frames_of(self.level)
    }

    /// The level of its table.
    #[must_use]
    pub fn level(self) -> u32 {
        self.level
    }

    /// What is there now.
    #[inline]
    pub fn see(self) -> Seen<'r> {
        Seen { place: self, entry: Entry::from_bits(self.word.load(Ordering::Acquire)) }
    }
}

/// What was seen at a place. All changes are made to that, or not at all.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'r> {
    /// Where.
    pub place: Place<'r>,
    entry: Entry,
}

/// What an entry leads to.
#[derive(Clone, Copy, Debug)]
pub enum Found<'r> {
    /// Nothing.
    Nothing,
    /// Nothing any more, though CPUs may still use what it led to.
    Removed,
    /// A table.
    Table(Table<'r>),
    /// A page.
    Page,
}

/// Somebody else changed the entry first. Look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed;

impl<'r> Seen<'r> {
    /// The entry.
    #[must_use]
    #[inline]
    pub fn entry(self) -> Entry {
        self.entry
    }

    /// What is there.
    #[must_use]
    #[inline]
    pub fn found(self) -> Found<'r> {
        match self.entry.kind(self.place.level) {
            Kind::Absent => Found::Nothing,
            Kind::Removed => Found::Removed,
            Kind::Page => Found::Page,
            Kind::Table => {
                // SAFETY: only `link` writes such an entry. What it leads to is freed after a grace period that began when it
                // led there no more, and `'r` is a section in which it still did.
                let words = unsafe { WordPage::at(self.entry.address()) };
                Found::Table(Table { words, level: self.place.level - 1, first: self.place.first })
            }
        }
    }

    /// Puts in its place what leads to no other table than before.
    ///
    /// # Panics
    /// If that breaks the rules of [`Entry::may_become`]: a fault of our own.
    pub fn replace(self, new: Entry) -> Result<(), Changed> {
        let level = self.place.level;
        assert!(new.kind(level) != Kind::Table || new.address() == self.entry.address(), "tables are linked");
        self.exchange(new)
    }

    /// Lets it lead to `table`; or gives that back, where somebody else was faster.
    pub fn link(self, table: NewTable) -> Result<(), NewTable> {
        assert!(self.place.level > 1, "the lowest tables map pages");
        match self.exchange(Entry::table(table.0.address())) {
            Ok(()) => {
                let _ = table.0.into_address();
                Ok(())
            }
            Err(Changed) => Err(table),
        }
    }

    /// The one instruction by which entries change.
    #[inline]
    fn exchange(self, new: Entry) -> Result<(), Changed> {
        let (old, level) = (self.entry, self.place.level);
        let allowed = old.may_become(new, level) || !Rule::MarkersAreLeftAlone.kept();
        assert!(allowed, "an entry at level {level} became {new:?} from {old:?} in one step");
        let (old, new) = (old.into_bits(), new.into_bits());
        if !Rule::EntriesAreExchanged.kept() {
            self.place.word.store(new, Ordering::Release);
            return Ok(());
        }
        // Acquire and release: who sees the entry sees what it leads to, and who changes it saw what others did before.
        self.place
            .word
            .compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed)
            .map_or(Err(Changed), |_| Ok(()))
    }
}

/// A table that nothing leads to yet.
#[derive(Debug)]
pub struct NewTable(WordPage);

impl NewTable {
    /// Writes its entries, in order; none of them leads to a table.
    pub fn fill(&mut self, level: u32, entries: impl Iterator<Item = Entry>) {
        for (word, entry) in self.0.words().iter().zip(entries) {
            assert!(entry.kind(level) != Kind::Table, "tables are linked");
            word.store(entry.into_bits(), Ordering::Relaxed);
        }
    }
}

/// A table that was taken out. Only its owner frees it: with [`Tables::free`], or not at all.
#[must_use = "its memory is lost"]
#[derive(Debug)]
pub struct Unlinked {
    address: u64,
    level: u32,
    first: u64,
}

impl Unlinked {
    /// The table, with those that it leads to.
    pub fn table<'r>(&'r self, _reading: &'r Reading<'_>) -> Table<'r> {
        // SAFETY: it is freed by who has the value, not the borrow; and tables that are taken out of it, after the section.
        Table { words: unsafe { WordPage::at(self.address) }, level: self.level, first: self.first }
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;
