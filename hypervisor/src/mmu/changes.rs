// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes that take something away, in the only order in which they are right: change, flush, release, free.
//!
//! [`Changes`] removes pages and tables behind *removed* markers, protects, splits. [`Changes::flush`] makes [`Flushed`] of it,
//! [`Flushed::release`] takes the markers away and makes [`Retired`] of it, and [`Retired::free`] frees the tables. All but the
//! last is one read section, so no table can vanish that still has a marker of ours. Nobody waits for anybody's marker:
//! who finds another's has only to flush, too.

use super::entry::Entry;
use super::paging;
use super::paging::NotNow;
use super::table::Changed;
use super::table::Found;
use super::table::Place;
use super::table::Seen;
use super::table::Table;
use super::table::Tables;
use super::table::Unlinked;
use crate::cpu::CpuNumber;
use crate::memory::FRAME;
use crate::mmu::GuestPhysical;
use crate::mmu::flush::Pages;
use crate::mmu::flush::Roots;
use crate::mmu::grace::Reading;
use crate::mmu::rule::Rule;
use arrayvec::ArrayVec;
use core::mem;
use core::ops::Range;

/// How many tables are taken out before the next flush.
const ROOM: usize = 32;

/// Room for tables that are taken out, in a place of its own: it is too large to be moved about.
#[derive(Debug, Default)]
pub struct TakenOut(ArrayVec<Unlinked, ROOM>);

/// What makes every CPU forget translations.
pub trait Flush {
    /// After entries that translate `pages` were changed by CPU `me`: comes back when no CPU can use what they were before.
    fn flush(&self, me: CpuNumber, pages: Pages);
}

impl Flush for Roots {
    fn flush(&self, me: CpuNumber, pages: Pages) {
        Self::flush(self, me, pages);
    }
}

/// A run of guest frames that grows to hold all that is put into it.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u64,
    end: u64,
}

impl Span {
    const NONE: Self = Self { start: u64::MAX, end: 0 };

    fn add(&mut self, frames: Range<u64>) {
        self.start = self.start.min(frames.start);
        self.end = self.end.max(frames.end);
    }

    fn frames(self) -> Range<u64> {
        self.start..self.end
    }

    fn pages(self) -> Pages {
        Pages::Run { start: GuestPhysical(self.start * FRAME), count: self.end - self.start }
    }
}

/// What changed entries translate. It does not go away before it was flushed.
#[derive(Debug)]
struct Unflushed(Span);

impl Drop for Unflushed {
    fn drop(&mut self) {
        #[cfg(test)]
        if std::thread::panicking() {
            return;
        }
        assert!(self.0.frames().is_empty(), "entries were changed, and nobody flushed");
    }
}

/// Entries that were changed, and not flushed yet.
#[must_use = "CPUs still use what the entries were before"]
#[derive(Debug)]
pub struct Changes<'r, 'o> {
    tables: &'r Tables,
    reading: &'r Reading<'r>,
    root: Table<'r>,
    me: CpuNumber,
    changed: Unflushed,
    /// Within it lie all markers that are to be taken away.
    marked: Span,
    taken_out: &'o mut TakenOut,
}

impl<'r, 'o> Changes<'r, 'o> {
    /// None yet; to be made by CPU `me`, which makes no others meanwhile. There is room in `taken_out`.
    pub fn new(
        tables: &'r Tables,
        reading: &'r Reading<'r>,
        me: CpuNumber,
        taken_out: &'o mut TakenOut,
    ) -> Self {
        let root = tables.root(reading);
        Self { tables, reading, root, me, changed: Unflushed(Span::NONE), marked: Span::NONE, taken_out }
    }

    /// Takes out what maps `frames`, and tables that translate nothing else. A large page goes as a whole. What comes back is
    /// the rest, for which there was no room before a flush.
    pub fn remove(&mut self, frames: Range<u64>) -> Range<u64> {
        let unlinks = |place: Place<'r>| lies_in(&place.frames(), &frames);
        let rest = self.remove_in(self.root, &frames, &unlinks, true);
        rest.unwrap_or(frames.end)..frames.end
    }

    /// Takes out the lowest tables that lie in `frames` and whose place one page could take: those for whose first frame it `fits`.
    /// What comes back is the rest, as for [`Changes::remove`].
    pub fn collapse(&mut self, frames: Range<u64>, fits: impl Fn(u64) -> bool) -> Range<u64> {
        let unlinks = |place: Place<'r>| {
            place.level() == 2 && lies_in(&place.frames(), &frames) && fits(place.frames().start)
        };
        let rest = self.remove_in(self.root, &frames, &unlinks, false);
        rest.unwrap_or(frames.end)..frames.end
    }

    /// Whether anything is to be flushed.
    #[must_use]
    pub fn are_any(&self) -> bool {
        !self.changed.0.frames().is_empty()
    }

    /// Gives where it had to stop.
    fn remove_in(
        &mut self,
        table: Table<'r>,
        frames: &Range<u64>,
        unlinks: &impl Fn(Place<'r>) -> bool,
        pages: bool,
    ) -> Option<u64> {
        for place in table.places(frames) {
            if self.taken_out.0.is_full() {
                return Some(place.frames().start.max(frames.start));
            }
            let stopped = until_unchanged(place, |seen| match seen.found() {
                Found::Table(below) if unlinks(place) => self.unlink(seen, below).map(|()| None),
                Found::Table(below) => Ok(self.remove_in(below, frames, unlinks, pages)),
                Found::Page if pages => self.mark(seen).map(|()| None),
                Found::Removed if pages => {
                    // By another CPU, which may not have flushed yet.
                    self.changed.0.add(place.frames());
                    Ok(None)
                }
                Found::Page | Found::Removed | Found::Nothing => Ok(None),
            });
            if stopped.is_some() {
                return stopped;
            }
        }
        None
    }

    fn mark(&mut self, seen: Seen<'r>) -> Result<(), Changed> {
        seen.replace(Entry::removed_marker(self.me, seen.entry().is_dirty()))?;
        self.changed.0.add(seen.place.frames());
        self.marked.add(seen.place.frames());
        Ok(())
    }

    fn unlink(&mut self, seen: Seen<'r>, table: Table<'r>) -> Result<(), Changed> {
        let unlinked = self.tables.unlink(seen, Entry::removed_marker(self.me, false))?;
        self.changed.0.add(seen.place.frames());
        self.marked.add(seen.place.frames());
        self.taken_out.0.push(unlinked);
        self.seal(table);
        Ok(())
    }

    /// Puts markers for ever into a table that was taken out, since CPUs may still be at work in it: after this nobody can put
    /// anything there. Ways to further tables stay, so that these are found when it is freed.
    fn seal(&self, table: Table<'r>) {
        for place in table.all_places() {
            until_unchanged(place, |seen| match seen.found() {
                Found::Table(below) => {
                    // Written, though it stays the same: who takes that table out later sees that this one is out.
                    if Rule::SealsAreSeen.kept() {
                        seen.replace(seen.entry())?;
                    }
                    self.seal(below);
                    Ok(())
                }
                // Also over another's marker: it will not find it here any more.
                Found::Page | Found::Removed | Found::Nothing => {
                    seen.replace(Entry::removed_marker(self.me, seen.entry().is_dirty()))
                }
            });
        }
    }

    /// Takes away the right to write to `frames`. `protected` is told of each page that had it, and whether it was written to.
    pub fn protect(&mut self, frames: Range<u64>, protected: &mut dyn FnMut(Range<u64>, bool)) {
        self.protect_in(self.root, &frames, protected);
    }

    fn protect_in(
        &mut self,
        table: Table<'r>,
        frames: &Range<u64>,
        protected: &mut dyn FnMut(Range<u64>, bool),
    ) {
        for place in table.places(frames) {
            until_unchanged(place, |seen| {
                match seen.found() {
                    Found::Table(below) => self.protect_in(below, frames, protected),
                    Found::Page if seen.entry().write() => {
                        seen.replace(seen.entry().with_write(false).with_dirty(false))?;
                        self.changed.0.add(place.frames());
                        protected(place.frames(), seen.entry().is_dirty());
                    }
                    Found::Removed => self.changed.0.add(place.frames()),
                    Found::Page | Found::Nothing => {}
                }
                Ok(())
            });
        }
    }

    /// Whether the page behind `frame` was accessed since this was asked last.
    pub fn take_accessed(&mut self, frame: u64) -> bool {
        let mut table = self.root;
        loop {
            let place = table.place(frame);
            let below = until_unchanged(place, |seen| match seen.found() {
                Found::Table(below) => Ok(Err(below)),
                Found::Page if seen.entry().accessed() => {
                    seen.replace(seen.entry().with_accessed(false))?;
                    self.changed.0.add(place.frames());
                    Ok(Ok(true))
                }
                Found::Page | Found::Removed | Found::Nothing => Ok(Ok(false)),
            });
            match below {
                Err(below) => table = below,
                Ok(accessed) => return accessed,
            }
        }
    }

    /// Splits a large page, if it is still what was seen.
    pub fn split(&mut self, seen: Seen<'_>) -> Result<(), NotNow> {
        if paging::split(self.tables, seen)? {
            self.changed.0.add(seen.place.frames());
        }
        Ok(())
    }

    /// Makes all CPUs forget what the entries were before.
    pub fn flush(mut self, flush: &impl Flush) -> Flushed<'r, 'o> {
        if !Rule::ReleaseAfterFlush.kept() {
            release(self.root, &self.marked.frames(), self.me, &mut None);
        }
        let changed = mem::replace(&mut self.changed.0, Span::NONE);
        if !changed.frames().is_empty() && Rule::Flush.kept() {
            flush.flush(self.me, changed.pages());
        }
        Flushed(self)
    }
}

/// Is told of guest frames that were written to.
pub type MarkDirty<'a> = Option<&'a mut dyn FnMut(Range<u64>)>;

/// No CPU uses what the entries were before; the markers are still there.
#[must_use = "what was removed stays locked"]
#[derive(Debug)]
pub struct Flushed<'r, 'o>(Changes<'r, 'o>);

impl<'o> Flushed<'_, 'o> {
    /// Takes the markers away. `dirty` is told what was written to, before: until the flush, CPUs could still write there.
    pub fn release(self, mut dirty: MarkDirty<'_>) -> Retired<'o> {
        let Changes { reading, root, me, marked, taken_out, .. } = self.0;
        for unlinked in &taken_out.0 {
            if dirty.is_some() {
                tell_dirty(unlinked.table(reading), &mut dirty);
            }
        }
        release(root, &marked.frames(), me, &mut dirty);
        Retired { me, taken_out }
    }
}

/// Takes away the markers of CPU `me`, which are found by its number. Those that are not found were in a table that another CPU
/// has taken out: it does the rest.
fn release(table: Table<'_>, marked: &Range<u64>, me: CpuNumber, dirty: &mut MarkDirty<'_>) {
    for place in table.places(marked) {
        let seen = place.see();
        match seen.found() {
            Found::Table(below) => release(below, marked, me, dirty),
            Found::Removed if seen.entry().is_removed_by(me) || !Rule::OwnMarkersAreReleased.kept() => {
                tell(seen, dirty);
                // It fails if just now the table was taken out: then the marker stays for ever.
                let _ = seen.replace(Entry::ABSENT);
            }
            Found::Removed | Found::Page | Found::Nothing => {}
        }
    }
}

/// Tells of what was written to in a table that was taken out.
fn tell_dirty(table: Table<'_>, dirty: &mut MarkDirty<'_>) {
    for place in table.all_places() {
        let seen = place.see();
        match seen.found() {
            Found::Table(below) => tell_dirty(below, dirty),
            Found::Removed | Found::Page | Found::Nothing => tell(seen, dirty),
        }
    }
}

fn tell(seen: Seen<'_>, dirty: &mut MarkDirty<'_>) {
    if seen.entry().is_dirty()
        && let Some(dirty) = dirty
    {
        dirty(seen.place.frames());
    }
}

/// Tables that nobody walks any more but who began to before they were taken out.
#[must_use = "tables are to be freed"]
#[derive(Debug)]
pub struct Retired<'o> {
    me: CpuNumber,
    taken_out: &'o mut TakenOut,
}

impl Retired<'_> {
    /// Frees them after a grace period; to be called outside of any section.
    pub fn free(self, tables: &Tables) {
        tables.free(self.me, self.taken_out.0.drain(..));
    }
}

fn lies_in(inner: &Range<u64>, outer: &Range<u64>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// Looks at a place until what `act` wanted to change was still what it had seen.
fn until_unchanged<'r, R>(place: Place<'r>, mut act: impl FnMut(Seen<'r>) -> Result<R, Changed>) -> R {
    loop {
        if let Ok(done) = act(place.see()) {
            return done;
        }
    }
}

#[cfg(test)]
#[cfg(feature = "loom")]
mod loom;
#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;
