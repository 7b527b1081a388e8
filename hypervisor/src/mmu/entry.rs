// SPDX-License-Identifier: MIT OR Apache-2.0
//! An entry of extended page tables: what the processor reads in it, and what we keep in the bits that it ignores.

use crate::cpu::CpuNumber;
use crate::cpu::number::MAX_CPUS;
use crate::memory::FRAME;
use bitfield_struct::bitfield;

/// An entry of a table (SDM vol. 3, "EPT Translation Mechanism").
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Entry {
    /// Reads are allowed.
    pub read: bool,
    /// Writes are allowed.
    pub write: bool,
    /// Instruction fetches are allowed.
    pub execute: bool,
    /// Memory type of a page.
    #[bits(3)]
    pub memory_type: u8,
    /// The guest's PAT does not count.
    pub ignore_pat: bool,
    /// Maps a large page rather than naming a table.
    pub large: bool,
    /// Set by the CPU on any access.
    pub accessed: bool,
    /// Set by the CPU on a write.
    pub dirty: bool,
    __: bool,
    /// Ours: the entry is in use. A bit of its own, so that whether an entry is in use is one test and no matter of permissions.
    pub present: bool,
    /// Number of the frame, page or table that it leads to.
    #[bits(40)]
    pub frame: u64,
    /// Ours, in a *removed* entry: the CPU that removed it.
    #[bits(6)]
    removed_by: u8,
    /// Ours, in a *removed* entry: the page was written to.
    was_dirty: bool,
    /// Ours: the entry is *removed*. Nobody else puts anything here until who removed it has flushed and takes the marker away.
    removed: bool,
    #[bits(4)]
    __: u8,
}

/// Write-back, of SDM vol. 3, "EPT and Memory Typing".
pub const WRITE_BACK: u8 = 6;

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing is here.
    Absent,
    /// Something was here, and CPUs may still use it.
    Removed,
    /// It leads to a table.
    Table,
    /// It maps a page.
    Page,
}

/// What an access wants, and whether an entry has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// It reads.
    pub read: bool,
    /// It writes.
    pub write: bool,
    /// It fetches an instruction.
    pub execute: bool,
}

/// How a page is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Writes are allowed.
    pub write: bool,
    /// It counts as written to from the beginning on.
    pub dirty: bool,
}

impl Entry {
    /// Nothing.
    pub const ABSENT: Self = Self::new();

    /// The marker that CPU `by` leaves where something was, until it has flushed. It tells the processor nothing, and names no
    /// memory that a CPU could speculate on (L1 terminal fault).
    #[must_use]
    pub const fn removed_marker(by: CpuNumber, was_dirty: bool) -> Self {
        Self::ABSENT.with_removed(true).with_removed_by(by.index() as u8).with_was_dirty(was_dirty)
    }

    /// Leads to the table at a physical address. Its accessed bit is set, so that CPUs do not change it.
    #[must_use]
    pub const fn table(address: u64) -> Self {
        Self::ABSENT
            .with_read(true)
            .with_write(true)
            .with_execute(true)
            .with_accessed(true)
            .with_present(true)
            .with_frame(address / FRAME)
    }

    /// Maps the page at a physical address, in a table of `level`.
    #[must_use]
    pub const fn page(address: u64, level: u32, rights: Rights) -> Self {
        Self::table(address)
            .with_memory_type(WRITE_BACK)
            .with_large(level > 1)
            .with_write(rights.write)
            .with_dirty(rights.dirty)
    }

    /// What it says in a table of `level`.
    #[must_use]
    #[inline]
    pub fn kind(self, level: u32) -> Kind {
        match () {
            () if self.present() && level > 1 && !self.large() => Kind::Table,
            () if self.present() => Kind::Page,
            () if self.removed() => Kind::Removed,
            () => Kind::Absent,
        }
    }

    /// Physical address of what it leads to.
    #[must_use]
    #[inline]
    pub const fn address(self) -> u64 {
        self.frame() * FRAME
    }

    /// Whether it is the marker of that CPU.
    #[must_use]
    pub const fn is_removed_by(self, cpu: CpuNumber) -> bool {
        self.removed() && self.removed_by() as usize == cpu.index()
    }

    /// Whether the page was written to since it was mapped, or, in a marker, had been.
    #[must_use]
    pub const fn is_dirty(self) -> bool {
        self.was_dirty() || self.dirty()
    }

    /// Whether the page allows all that an access wants.
    #[must_use]
    #[inline]
    pub const fn permits(self, access: Access) -> bool {
        (!access.read || self.read())
            && (!access.write || self.write())
            && (!access.execute || self.execute())
    }

    /// Whether an entry of a table of `level` may become `new` in one step. What is in use leads to something else only after it
    /// was removed, and a *removed* entry becomes nothing else but absent, or somebody else's marker.
    #[must_use]
    #[inline]
    pub fn may_become(self, new: Self, level: u32) -> bool {
        match (self.kind(level), new.kind(level)) {
            (Kind::Absent, new) => new != Kind::Absent,
            (Kind::Removed, new) => matches!(new, Kind::Absent | Kind::Removed),
            (Kind::Table, Kind::Table) | (Kind::Page, Kind::Page) => self.frame() == new.frame(),
            (Kind::Table, new) => new == Kind::Removed,
            // A table: the page is split.
            (Kind::Page, new) => matches!(new, Kind::Removed | Kind::Table),
        }
    }
}

/// Bits that make an entry present to the processor: any permission (SDM vol. 3, "EPT Translation Mechanism").
const PERMISSIONS: u64 = 7;

/// Whether an entry is present neither to us nor to the processor, and leads nowhere.
const fn leads_nowhere(entry: Entry) -> bool {
    !entry.present() && entry.into_bits() & PERMISSIONS == 0 && entry.frame() == 0
}

const _: () = {
    assert!(leads_nowhere(Entry::ABSENT));
    assert!(MAX_CPUS <= 1 << 6, "a marker has six bits for its CPU");
    let mut number = 0;
    while let Some(cpu) = CpuNumber::new(number) {
        let (clean, dirty) = (Entry::removed_marker(cpu, false), Entry::removed_marker(cpu, true));
        assert!(leads_nowhere(clean) && leads_nowhere(dirty));
        assert!(clean.removed() && dirty.removed() && clean.is_removed_by(cpu) && dirty.is_removed_by(cpu));
        number += 1;
    }
    let rights = Rights { write: false, dirty: false };
    assert!(Entry::table(FRAME).present() && Entry::page(FRAME, 1, rights).present());
};

#[cfg(test)]
mod tests;
