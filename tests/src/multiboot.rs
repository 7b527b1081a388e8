// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the loader says by multiboot 1 (Multiboot Specification, 3.3).

use crate::physical;
use crate::start_info::Region;
use core::ops::Range;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

/// What EAX holds where the loader keeps to the protocol.
pub const MAGIC: u32 = 0x2bad_b002;

// Offsets in the information.
/// What of it is there.
pub const FLAGS: u64 = 0;
/// KiB of memory from 0 on.
pub const MEM_LOWER: u64 = 4;
/// KiB of memory from 1 MiB on.
pub const MEM_UPPER: u64 = 8;
/// Address of the command line.
pub const CMDLINE: u64 = 16;
/// How many modules there are.
pub const MODS_COUNT: u64 = 20;
/// Address of their list.
pub const MODS_ADDR: u64 = 24;
/// Bytes of the memory map.
pub const MMAP_LENGTH: u64 = 44;
/// Its address.
pub const MMAP_ADDR: u64 = 48;
/// Address of the loader's name.
pub const BOOT_LOADER_NAME: u64 = 64;

static ADDRESS: AtomicU32 = AtomicU32::new(0);
static SEEN_MAGIC: AtomicU32 = AtomicU32::new(0);

/// Keeps what the entry has from EBX and EAX.
pub fn set(information: u32, magic: u32) {
    ADDRESS.store(information, Relaxed);
    SEEN_MAGIC.store(magic, Relaxed);
}

/// What EAX held.
#[must_use]
pub fn magic() -> u32 {
    SEEN_MAGIC.load(Relaxed)
}

/// A field of the information.
#[must_use]
#[track_caller]
pub fn field(offset: u64) -> u32 {
    physical::read(u64::from(ADDRESS.load(Relaxed)) + offset)
}

/// A module.
#[derive(Clone, Debug)]
pub struct Module {
    /// Where it lies.
    pub range: Range<u64>,
    /// Address of its string.
    pub string: u32,
}

/// All modules.
pub fn modules() -> impl Iterator<Item = Module> {
    let list = u64::from(field(MODS_ADDR));
    (0..u64::from(field(MODS_COUNT))).map(move |number| {
        let word = |offset| physical::read::<u32>(list + 16 * number + offset);
        Module { range: word(0).into()..word(4).into(), string: word(8) }
    })
}

/// The memory map. Each entry says how far it is to the next.
pub fn memory_map() -> impl Iterator<Item = Region> {
    let mut at = u64::from(field(MMAP_ADDR));
    let end = at + u64::from(field(MMAP_LENGTH));
    core::iter::from_fn(move || {
        let entry = at;
        if entry >= end {
            return None;
        }
        at += 4 + u64::from(physical::read::<u32>(entry));
        let half = |offset| u64::from(physical::read::<u32>(entry + offset));
        let start = half(4) | half(8) << 32;
        let size = half(12) | half(16) << 32;
        Some(Region { range: start..start.saturating_add(size), kind: half(20) as u32 })
    })
}

/// Where the loader's own data lies that this module reads, but for modules' strings.
#[must_use]
pub fn occupied() -> [Range<u64>; 4] {
    let at = u64::from(ADDRESS.load(Relaxed));
    let part = |start: u32, bytes: u64| u64::from(start)..u64::from(start).saturating_add(bytes);
    [
        at..at + 116,
        part(field(MODS_ADDR), 16 * u64::from(field(MODS_COUNT))),
        part(field(MMAP_ADDR), field(MMAP_LENGTH).into()),
        part(field(CMDLINE), string(field(CMDLINE)).count() as u64 + 1),
    ]
}

/// The bytes of a string.
pub fn string(address: u32) -> impl Iterator<Item = u8> {
    (u64::from(address)..).map(physical::read::<u8>).take_while(|byte| *byte != 0)
}
