// SPDX-License-Identifier: MIT OR Apache-2.0
//! A triple fault ends the virtual machine, with a report.
#![cfg_attr(target_os = "none", no_std, no_main)]
// UNSAFETY: the interrupt descriptor table is taken away, which only assembly can do.
#![expect(unsafe_code)]

use core::arch::asm;
use tests::say;

tests::program!(run);

/// The operand of LIDT: a table of no bytes.
static EMPTY_TABLE: [u8; 10] = [0; 10];

fn run() {
    say!("about to fault without an interrupt descriptor table");
    // SAFETY: the program ends here, either way.
    unsafe { asm!("lidt [{}]", "ud2", in(reg) &raw const EMPTY_TABLE, options(noreturn)) };
}
