// SPDX-License-Identifier: MIT OR Apache-2.0
//! A halted vCPU leaves its CPU to the others, and its timer still wakes it: on time, in order, over a vCPU that spins.
#![cfg_attr(target_os = "none", no_std, no_main)]

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

/// Halts until it is told when to wake; then sets its timer and halts until that has fired. Over and over.
fn sleep(number: usize) {
    let apic = LocalApic::current();
    loop {
        while DUE[number].load(Acquire) == 0 {
            interrupts::wait();
        }
        interrupts::forget();
        let ticks = DUE[number].swap(0, Relaxed).saturating_sub(time::tsc());
        // A count of zero would never fire.
        apic.start_timer(TIMER, 0, u32::try_from(ticks.max(1)).unwrap_or(u32::MAX));
        WOKE[number].store(timer_fired(), Release);
    }
}

/// Halts until the timer's interrupt is among those that arrived, and gives the TSC in its handler.
fn timer_fired() -> u64 {
    loop {
        interrupts::wait();
        let mut events = (0..interrupts::count()).filter_map(interrupts::event);
        if let Some(event) = events.find(|event| event.vector == TIMER) {
            return event.tsc;
        }
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
            LocalApic::current().send(number as u32, WAKE.into());
        }
        time::wait_for("the timers of all halted vCPUs", 2_000_000, || {
            (1..VCPUS).all(|number| WOKE[number].load(Acquire) != 0)
        });
        for number in 1..VCPUS {
            let woke = WOKE[number].swap(0, Relaxed);
            let latest = due[number] + time::ticks(time::patience(LATE_US));
            expect_within(format_args!("TSC when vCPU {number} woke"), woke, due[number]..=latest);
        }
    }
}
