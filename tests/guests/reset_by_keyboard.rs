// SPDX-License-Identifier: MIT OR Apache-2.0
//! The keyboard controller's command 0xFE ends the virtual machine as "reset".
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::ports;
use tests::say;
use tests::verdict;

tests::program!(run);

const KEYBOARD: u16 = 0x64;

fn run() {
    say!("about to reset");
    // As kernels do: first the input buffer has to be empty.
    verdict::expect_eq("status of the keyboard controller", ports::in_u8(KEYBOARD), 0);
    ports::out_u8(KEYBOARD, 0xfe);
    verdict::fail("after the keyboard controller's command: expected the end, saw the next instruction");
}
