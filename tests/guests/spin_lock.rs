// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks on which vCPUs spin, on fewer CPUs: they keep others out, and whoever has one is not starved by those who wait.
#![cfg_attr(target_os = "none", no_std, no_main)]

use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use tests::catalogue;
use tests::effort;
use tests::processors;
use tests::say;
use tests::sync::SpinLock;
use tests::sync::TicketLock;
use tests::time;
use tests::verdict::expect_eq;
use tests::verdict::expect_within;

tests::program!(run);

const VCPUS: usize = catalogue::VCPUS as usize;

/// How often each vCPU takes the lock that goes in turn.
const TURNS: u64 = 500;
/// With fewer, the time until they have all started would count.
const FEWEST_TURNS: u64 = 50;
/// Each time the lock goes to a vCPU that may not be on a CPU. A whole time slice for each would be far too long.
const LONGEST_HANDOVER_US: u64 = 1_000;

/// How long they all go after the lock that goes to the quickest, in microseconds.
const RACE_US: u64 = 300_000;
/// None of them has it less often than this part of its share.
const LEAST_PART: u64 = 50;

static COUNT: AtomicU64 = AtomicU64::new(0);
static TAKEN: [AtomicU64; VCPUS] = [const { AtomicU64::new(0) }; VCPUS];
static OVER: AtomicBool = AtomicBool::new(false);

fn run() {
    let start = time::tsc();
    processors::together(VCPUS, take_turns);
    let took = time::tsc() - start;
    let turns = turns_of_each() * VCPUS as u64;
    expect_eq("what was counted under the lock that goes in turn", COUNT.swap(0, Relaxed), turns);
    let most = turns * time::ticks(LONGEST_HANDOVER_US);
    expect_within("ticks for all turns", took, 0..=most);
    say!("count: ticks_per_turn {}", took / turns);

    processors::together(VCPUS, race);
    let taken = TAKEN.each_ref().map(|taken| taken.load(Relaxed));
    let all: u64 = taken.iter().sum();
    expect_eq("what was counted under the lock that goes to the quickest", COUNT.load(Relaxed), all);
    for (vcpu, taken) in taken.into_iter().enumerate() {
        say!("count: taken_by_{vcpu} {taken}");
        let least = all / VCPUS as u64 / LEAST_PART;
        expect_within(format_args!("how often vCPU {vcpu} had the lock"), taken, least.max(1)..=all);
    }
}

fn turns_of_each() -> u64 {
    effort::of(TURNS).max(FEWEST_TURNS)
}

/// No atomic addition: two at a time would lose one.
fn count() {
    let count = COUNT.load(Relaxed);
    for _ in 0..20 {
        core::hint::black_box(());
    }
    COUNT.store(count + 1, Relaxed);
}

fn take_turns(_: usize) {
    static LOCK: TicketLock = TicketLock::new();
    for _ in 0..turns_of_each() {
        LOCK.with(count);
    }
}

fn race(number: usize) {
    static LOCK: SpinLock = SpinLock::new();
    let end = time::tsc() + time::ticks(RACE_US);
    while !OVER.load(Relaxed) {
        LOCK.with(count);
        TAKEN[number].fetch_add(1, Relaxed);
        if number == 0 && time::tsc() > end {
            OVER.store(true, Relaxed);
        }
    }
}
