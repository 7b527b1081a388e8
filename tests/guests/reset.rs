// SPDX-License-Identifier: MIT OR Apache-2.0
//! A write of 1 to the reset register ends the virtual machine as "reset".
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::ports;
use tests::say;
use tests::verdict;

tests::program!(run);

fn run() {
    say!("about to reset");
    ports::out_u8(verdict::RESET, 1);
    verdict::fail("after a write to the reset register: expected the end, saw the next instruction");
}
