// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory keeps what vCPUs write while its large pages are split, by protection and by taking a part away, and made anew.
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
use tests::processors;
use tests::say;
use tests::sync::Barrier;

tests::program!(run);

const VCPUS: usize = catalogue::VCPUS as usize;
const OPERATIONS: u64 = 200_000;
/// Two large pages, and the lanes lie across their border.
const BLOCKS: u64 = 8 << 20;
const BLOCK_PAGES: u32 = 512;
const LANES: u64 = BLOCKS + (BLOCK_PAGES as u64 - 64) * PAGE;

static WORKING: AtomicUsize = AtomicUsize::new(VCPUS - 1);
static FILLED: Barrier = Barrier::new();

fn run() {
    let before = Counters::now();
    processors::together(VCPUS, |number| if number == 0 { disturb() } else { work(number) });
    before.report();
}

fn work(number: usize) {
    let mut lane = Lane::new(LANES, MOST_PAGES, number);
    lane.fill();
    FILLED.wait(VCPUS);
    for _ in 0..effort::of(OPERATIONS) {
        lane.step();
    }
    lane.check_all();
    WORKING.fetch_sub(1, AcqRel);
}

fn disturb() {
    let mut noise = Noise::new(0);
    let mut collapses = 0;
    FILLED.wait(VCPUS);
    while WORKING.load(Acquire) > 0 {
        if noise.below(4) == 0 {
            exerciser::start_log();
            let page = LANES + noise.below(4) as u64 * 32 * PAGE;
            let _ = exerciser::fetch_log(page, 32);
            exerciser::stop_log();
        } else {
            exerciser::zap(LANES + noise.below(MOST_PAGES) as u64 * PAGE, 1);
        }
        exerciser::collapse(BLOCKS, 2 * BLOCK_PAGES);
        collapses += 1;
    }
    say!("count: operations {}", effort::of(OPERATIONS) * (VCPUS - 1) as u64);
    say!("count: collapses {collapses}");
}
