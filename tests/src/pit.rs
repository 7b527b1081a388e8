// SPDX-License-Identifier: MIT OR Apache-2.0
//! The 8254 (82C54 data sheet), and port 0x61, which gates its channel 2 and shows that one's output.

use crate::ports;
use crate::time;

/// Ticks in a second.
pub const HZ: u64 = 1_193_182;
/// Port of channel 0; those of the others follow.
pub const CHANNEL_0: u16 = 0x40;
/// Port of the control word.
pub const CONTROL: u16 = 0x43;
/// Port 0x61.
pub const PORT_B: u16 = 0x61;
/// Port 0x61: the gate of channel 2.
pub const GATE: u8 = 1 << 0;
/// Port 0x61: toggles with each refresh.
pub const REFRESH: u8 = 1 << 4;
/// Port 0x61: the output of channel 2.
pub const OUTPUT: u8 = 1 << 5;

/// Programs a channel: its mode, and its count, low byte first.
pub fn program(channel: u8, mode: u8, count: u16) {
    ports::out_u8(CONTROL, channel << 6 | 0b11 << 4 | mode << 1);
    write(channel, count);
}

/// Gives a channel a new count.
pub fn write(channel: u8, count: u16) {
    count.to_le_bytes().into_iter().for_each(|byte| ports::out_u8(CHANNEL_0 + u16::from(channel), byte));
}

/// Latches and reads a channel's count.
#[must_use]
pub fn read(channel: u8) -> u16 {
    ports::out_u8(CONTROL, channel << 6);
    u16::from_le_bytes([0, 1].map(|_| ports::in_u8(CHANNEL_0 + u16::from(channel))))
}

/// Channel 0 stands still: it is in mode 0, and has no count.
pub fn stop() {
    ports::out_u8(CONTROL, 0b0011_0000);
}

/// Ticks of the TSC in so many of the timer's.
#[must_use]
pub fn tsc_ticks(ticks: u64) -> u64 {
    (u128::from(ticks) * u128::from(time::tsc_hz()) / u128::from(HZ)) as u64
}

/// As [`stop`], where only a count that has run out ends what went on before, as with KVM.
pub fn run_out() {
    program(0, 0, 1);
    stop();
}
