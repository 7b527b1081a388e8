// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bit 0 of system control port A ends the virtual machine as "reset"; bit 1, the A20 gate, does not.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::ports;
use tests::say;
use tests::verdict;

tests::program!(run);

const PORT_A: u16 = 0x92;

fn run() {
    say!("about to reset");
    ports::out_u8(PORT_A, 0x02);
    verdict::expect_eq("port A", ports::in_u8(PORT_A), 0x02);
    ports::out_u8(PORT_A, 0x03);
    verdict::fail("after a write to port A: expected the end, saw the next instruction");
}
