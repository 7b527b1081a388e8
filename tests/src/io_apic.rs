// SPDX-License-Identifier: MIT OR Apache-2.0
//! The I/O APIC: an index and a data register in memory (82093AA data sheet, 3.1 and 3.2).

use crate::physical;

/// Where IOREGSEL lies.
pub const BASE: u64 = 0xfec0_0000;
/// Where IOWIN lies.
pub const WINDOW: u64 = BASE + 0x10;

/// IOAPICID.
pub const ID: u8 = 0;
/// IOAPICVER.
pub const VERSION: u8 = 1;

/// Redirection entry: masked.
pub const MASKED: u64 = 1 << 16;
/// Redirection entry: level-triggered.
pub const LEVEL: u64 = 1 << 15;

/// Reads the register with this index.
#[must_use]
pub fn read(index: u8) -> u32 {
    physical::write(BASE, u32::from(index));
    physical::read(WINDOW)
}

/// Writes the register with this index.
pub fn write(index: u8, value: u32) {
    physical::write(BASE, u32::from(index));
    physical::write(WINDOW, value);
}

/// The redirection entry of a pin.
#[must_use]
pub fn redirection(pin: u8) -> u64 {
    u64::from(read(0x11 + 2 * pin)) << 32 | u64::from(read(0x10 + 2 * pin))
}

/// Sets the redirection entry of a pin; the half with the mask is written last.
pub fn redirect(pin: u8, entry: u64) {
    write(0x11 + 2 * pin, (entry >> 32) as u32);
    write(0x10 + 2 * pin, entry as u32);
}
