// SPDX-License-Identifier: MIT OR Apache-2.0
//! Says what it is told, line by line, until it is told `quit`: the other end of a console.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::ports;
use tests::say;
use tests::serial::COM1;
use tests::serial::DATA_READY;
use tests::serial::LINE_STATUS;
use tests::time;

tests::program!(run);

/// Bytes of a line; what is beyond is forgotten.
const LONGEST: usize = 64;

fn run() {
    say!("echo: ready");
    let (mut line, mut length) = ([0; LONGEST], 0);
    loop {
        match received() {
            b'\r' | b'\n' => {
                let text = core::str::from_utf8(&line[..length]).unwrap_or("no text");
                if text == "quit" {
                    return;
                }
                say!("echo: heard {text}");
                length = 0;
            }
            byte => {
                if let Some(place) = line.get_mut(length) {
                    *place = byte;
                    length += 1;
                }
            }
        }
    }
}

fn received() -> u8 {
    while ports::in_u8(LINE_STATUS) & DATA_READY == 0 {
        time::spin(500);
    }
    ports::in_u8(COM1)
}
