// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the loader says by the PVH boot protocol: the memory map and the command line.
//!
//! Layout: Xen's public header `arch-x86/hvm/start_info.h`, version 1.

use crate::physical;
use core::ops::Range;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

/// `hvm_start_info.magic`.
pub const MAGIC: u32 = 0x336e_c578;
/// Memory map type of RAM.
pub const RAM: u32 = 1;

/// Longest command line that is looked at, in bytes.
const COMMAND_LINE_MAX: u64 = 1024;

static ADDRESS: AtomicU32 = AtomicU32::new(0);

/// Keeps the address of the start info, which the entry has from EBX.
pub fn set(address: u32) {
    ADDRESS.store(address, Relaxed);
}

/// The start info's physical address.
#[must_use]
pub fn address() -> u64 {
    ADDRESS.load(Relaxed).into()
}

fn word(offset: u64) -> u32 {
    physical::read(address() + offset)
}

fn pointer(offset: u64) -> u64 {
    u64::from(word(offset)) | u64::from(word(offset + 4)) << 32
}

/// Its magic number; [`MAGIC`] if the loader keeps to the protocol.
#[must_use]
pub fn magic() -> u32 {
    word(0)
}

/// Its version; the memory map is there from 1 on.
#[must_use]
pub fn version() -> u32 {
    word(4)
}

/// Physical address of the ACPI RSDP, 0 if there is none.
#[must_use]
pub fn rsdp() -> u64 {
    pointer(32)
}

/// One entry of the memory map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its physical addresses.
    pub range: Range<u64>,
    /// Its type, as E820 has them; see [`RAM`].
    pub kind: u32,
}

/// The memory map, in the loader's order.
pub fn memory_map() -> impl Iterator<Item = Region> {
    let table = pointer(40);
    (0..u64::from(word(48))).map(move |number| {
        let entry = table + number * 24;
        let half = |offset| u64::from(physical::read::<u32>(entry + offset));
        let start = half(0) | half(4) << 32;
        let size = half(8) | half(12) << 32;
        Region { range: start..start.saturating_add(size), kind: half(16) as u32 }
    })
}

/// Where the loader's own data lies that this module reads.
#[must_use]
pub fn occupied() -> [Range<u64>; 3] {
    let map = pointer(40);
    let text = pointer(24);
    [
        address()..address() + 56,
        map..map + 24 * u64::from(word(48)),
        text..text + command_line().count() as u64 + 1,
    ]
}

/// The bytes of the command line.
pub fn command_line() -> impl Iterator<Item = u8> {
    let text = pointer(24);
    (0..COMMAND_LINE_MAX)
        .take_while(move |_| text != 0)
        .map(move |offset| physical::read::<u8>(text + offset))
        .take_while(|byte| *byte != 0)
}

/// The decimal number behind `key=` on the command line.
#[must_use]
pub fn number(key: &str) -> Option<u64> {
    let mut bytes = command_line().peekable();
    while bytes.peek().is_some() {
        let mut word = bytes.by_ref().take_while(|byte| *byte != b' ');
        if key.bytes().chain([b'=']).all(|expected| word.next() == Some(expected)) {
            return word.try_fold(0_u64, |value, digit| {
                let digit = char::from(digit).to_digit(10)?;
                value.checked_mul(10)?.checked_add(digit.into())
            });
        }
        word.for_each(drop);
    }
    None
}
