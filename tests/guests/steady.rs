// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that computes has its share of the CPU, whatever others do: what it does takes so many hundredths of its time alone as
//! `least=` and `most=` allow.
#![cfg_attr(target_os = "none", no_std, no_main)]

use core::hint::black_box;
use tests::interrupts;
use tests::say;
use tests::start_info;
use tests::time;
use tests::verdict::expect_within;

tests::program!(run);

const PIECES: u64 = 1000;
const STEPS: u64 = 50_000;

fn run() {
    interrupts::disable();
    let start = time::tsc();
    // A piece is shorter than a time slice: the fastest of so many was not interrupted.
    let alone = (0..PIECES).map(|_| piece()).min().unwrap_or(0);
    let took = time::tsc() - start;
    let hundredths = took * 100 / (alone * PIECES);
    say!("it took {hundredths} hundredths of its time alone");
    let bound = |key, otherwise| start_info::number(key).unwrap_or(otherwise);
    expect_within("hundredths of its time alone", hundredths, bound("least", 100)..=bound("most", 250));
}

/// Ticks that it took.
fn piece() -> u64 {
    let start = time::tsc();
    for step in 0..STEPS {
        black_box(step);
    }
    time::tsc() - start
}
