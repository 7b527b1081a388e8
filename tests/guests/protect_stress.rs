// SPDX-License-Identifier: MIT OR Apache-2.0
//! The dirty log misses no write that a vCPU makes, and no write is lost to it.
//!
//! One vCPU keeps a copy of what the others write: it fetches the log, and copies the pages that it names. A page that is
//! not named has not changed since it was copied last, and in the end the copy is what is in memory.
#![cfg_attr(target_os = "none", no_std, no_main)]

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::AcqRel;
use core::sync::atomic::Ordering::Acquire;
use tests::catalogue;
use tests::effort;
use tests::exerciser;
use tests::exerciser::Counters;
use tests::lane::Noise;
use tests::lane::PAGE;
use tests::physical;
use tests::processors;
use tests::say;
use tests::sync::Barrier;
use tests::verdict::expect_eq;

tests::program!(run);

const VCPUS: usize = catalogue::VCPUS as usize;
const WRITERS: usize = VCPUS - 1;
/// Writes of each writer, with the log on.
const WRITES: u64 = 120_000;
/// As often the log is ended and begun anew.
const LOGS: usize = 3;

const FIRST: u64 = 8 << 20;
/// As many pages as one fetch of the log tells of.
const GROUP: usize = 32;
const GROUPS: usize = 4;
const PAGES: usize = GROUP * GROUPS;
/// A writer writes up to 2^9 times to a page before it goes to another. So some write on for longer than it takes to
/// fetch the log and copy what it names: who could still write to a page that was protected meanwhile is found out.
const BURSTS: usize = 10;

/// What each writer has in each page.
type Words = [[u64; WRITERS]; PAGES];

static WORKING: AtomicUsize = AtomicUsize::new(0);
static STEP: Barrier = Barrier::new();

fn run() {
    let before = Counters::now();
    processors::together(VCPUS, |number| if number == 0 { keep_a_copy() } else { write(number - 1) });
    say!("count: operations {}", effort::of(WRITES) * (LOGS * WRITERS) as u64);
    before.report();
}

fn address(page: usize, writer: usize) -> u64 {
    FIRST + page as u64 * PAGE + (page as u64 * 64 + writer as u64 * 8) % PAGE
}

fn words(page: usize) -> [u64; WRITERS] {
    core::array::from_fn(|writer| physical::read(address(page, writer)))
}

fn write(writer: usize) {
    let mut noise = Noise::new(writer as u64);
    let mut counters = [0_u64; PAGES];
    let mut page = 0;
    for _ in 0..LOGS {
        STEP.wait(VCPUS);
        let mut end_of_burst = 0;
        for number in 0..effort::of(WRITES) {
            if number == end_of_burst {
                page = noise.below(PAGES);
                end_of_burst += 1 << noise.below(BURSTS);
            }
            let seen: u64 = physical::read(address(page, writer));
            expect_eq(format_args!("writer {writer}'s word in page {page}"), seen, counters[page]);
            counters[page] += 1;
            physical::write(address(page, writer), counters[page]);
        }
        WORKING.fetch_sub(1, AcqRel);
        STEP.wait(VCPUS);
    }
}

fn keep_a_copy() {
    let (mut fetches, mut named) = (0, 0);
    for _ in 0..LOGS {
        exerciser::start_log();
        let mut copy: Words = core::array::from_fn(words);
        WORKING.store(WRITERS, core::sync::atomic::Ordering::Release);
        STEP.wait(VCPUS);
        loop {
            // Looked at first: when nobody writes any more, one more fetch has all that was written.
            let last = WORKING.load(Acquire) == 0;
            for group in 0..GROUPS {
                named += fetch(group, &mut copy);
                fetches += 1;
            }
            if last {
                break;
            }
        }
        for (page, copy) in copy.iter().enumerate() {
            expect_eq(format_args!("the copy of page {page} in the end"), *copy, words(page));
        }
        exerciser::stop_log();
        STEP.wait(VCPUS);
    }
    say!("count: fetches {fetches}");
    say!("count: pages_in_the_log {named}");
}

/// Brings the copy of one group up to date; gives how many pages had been written.
fn fetch(group: usize, copy: &mut Words) -> u32 {
    let pages = group * GROUP..(group + 1) * GROUP;
    let before: [[u64; WRITERS]; GROUP] = core::array::from_fn(|index| words(pages.start + index));
    let mask = exerciser::fetch_log(FIRST + pages.start as u64 * PAGE, GROUP as u32);
    for (index, page) in pages.enumerate() {
        if mask & 1 << index != 0 {
            copy[page] = words(page);
        } else {
            expect_eq(format_args!("page {page}, which the log does not name"), before[index], copy[page]);
        }
    }
    mask.count_ones()
}
