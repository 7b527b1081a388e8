// SPDX-License-Identifier: MIT OR Apache-2.0
//! The start info by which a PVH kernel learns what it was given (Xen: `hvm_start_info`, version 1).

use super::BOOT_INFORMATION;
use super::COMMAND_LINE;
use super::Handover;
use super::MOST_MODULES;
use crate::vm::memory_layout::MOST_MAP_ENTRIES;
use core::mem::offset_of;
use zerocopy::FromZeros;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::U32;
use zerocopy::byteorder::little_endian::U64;

/// The page with the start info and all that it points to, but for strings.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct StartInfoPage {
    start_info: StartInfo,
    modules: [Module; MOST_MODULES],
    memory_map: [MemoryMapEntry; MOST_MAP_ENTRIES],
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct StartInfo {
    magic: U32,
    version: U32,
    flags: U32,
    modules: U32,
    /// Address of the list of modules.
    module_list: U64,
    command_line: U64,
    rsdp: U64,
    /// Address of the memory map.
    memory_map: U64,
    memory_map_entries: U32,
    _reserved: U32,
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct Module {
    address: U64,
    /// In bytes.
    size: U64,
    /// Address of the module's own command line; 0 is none.
    command_line: U64,
    _reserved: U64,
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct MemoryMapEntry {
    address: U64,
    /// In bytes.
    size: U64,
    kind: U32,
    _reserved: U32,
}

const MAGIC: u32 = 0x336E_C578;

/// The first version that has a memory map.
const VERSION: u32 = 1;

const _: () = assert!(size_of::<StartInfo>() == 56 && size_of::<Module>() == 32);
const _: () = assert!(size_of::<MemoryMapEntry>() == 24);
const _: () = assert!(offset_of!(StartInfo, module_list) == 16 && offset_of!(StartInfo, rsdp) == 32);
const _: () =
    assert!(offset_of!(StartInfo, memory_map) == 40 && offset_of!(StartInfo, memory_map_entries) == 48);
const _: () = assert!(size_of::<StartInfoPage>() <= 4096);

impl StartInfoPage {
    /// What `handover` says, for a page at [`BOOT_INFORMATION`].
    pub(super) fn new(handover: &Handover<'_>) -> Self {
        let mut page = Self::new_zeroed();
        for (slot, module) in page.modules.iter_mut().zip(handover.modules) {
            slot.address = u64::from(module.address).into();
            slot.size = (module.content.len() as u64).into();
            slot.command_line = u64::from(module.string).into();
        }
        let map = handover.layout.map();
        for (slot, entry) in page.memory_map.iter_mut().zip(&map) {
            slot.address = entry.range.start.into();
            slot.size = (entry.range.end - entry.range.start).into();
            slot.kind = (entry.kind as u32).into();
        }
        page.start_info = StartInfo {
            magic: MAGIC.into(),
            version: VERSION.into(),
            flags: 0.into(),
            modules: (handover.modules.len() as u32).into(),
            module_list: (BOOT_INFORMATION.0 + offset_of!(Self, modules) as u64).into(),
            command_line: COMMAND_LINE.0.into(),
            rsdp: handover.rsdp.0.into(),
            memory_map: (BOOT_INFORMATION.0 + offset_of!(Self, memory_map) as u64).into(),
            memory_map_entries: (map.len() as u32).into(),
            _reserved: 0.into(),
        };
        page
    }
}
