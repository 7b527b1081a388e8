// SPDX-License-Identifier: MIT OR Apache-2.0
//! How many processors the firmware's tables list (ACPI 6.5, 5.2.12).

use crate::physical;
use crate::start_info;
use crate::verdict;

const HEADER: u64 = 36;
/// Of the MADT's header, with the address of the local APICs and flags.
const MADT_HEADER: u64 = 44;

/// Processors that are enabled, by the MADT.
#[must_use]
#[track_caller]
pub fn processors() -> usize {
    let xsdt = physical::read_unaligned(start_info::rsdp() + 24);
    let tables = (HEADER..length(xsdt)).step_by(8).map(|offset| physical::read_unaligned(xsdt + offset));
    let Some(madt) = tables.into_iter().find(|table| half(*table) == u32::from_le_bytes(*b"APIC")) else {
        verdict::fail("the XSDT names no MADT");
    };
    let mut count = 0;
    let mut entry = madt + MADT_HEADER;
    while entry < madt + length(madt) {
        let [kind, size] = [0, 1].map(|offset| physical::read::<u8>(entry + offset));
        // Processor local APIC, and local x2APIC: where their flags are.
        let flags = match kind {
            0 => half(entry + 4),
            9 => half(entry + 8),
            _ => 0,
        };
        count += usize::from(flags & 1 != 0);
        entry += u64::from(size.max(2));
    }
    count
}

fn length(table: u64) -> u64 {
    half(table + 4).into()
}

fn half(address: u64) -> u32 {
    physical::read_unaligned(address) as u32
}
