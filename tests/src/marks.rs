// SPDX-License-Identifier: MIT OR Apache-2.0
//! Marks: lines `mark N` at which whoever runs this machine, or the machine below, reads what is counted there.
//!
//! The program goes on when it gets a line feed.

use crate::ports;
use crate::say;
use crate::serial;
use crate::time;

/// Between two looks at the line, in ticks of the TSC: a look is an exit, too, and how many there are depends on others.
const PAUSE: u64 = 5_000_000;

/// Prints the mark with this number, in two digits at least so that marks cost alike, and waits.
pub fn mark(number: u32) {
    say!("mark {number:02}");
    loop {
        let start = time::tsc();
        // Without PAUSE, which exits now and then.
        while time::tsc().wrapping_sub(start) < PAUSE {}
        if ports::in_u8(serial::LINE_STATUS) & serial::DATA_READY != 0 && ports::in_u8(serial::COM1) == b'\n'
        {
            return;
        }
    }
}
