// SPDX-License-Identifier: MIT OR Apache-2.0
//! The GDT and the page tables with which a kernel is entered in 64-bit mode.

use super::GDT;
use super::PAGE_TABLES;
use crate::mmu::GuestMemory;
use crate::mmu::Unbacked;
use alloc::vec;
use zerocopy::IntoBytes;

/// Selector of the code segment that Linux' boot protocol asks for.
pub const BOOT_CS: u16 = 0x10;

/// Selector of the data segment that Linux' boot protocol asks for.
pub const BOOT_DS: u16 = 0x18;

/// Flat segments, accessed already, so that the CPU need not write to them (SDM vol. 3, "Segment Descriptors").
const DESCRIPTORS: [u64; 4] = [
    0,
    0,
    0x00AF_9B00_0000_FFFF, // 64-bit code, readable
    0x00CF_9300_0000_FFFF, // data, writable
];

/// Size of the GDT in bytes, less 1.
pub(super) const GDT_LIMIT: u16 = (size_of::<[u64; 4]>() - 1) as u16;

const PAGE: u64 = 4096;
const ENTRIES: usize = 512;
const LARGE_PAGE: u64 = 2 << 20;

/// Page directories, one for each of the first four GiB.
const DIRECTORIES: usize = 4;

// Bits of paging-structure entries (SDM vol. 3, "4-Level Paging and 5-Level Paging").
const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const PAGE_SIZE: u64 = 1 << 7;

const _: () = assert!(DESCRIPTORS.len() * 8 == GDT_LIMIT as usize + 1);
const _: () = assert!(BOOT_DS < GDT_LIMIT);

/// Writes the GDT, and page tables that map the first 4 GiB to themselves in pages of 2 MiB.
pub(super) fn write(memory: &impl GuestMemory) -> Result<(), Unbacked> {
    memory.write(GDT, DESCRIPTORS.as_bytes())?;

    // PML4, page-directory-pointer table, then the page directories.
    let mut tables = vec![0u64; (2 + DIRECTORIES) * ENTRIES];
    let table = |number: usize| (PAGE_TABLES.0 + number as u64 * PAGE) | WRITABLE | PRESENT;
    tables[0] = table(1);
    for directory in 0..DIRECTORIES {
        tables[ENTRIES + directory] = table(2 + directory);
    }
    for (page, entry) in tables[2 * ENTRIES..].iter_mut().enumerate() {
        *entry = (page as u64 * LARGE_PAGE) | PAGE_SIZE | WRITABLE | PRESENT;
    }
    memory.write(PAGE_TABLES, tables.as_bytes())
}
