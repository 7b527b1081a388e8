// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two-dimensional paging: how a fault puts an entry where none is, in parallel with other CPUs and with removals.

use super::entry::Access;
use super::entry::Entry;
use super::entry::Rights;
use super::table::Found;
use super::table::Seen;
use super::table::Table;
use super::table::Tables;
use super::table::frames_of;
use crate::memory::FRAME;
use crate::memory::OutOfFrames;
use crate::mmu::rule::Rule;

/// How often a fault looks again before it lets the guest try once more.
const ATTEMPTS: usize = 16;

/// The page that is to be behind a guest frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Physical address of the frame behind the guest frame.
    pub address: u64,
    /// The highest level at which one entry may map it and its neighbours: they are in one piece, aligned alike.
    pub level: u32,
    /// What the guest may do there.
    pub rights: Rights,
}

impl Leaf {
    /// The entry in a table of `level` that maps `frame`.
    fn entry(self, frame: u64, level: u32) -> Entry {
        let first = self.address - frame % frames_of(level) * FRAME;
        Entry::page(first, level, self.rights)
    }
}

/// Why a page cannot be told at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// Another CPU is about to bring it.
    Busy,
    /// There is no memory for it.
    OutOfFrames,
}

impl From<OutOfFrames> for NotNow {
    fn from(_: OutOfFrames) -> Self {
        Self::OutOfFrames
    }
}

/// What became of a fault.
#[derive(Clone, Copy, Debug)]
pub enum Mapped<'r> {
    /// The entry is there now.
    Done {
        /// At this level.
        level: u32,
    },
    /// It was there and allows the access. The CPU may have used what it had cached.
    Spurious {
        /// At this level.
        level: u32,
    },
    /// Somebody else is at work there: to be tried again outside of the section.
    Again,
    /// A large page is in the way of a small one with other rights: to be split.
    Split(Seen<'r>),
    /// There is no memory for a table or the page.
    OutOfFrames,
}

impl From<NotNow> for Mapped<'_> {
    fn from(reason: NotNow) -> Self {
        match reason {
            NotNow::Busy => Self::Again,
            NotNow::OutOfFrames => Self::OutOfFrames,
        }
    }
}

/// Maps guest frame `frame` so that `access` is allowed. `leaf` tells the page, and brings it where it is not there yet; it is
/// asked only once there is a place for it, so that a fault that has to wait takes no memory.
pub fn map<'r>(
    tables: &'r Tables,
    root: Table<'r>,
    frame: u64,
    access: Access,
    leaf: impl Fn() -> Result<Leaf, NotNow>,
) -> Mapped<'r> {
    match try_map(tables, root, frame, access, leaf) {
        Ok(mapped) => mapped,
        Err(reason) => reason.into(),
    }
}

fn try_map<'r>(
    tables: &'r Tables,
    root: Table<'r>,
    frame: u64,
    access: Access,
    leaf: impl Fn() -> Result<Leaf, NotNow>,
) -> Result<Mapped<'r>, NotNow> {
    let mut table = root;
    let mut found = None;
    for _ in 0..ATTEMPTS {
        let seen = table.place(frame).see();
        let level = seen.place.level();
        match seen.found() {
            Found::Table(below) => table = below,
            Found::Page if seen.entry().permits(access) => return Ok(Mapped::Spurious { level }),
            Found::Page => {
                if let Some(mapped) = add_rights(seen, frame, leaf()?) {
                    return Ok(mapped);
                }
            }
            Found::Removed if Rule::MarkersAreLeftAlone.kept() => return Ok(Mapped::Again),
            Found::Nothing | Found::Removed => {
                let page = match found {
                    Some(page) => page,
                    None => *found.insert(leaf()?),
                };
                if level > page.level {
                    link_new(tables, seen)?;
                } else if seen.replace(page.entry(frame, level)).is_ok() {
                    return Ok(Mapped::Done { level });
                }
            }
        }
    }
    Ok(Mapped::Again)
}

/// Puts an empty table where nothing was seen; whoever looks again finds it, or another one.
fn link_new(tables: &Tables, seen: Seen<'_>) -> Result<(), NotNow> {
    seen.link(tables.new_table()?).or_else(|unused| {
        tables.give_back(unused);
        Ok(())
    })
}

/// A page is mapped that does not allow the access. `None`: it has changed meanwhile.
fn add_rights(seen: Seen<'_>, frame: u64, page: Leaf) -> Option<Mapped<'_>> {
    let level = seen.place.level();
    if level > page.level {
        return Some(Mapped::Split(seen));
    }
    let (old, new) = (seen.entry(), page.entry(frame, level));
    if old.address() != new.address() {
        // What was here before another slot came; it is about to be removed.
        return Some(Mapped::Again);
    }
    let new = old.with_write(old.write() || new.write()).with_dirty(old.dirty() || new.dirty());
    seen.replace(new).ok().map(|()| Mapped::Done { level })
}

/// Puts a table in the place of a large page that maps the same memory in smaller ones, with the same rights. Comes back with
/// whether it did; then what was seen is to be flushed.
pub fn split(tables: &Tables, seen: Seen<'_>) -> Result<bool, NotNow> {
    let (large, level) = (seen.entry(), seen.place.level() - 1);
    let rights = Rights { write: large.write(), dirty: large.dirty() };
    let mut table = tables.new_table()?;
    let parts = (0..).map(|part| large.address() + part * frames_of(level) * FRAME);
    table.fill(
        level,
        parts.map(|address| Entry::page(address, level, rights).with_accessed(large.accessed())),
    );
    match seen.link(table) {
        Ok(()) => Ok(true),
        Err(unused) => {
            tables.give_back(unused);
            Ok(false)
        }
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;
