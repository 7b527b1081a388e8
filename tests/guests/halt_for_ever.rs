// SPDX-License-Identifier: MIT OR Apache-2.0
//! HLT with interrupts off, which nothing can end, ends the virtual machine with a report.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::say;
use tests::verdict;

tests::program!(run);

fn run() {
    say!("about to halt for ever");
    verdict::stop();
}
