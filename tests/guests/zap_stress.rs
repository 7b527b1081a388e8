// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory keeps what vCPUs write, in pages of their own and in shared ones, while its mappings are taken away under them.
#![cfg_attr(target_os = "none", no_std, no_main)]

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::AcqRel;
use core::sync::atomic::Ordering::Acquire;
use tests::catalogue;
use tests::effort;
use tests::exerciser;
use tests::exerciser::Counters;
use tests::lane::Lane;
use tests::lane::MOST_PAGES;
use tests::lane::Noise;
use tests::lane::PAGE;
use tests::physical;
use tests::processors;
use tests::say;
use tests::sync::Barrier;
use tests::verdict::expect_eq;

tests::program!(run);

const VCPUS: usize = catalogue::VCPUS as usize;
/// How often a worker adds one to a word that all use.
const ADDITIONS: u64 = 50_000;
/// For each of them, reads and writes of each worker.
const OPERATIONS: u64 = 8;

const SHARED: u64 = 8 << 20;
const OWN_PAGES: usize = 64;
/// A word of the shared pages that is in no lane.
const SUM: u64 = SHARED + (MOST_PAGES as u64) * PAGE;
const END: u64 = 32 << 20;

static WORKING: AtomicUsize = AtomicUsize::new(VCPUS - 1);
static FILLED: Barrier = Barrier::new();

fn run() {
    let before = Counters::now();
    processors::together(VCPUS, |number| if number == 0 { zap() } else { work(number) });
    expect_eq("the sum of all additions", physical::read(SUM), (VCPUS - 1) as u64 * effort::of(ADDITIONS));
    before.report();
}

/// A worker's own pages lie around a border between large pages.
fn own(number: usize) -> u64 {
    SHARED + number as u64 * (4 << 20) - OWN_PAGES as u64 / 2 * PAGE
}

fn work(number: usize) {
    let mut shared = Lane::new(SHARED, MOST_PAGES, number);
    let mut own = Lane::new(own(number), OWN_PAGES, 0);
    shared.fill();
    own.fill();
    FILLED.wait(VCPUS);
    for operation in 0..effort::of(ADDITIONS) * OPERATIONS {
        if operation % 2 == 0 {
            own.step();
        } else {
            shared.step();
        }
        if operation % OPERATIONS == 0 {
            physical::add(SUM, 1);
        }
    }
    own.check_all();
    shared.check_all();
    WORKING.fetch_sub(1, AcqRel);
}

fn zap() {
    let mut noise = Noise::new(0);
    let mut zaps = 0;
    FILLED.wait(VCPUS);
    while WORKING.load(Acquire) > 0 {
        let page = |number: usize| SHARED + number as u64 * PAGE;
        match noise.below(16) {
            0 => exerciser::zap(0, (END / PAGE) as u32),
            1 => exerciser::zap(SHARED, 512),
            2..5 => exerciser::zap(SHARED + noise.below(4096) as u64 * PAGE, 1 + noise.below(64) as u32),
            5..8 => exerciser::zap(page(noise.below(MOST_PAGES)), 1 + noise.below(32) as u32),
            _ => exerciser::zap(page(noise.below(MOST_PAGES + 1)), 1),
        }
        zaps += 1;
    }
    say!("count: operations {}", effort::of(ADDITIONS) * OPERATIONS * (VCPUS - 1) as u64);
    say!("count: zaps {zaps}");
}
