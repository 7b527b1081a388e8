// SPDX-License-Identifier: MIT OR Apache-2.0
//! A write to the reset control register ends the virtual machine as "reset".
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::ports;
use tests::say;
use tests::verdict;

tests::program!(run);

fn run() {
    say!("about to reset");
    // The kind of reset alone does nothing, nor does PCI's configuration address, which is at the same port.
    ports::out_u8(verdict::RESET_CONTROL, 0x02);
    ports::out_u32(verdict::RESET_CONTROL - 1, 0x8000_0600);
    say!("so far not");
    ports::out_u8(verdict::RESET_CONTROL, 0x06);
    verdict::fail("after a write to the reset control register: expected the end, saw the next instruction");
}
