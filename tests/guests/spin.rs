// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that spins for ever with interrupts off is ended when its time is up, with a report.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::interrupts;
use tests::say;

tests::program!(run);

fn run() {
    interrupts::disable();
    say!("about to spin");
    loop {
        // Not even PAUSE, which may exit by itself.
        core::hint::black_box(());
    }
}
