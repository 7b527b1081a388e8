// SPDX-License-Identifier: MIT OR Apache-2.0
//! A read where neither RAM nor a device is ends the virtual machine, with a report that names the address.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::catalogue;
use tests::physical;
use tests::say;
use tests::verdict;

tests::program!(run);

fn run() {
    let hole = catalogue::UNBACKED;
    say!("about to touch {hole:#x}");
    let value: u32 = physical::read(hole);
    verdict::fail(format_args!("a read at {hole:#x}: expected the end, saw {value:#x}"));
}
