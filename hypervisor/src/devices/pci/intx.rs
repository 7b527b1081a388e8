// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lines INTA of all functions, several of which share one line to the I/O APIC.

use super::Upstream;
use spin::Mutex;

/// Lines there are.
const LINES: u8 = 4;

/// The line of the first.
const FIRST_GSI: u8 = 16;

/// The global system interrupt that INTA of that device leads to, as `_PRT` says.
#[must_use]
pub fn gsi(device: u8) -> u8 {
    FIRST_GSI + device % LINES
}

/// A bit for each device that asserts its line.
#[derive(Debug, Default)]
pub struct IntxLines {
    asserted: Mutex<u32>,
}

impl IntxLines {
    /// The line of `device` is as `state` says, which is asked under the lock: the last one to come has seen the last state.
    pub fn update(&self, device: u8, upstream: &dyn Upstream, state: impl FnOnce() -> bool) {
        let bit = 1 << device;
        let mut asserted = self.asserted.lock();
        let before = *asserted;
        *asserted = if state() { before | bit } else { before & !bit };
        let shared = (0..u32::BITS as u8).filter(|other| other % LINES == device % LINES);
        let mask = shared.fold(0, |mask, other| mask | 1 << other);
        let (was, is) = (before & mask != 0, *asserted & mask != 0);
        if was != is {
            upstream.set_line(gsi(device).into(), is);
        }
    }
}
