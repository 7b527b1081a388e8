// SPDX-License-Identifier: MIT OR Apache-2.0
//! The formats of a guest's paging structures (SDM Vol. 3A, "32-Bit Paging" and after).

use crate::architecture::cr4;
use crate::architecture::efer;

use super::Paging;

/// Bits of an entry.
pub(super) const PRESENT: u64 = 1 << 0;
pub(super) const WRITABLE: u64 = 1 << 1;
pub(super) const USER: u64 = 1 << 2;
pub(super) const DIRTY: u64 = 1 << 6;
pub(super) const LARGE: u64 = 1 << 7;
pub(super) const NO_EXECUTE: u64 = 1 << 63;

/// How the tables are laid out. Level 1 is that of the page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    kind: Kind,
    physical_bits: u32,
    /// Whether bit 63 of an entry forbids execution; else it is reserved.
    pub no_execute: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// 32-bit paging; 4 MiB pages with CR4.PSE.
    Legacy {
        large_pages: bool,
    },
    Pae,
    FourLevel,
    FiveLevel,
}

impl Format {
    /// The format that is in use while paging is on.
    pub fn of(paging: &Paging) -> Self {
        let kind = if paging.cr4 & cr4::PAE == 0 {
            Kind::Legacy { large_pages: paging.cr4 & cr4::PSE != 0 }
        } else if paging.efer & efer::LMA == 0 {
            Kind::Pae
        } else if paging.cr4 & cr4::LA57 == 0 {
            Kind::FourLevel
        } else {
            Kind::FiveLevel
        };
        let no_execute = paging.efer & efer::NXE != 0 && paging.cr4 & cr4::PAE != 0;
        Self { kind, physical_bits: u32::from(paging.physical_bits.clamp(32, 52)), no_execute }
    }

    pub fn levels(self) -> u32 {
        match self.kind {
            Kind::Legacy { .. } => 2,
            Kind::Pae => 3,
            Kind::FourLevel => 4,
            Kind::FiveLevel => 5,
        }
    }

    /// Whether an entry has 8 bytes; it has 4 otherwise.
    pub fn is_wide(self) -> bool {
        !matches!(self.kind, Kind::Legacy { .. })
    }

    /// How many bits of a linear address an entry of `level` leaves to what it points to.
    pub fn shift(self, level: u32) -> u32 {
        12 + self.index_bits() * (level - 1)
    }

    /// The index into a table of `level`.
    pub fn index(self, level: u32, linear: u64) -> u64 {
        linear >> self.shift(level) & low_bits(self.index_bits())
    }

    /// Whether the bits that translation leaves out repeat the highest that it uses.
    pub fn is_canonical(self, linear: u64) -> bool {
        let unused = match self.kind {
            Kind::Legacy { .. } | Kind::Pae => return true,
            Kind::FourLevel => 64 - 48,
            Kind::FiveLevel => 64 - 57,
        };
        (linear << unused).cast_signed() >> unused == linear.cast_signed()
    }

    /// The table of the highest level.
    pub fn root(self, cr3: u64) -> u64 {
        match self.kind {
            Kind::Legacy { .. } => cr3 & 0xFFFF_F000,
            Kind::Pae => cr3 & 0xFFFF_FFE0,
            Kind::FourLevel | Kind::FiveLevel => self.table(cr3),
        }
    }

    /// The table that an entry points to.
    pub fn table(self, entry: u64) -> u64 {
        entry & low_bits(self.physical_bits) & !low_bits(12)
    }

    /// Whether the entry maps a page itself, though above level 1.
    pub fn is_large(self, level: u32, entry: u64) -> bool {
        let possible = match self.kind {
            Kind::Legacy { large_pages } => level == 2 && large_pages,
            Kind::Pae => level == 2,
            Kind::FourLevel | Kind::FiveLevel => level == 2 || level == 3,
        };
        possible && entry & LARGE != 0
    }

    /// The page that an entry maps.
    pub fn page(self, level: u32, entry: u64) -> u64 {
        let address = self.table(entry) & !low_bits(self.shift(level));
        if self.is_wide() || level == 1 {
            return address;
        }
        // A 4 MiB page keeps bits 39:32 of its address in bits 20:13 (PSE-36).
        address | (entry >> 13 & 0xFF) << 32
    }

    /// The bits that have to be zero in an entry.
    pub fn reserved(self, level: u32, entry: u64) -> u64 {
        let large = self.is_large(level, entry);
        if let Kind::Legacy { .. } = self.kind {
            let high = self.physical_bits.min(40) - 32;
            return if large { low_bits(22) & !low_bits(13 + high) } else { 0 };
        }
        let above_physical = low_bits(52) & !low_bits(self.physical_bits);
        let within_page = if large { low_bits(self.shift(level)) & !low_bits(13) } else { 0 };
        let no_execute = if self.no_execute { 0 } else { NO_EXECUTE };
        above_physical | within_page | no_execute | self.reserved_by_kind(level)
    }

    /// Whether an entry of `level` has a say in what is permitted.
    pub fn carries_rights(self, level: u32) -> bool {
        !(self.kind == Kind::Pae && level == 3)
    }

    fn reserved_by_kind(self, level: u32) -> u64 {
        match (self.kind, level) {
            (Kind::Pae, 3) => 0b1_1110_0110 | !low_bits(52),
            (Kind::Pae, _) => low_bits(63) & !low_bits(52),
            (Kind::FourLevel | Kind::FiveLevel, 4..) => LARGE,
            _ => 0,
        }
    }

    fn index_bits(self) -> u32 {
        if self.is_wide() { 9 } else { 10 }
    }
}

/// A mask of the lowest `count` bits, fewer than 64.
fn low_bits(count: u32) -> u64 {
    (1 << count) - 1
}
