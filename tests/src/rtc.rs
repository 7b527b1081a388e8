// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real-time clock and its CMOS memory (MC146818A data sheet).

use crate::ports;

const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;

/// Register A: the rate, and whether an update is in progress.
pub const A: u8 = 0x0a;
/// Register B: the mode, and what interrupts.
pub const B: u8 = 0x0b;
/// Register C: what has happened.
pub const C: u8 = 0x0c;

/// Register A: an update is about to come.
pub const UPDATE_IN_PROGRESS: u8 = 1 << 7;
/// Register B: numbers are binary.
pub const BINARY: u8 = 1 << 2;
/// Register B: hours go to 23.
pub const HOURS_24: u8 = 1 << 1;
/// Register B: the time is being set.
pub const SET: u8 = 1 << 7;
/// Registers B and C: each update.
pub const UPDATE: u8 = 1 << 4;
/// Registers B and C: the alarm.
pub const ALARM: u8 = 1 << 5;
/// Registers B and C: at register A's rate.
pub const PERIODIC: u8 = 1 << 6;
/// Register C: the interrupt is asserted.
pub const INTERRUPT: u8 = 1 << 7;

/// Reads a register.
#[must_use]
pub fn read(register: u8) -> u8 {
    ports::out_u8(INDEX, register);
    ports::in_u8(DATA)
}

/// Reads again the register that was read last, with half of the accesses.
#[must_use]
pub fn read_again() -> u8 {
    ports::in_u8(DATA)
}

/// Writes a register.
pub fn write(register: u8, value: u8) {
    ports::out_u8(INDEX, register);
    ports::out_u8(DATA, value);
}
