// SPDX-License-Identifier: MIT OR Apache-2.0
//! The information by which a multiboot kernel learns what it was given (Multiboot Specification, 3.3).

use super::BOOT_INFORMATION;
use super::COMMAND_LINE;
use super::Handover;
use super::MOST_MODULES;
use crate::vm::memory_layout::CONVENTIONAL_END;
use crate::vm::memory_layout::HIGH_MEMORY;
use crate::vm::memory_layout::MOST_MAP_ENTRIES;
use core::mem::offset_of;
use zerocopy::FromZeros;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::U32;
use zerocopy::byteorder::little_endian::U64;

/// The page with the information and all that it points to, but for strings that come from outside.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct InformationPage {
    information: Information,
    modules: [Module; MOST_MODULES],
    memory_map: [MemoryMapEntry; MOST_MAP_ENTRIES],
    loader_name: [u8; 8],
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct Information {
    /// What of the rest is there.
    flags: U32,
    /// KiB of RAM from 0 on.
    mem_lower: U32,
    /// KiB of RAM from 1 MiB on.
    mem_upper: U32,
    boot_device: U32,
    cmdline: U32,
    mods_count: U32,
    /// Address of the list of modules.
    mods_addr: U32,
    syms: [U32; 4],
    /// Size of the memory map in bytes.
    mmap_length: U32,
    mmap_addr: U32,
    drives_length: U32,
    drives_addr: U32,
    config_table: U32,
    boot_loader_name: U32,
    apm_table: U32,
    _video: [U32; 11],
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct Module {
    mod_start: U32,
    /// First address behind it.
    mod_end: U32,
    string: U32,
    _reserved: U32,
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct MemoryMapEntry {
    /// Size of what follows.
    size: U32,
    base_addr: U64,
    /// In bytes.
    length: U64,
    kind: U32,
}

// What [`Information::flags`] can say.
const HAS_MEMORY: u32 = 1 << 0;
const HAS_COMMAND_LINE: u32 = 1 << 2;
const HAS_MODULES: u32 = 1 << 3;
const HAS_MEMORY_MAP: u32 = 1 << 6;
const HAS_LOADER_NAME: u32 = 1 << 9;

const LOADER_NAME: [u8; 8] = *b"Satori\0\0";

const _: () = assert!(size_of::<Information>() == 116 && offset_of!(Information, mmap_length) == 44);
const _: () = assert!(offset_of!(Information, boot_loader_name) == 64);
const _: () = assert!(size_of::<Module>() == 16 && size_of::<MemoryMapEntry>() == 24);
const _: () = assert!(size_of::<InformationPage>() <= 4096);

impl InformationPage {
    /// What `handover` says, for a page at [`BOOT_INFORMATION`].
    pub(super) fn new(handover: &Handover<'_>) -> Self {
        let mut page = Self::new_zeroed();
        page.loader_name = LOADER_NAME;
        for (slot, module) in page.modules.iter_mut().zip(handover.modules) {
            slot.mod_start = module.address.into();
            slot.mod_end = module.address.saturating_add(module.content.len() as u32).into();
            slot.string = module.string.into();
        }
        let map = handover.layout.map();
        for (slot, entry) in page.memory_map.iter_mut().zip(&map) {
            slot.size = ((size_of::<MemoryMapEntry>() - size_of::<U32>()) as u32).into();
            slot.base_addr = entry.range.start.into();
            slot.length = (entry.range.end - entry.range.start).into();
            slot.kind = (entry.kind as u32).into();
        }
        let at = |offset: usize| U32::new(BOOT_INFORMATION.0 as u32 + offset as u32);
        let information = &mut page.information;
        information.flags =
            (HAS_MEMORY | HAS_COMMAND_LINE | HAS_MODULES | HAS_MEMORY_MAP | HAS_LOADER_NAME).into();
        information.mem_lower = kib(CONVENTIONAL_END);
        information.mem_upper = kib(handover.layout.low_ram_end() - HIGH_MEMORY);
        information.cmdline = (COMMAND_LINE.0 as u32).into();
        information.mods_count = (handover.modules.len() as u32).into();
        information.mods_addr = at(offset_of!(Self, modules));
        information.mmap_length = ((map.len() * size_of::<MemoryMapEntry>()) as u32).into();
        information.mmap_addr = at(offset_of!(Self, memory_map));
        information.boot_loader_name = at(offset_of!(Self, loader_name));
        page
    }
}

/// So many bytes in KiB, the number being below 4 TiB.
fn kib(bytes: u64) -> U32 {
    U32::new((bytes >> 10) as u32)
}
