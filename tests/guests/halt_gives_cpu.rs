// SPDX-License-Identifier: MIT OR Apache-2.0
//! A halted vCPU leaves its CPU to the others, and its timer still wakes it: on time, in order, over a vCPU that spins.
#![cfg_attr(target_os = "none", no_std, no_main)]

use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;
use tests::catalogue;
use tests::interrupts;
use tests::local_apic::LocalApic;
use tests::processors;
use tests::say;
use tests::time;
use tests::verdict::expect_eq;
use tests::verdict::expect_within;

tests::program!(run);

const VCPUS: usize = catalogue::VCPUS as usize;
const WAKE: u8 = 0x50;
const TIMER: u8 = 0x51;

/// How long the first vCPU computes, to see how much it gets done, in microseconds.
const COMPUTES_US: u64 = 50_000;
/// In hundredths of what it gets done while no other vCPU has been started.
const LEAST_WITH_OTHERS_HALTED: u64 = 80;

/// How long after each other the timers are due, and how late they may be, in microseconds.
const APART_US: u64 = 30_000;
const LATE_US: u64 = 25_000;
const ROUNDS: u64 = 5;

/// When each vCPU is to wake next, and when it has; 0 for "not yet".
static DUE: [AtomicU64; VCPUS] = [const { AtomicU64::new(0) }; VCPUS];
static WOKE: [AtomicU64; VCPUS] = [const { AtomicU64::new(0) }; VCPUS];
static SLEEPING: AtomicBool = AtomicBool::new(true);

fn run() {
    let alone = computed();
    for number in 1..VCPUS {
        processors::start(number, sleep);
    }
    // The last one has yet to reach its HLT.
    time::spin(1_000);
    let with_others_halted = computed();
    say!("count: hundredths_with_others_halted {}", with_others_halted * 100 / alone);
    let least = alone * LEAST_WITH_OTHERS_HALTED / 100;
    expect_within("rounds while the others are halted", with_others_halted, least..=2 * alone);
    SLEEPING.store(false, Release);
    for number in 1..VCPUS {
        LocalApic::current().send(number as u32, WAKE.into());
    }
    timers_fire_in_order();
}

fn computed() -> u64 {
    let end = time::tsc() + time::ticks(COMPUTES_US);
    let mut rounds = 0;
    while time::tsc() < end {
        rounds += 1;
    }
    rounds
}

/// Halts until it is told otherwise; then sets its timer as it is told, and halts until that has fired.
fn sleep(number: usize) {
    while SLEEPING.load(Acquire) {
        interrupts::wait();
    }
    let apic = LocalApic::current();
    loop {
        // This one may spin: until it has been told, nothing is measured.
        tests::sync::until(|| DUE[number].load(Acquire) != 0);
        let due = DUE[number].swap(0, Relaxed);
        interrupts::forget();
        let ticks = due.saturating_sub(time::tsc());
        apic.start_timer(TIMER, 0, u32::try_from(ticks).unwrap_or(u32::MAX));
        interrupts::wait();
        expect_eq("what ended HLT", interrupts::vectors(), [Some(TIMER), None]);
        WOKE[number].store(interrupts::event(0).map_or(1, |event| event.tsc), Release);
    }
}

fn timers_fire_in_order() {
    for round in 0..ROUNDS {
        let start = time::tsc();
        // Another order in each round.
        let due: [u64; VCPUS] = core::array::from_fn(|number| {
            start + time::ticks(APART_US) * (1 + (number as u64 + round) % (VCPUS as u64 - 1))
        });
        for number in 1..VCPUS {
            DUE[number].store(due[number], Release);
        }
        time::wait_for("the timers of all halted vCPUs", 2_000_000, || {
            (1..VCPUS).all(|number| WOKE[number].load(Acquire) != 0)
        });
        for number in 1..VCPUS {
            let woke = WOKE[number].swap(0, Relaxed);
            let latest = due[number] + time::ticks(LATE_US);
            expect_within(format_args!("TSC when vCPU {number} woke"), woke, due[number]..=latest);
        }
    }
}
