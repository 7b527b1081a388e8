// SPDX-License-Identifier: MIT OR Apache-2.0
//! A page tells once that it was read, written or executed, and then not until it is touched again.
#![cfg_attr(target_os = "none", no_std, no_main)]
// UNSAFETY: a page is executed that holds one instruction, put there by hand.
#![expect(unsafe_code)]

use core::arch::asm;
use tests::effort;
use tests::exerciser;
use tests::exerciser::Counters;
use tests::physical;
use tests::verdict::expect_eq;

tests::program!(run);

/// One page in each of these large pages, so that none is touched by what happens to another.
const BLOCK: u64 = 2 << 20;
const FIRST: u64 = 4 * BLOCK;
const BLOCKS: u64 = 8;
const ROUNDS: u64 = 50;

const RET: u8 = 0xc3;

fn run() {
    let before = Counters::now();
    for page in pages() {
        physical::write(page, RET);
        expect_eq(format_args!("{page:#x} was touched"), exerciser::age(page), true);
        expect_eq(format_args!("{page:#x} was touched, asked again"), exerciser::age(page), false);
    }
    for round in 0..effort::of(ROUNDS) {
        for (number, page) in pages().enumerate() {
            match (round + number as u64) % 4 {
                0 => {
                    expect_eq(format_args!("{page:#x} was left alone"), exerciser::age(page), false);
                    continue;
                }
                1 => expect_eq("what was written", physical::read::<u8>(page), RET),
                2 => physical::write(page, RET),
                _ => execute(page),
            }
            expect_eq(format_args!("{page:#x} was touched in round {round}"), exerciser::age(page), true);
            expect_eq(format_args!("{page:#x} after that"), exerciser::age(page), false);
        }
    }
    before.report();
}

fn pages() -> impl Iterator<Item = u64> {
    (0..BLOCKS).map(|number| FIRST + number * BLOCK)
}

fn execute(page: u64) {
    // SAFETY: the page holds a RET.
    unsafe { asm!("call {}", in(reg) page, clobber_abi("sysv64")) };
}
