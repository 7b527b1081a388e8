// SPDX-License-Identifier: MIT OR Apache-2.0
//! A write to isa-debug-exit ends the virtual machine with a status, as it does on QEMU.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::catalogue;
use tests::ports;
use tests::say;
use tests::verdict;

tests::program!(run);

fn run() {
    say!("about to end");
    ports::out_u32(verdict::DEBUG_EXIT, catalogue::DEBUG_EXIT_VALUE.into());
    verdict::fail("after a write to isa-debug-exit: expected the end, saw the next instruction");
}
