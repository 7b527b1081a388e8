// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that is there before the start costs no fault when it is touched.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::catalogue;
use tests::exerciser::Counter;
use tests::exerciser::Counters;
use tests::lane::PAGE;
use tests::physical;
use tests::verdict::expect_eq;

tests::program!(run);

fn run() {
    let before = Counters::now();
    let pages = || (physical::image().end.next_multiple_of(PAGE)..end()).step_by(PAGE as usize);
    for page in pages() {
        physical::write(page, page);
    }
    for page in pages() {
        expect_eq(format_args!("RAM at {page:#x}"), physical::read(page), page);
    }
    expect_eq("faults on all of the memory", before.growth(Counter::Faults), 0);
    before.report();
}

fn end() -> u64 {
    u64::from(catalogue::MEMORY_MIB) << 20
}
