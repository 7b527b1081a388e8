// SPDX-License-Identifier: MIT OR Apache-2.0
//! ACPI's tables, found as by a system that nobody has told where they are (ACPI 6.5, 5.2.5 to 5.2.8).

use crate::physical;
use crate::start_info;
use core::ops::Range;

/// Where a BIOS keeps the segment of its extended data area.
const EXTENDED_AREA: u64 = 0x40e;
/// Where else an RSDP may be.
const BIOS: Range<u64> = 0xe_0000..0x10_0000;
const HEADER: u64 = 36;

/// Addresses of RSDPs with good checksums.
pub fn rsdps() -> impl Iterator<Item = u64> {
    let extended = u64::from(physical::read::<u16>(EXTENDED_AREA)) << 4;
    (extended..extended + 1024).chain(BIOS).step_by(16).filter(|&address| {
        physical::read_unaligned(address) == u64::from_le_bytes(*b"RSD PTR ") && sum(address, 20) == 0
    })
}

/// The sum of so many bytes.
#[must_use]
pub fn sum(address: u64, bytes: u64) -> u8 {
    (address..address + bytes).map(physical::read::<u8>).fold(0, u8::wrapping_add)
}

/// The 32 bits at an address.
#[must_use]
pub fn half(address: u64) -> u32 {
    physical::read_unaligned(address) as u32
}

/// The signature of a table.
#[must_use]
pub fn signature(table: u64) -> [u8; 4] {
    half(table).to_le_bytes()
}

/// The size of a table in bytes, header and all.
#[must_use]
pub fn length(table: u64) -> u64 {
    half(table + 4).into()
}

/// The tables that the RSDT at this address names.
pub fn named_by_rsdt(rsdt: u64) -> impl Iterator<Item = u64> {
    (HEADER..length(rsdt)).step_by(4).map(move |offset| half(rsdt + offset).into())
}

/// The tables that the XSDT at this address names.
pub fn named_by_xsdt(xsdt: u64) -> impl Iterator<Item = u64> {
    (HEADER..length(xsdt)).step_by(8).map(move |offset| physical::read_unaligned(xsdt + offset))
}

/// The table with that signature, by the RSDP that the loader names: from its revision 2 on by the XSDT.
#[must_use]
pub fn table(wanted: [u8; 4]) -> Option<u64> {
    let rsdp = Some(start_info::rsdp()).filter(|&rsdp| rsdp != 0)?;
    let is_wanted = |table: &u64| signature(*table) == wanted;
    match physical::read::<u8>(rsdp + 15) {
        0 | 1 => named_by_rsdt(half(rsdp + 16).into()).find(is_wanted),
        _ => named_by_xsdt(physical::read_unaligned(rsdp + 24)).find(is_wanted),
    }
}
