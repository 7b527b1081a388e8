// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine below takes its TSC for one of another rate, over and over: clocks and timers of the guest stay one, and go slower or
//! faster together.
//!
//! The processor's TSC goes on as before, so what Satori takes for twice as fast makes a second of the guest's two. How fast its
//! clocks really are, the guest sees by how long it computes.
#![cfg_attr(target_os = "none", no_std, no_main)]

use core::hint::black_box;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::Release;
use tests::catalogue;
use tests::effort;
use tests::exerciser;
use tests::interrupts;
use tests::local_apic;
use tests::local_apic::LocalApic;
use tests::local_apic::Register;
use tests::msr;
use tests::processors;
use tests::time;
use tests::verdict::expect;
use tests::verdict::expect_within;

tests::program!(run);

const VCPUS: usize = catalogue::VCPUS as usize;
const VECTOR: u8 = 0x40;

/// What the TSC is taken for, in times of its rate at the start. The last leaves all as it was.
const RATES: [(u32, u32); 7] = [(2, 1), (1, 2), (5, 3), (2, 1), (1001, 1000), (1, 4), (1, 1)];
/// How often the guest computes to see how long it takes.
const ATTEMPTS: usize = 5;
const STEPS: u64 = 200_000;
/// How late an interrupt may be, in microseconds.
const LATE_US: u64 = 20_000;
/// The same where vCPUs share a CPU: a few turns of the others, at a quarter of the rate.
const LATE_AMONG_OTHERS_US: u64 = 200_000;
/// What two CPUs' clocks may differ by, in microseconds.
const APART_US: u64 = 100;
const CHANGES: u64 = 40;

fn run() {
    let apic = LocalApic::enabled();
    let at_first = compute();
    for (numerator, denominator) in RATES {
        a_deadline_that_was_set_before_still_holds(apic, numerator, denominator);
        let expected = at_first * u64::from(denominator) / u64::from(numerator);
        let what = format_args!("ticks of a TSC that is taken for {numerator}/{denominator}");
        expect_within(what, compute(), expected - expected / 8..=expected + expected / 8);
        all_ways_to_read_it_agree();
        the_apic_timer_keeps_step(apic);
        deadlines_hold(apic);
    }
    processors::together(VCPUS, amid_changes);
    exerciser::pretend_rate(1, 1);
}

/// Ticks of the TSC in which the guest does always the same.
fn compute() -> u64 {
    let once = || {
        let start = time::tsc();
        for step in 0..STEPS {
            black_box(step);
        }
        time::tsc() - start
    };
    (0..ATTEMPTS).map(|_| once()).min().unwrap_or(0)
}

fn a_deadline_that_was_set_before_still_holds(apic: LocalApic, numerator: u32, denominator: u32) {
    apic.write(Register::LVT_TIMER, local_apic::DEADLINE | u32::from(VECTOR));
    interrupts::forget();
    let before = time::tsc();
    let deadline = before + time::ticks(60_000);
    msr::set(msr::TSC_DEADLINE, deadline);
    exerciser::pretend_rate(numerator, denominator);
    let after = time::tsc();
    expect_within(
        "the TSC after it was exchanged",
        after,
        before..=before + time::ticks(time::patience(30_000)),
    );
    arrives(deadline, LATE_US);
}

fn all_ways_to_read_it_agree() {
    msr::set(msr::TSC_AUX, 0x1357_9bdf);
    let mut last = time::tsc();
    for _ in 0..effort::of(1_000) {
        let (now, aux) = time::tsc_and_aux();
        expect("RDTSCP reads TSC_AUX", aux == 0x1357_9bdf);
        for now in [now, msr::get(msr::TSC), time::tsc()] {
            expect("the TSC goes forward", now > last);
            last = now;
        }
    }
}

/// The crystal that CPUID leaf 0x15 tells drives the timer; with a ratio of 1 they count alike (SDM volume 3, 12.5.4).
fn the_apic_timer_keeps_step(apic: LocalApic) {
    apic.start_timer(VECTOR, local_apic::MASKED, u32::MAX);
    let start = time::tsc_with(|| apic.read(Register::CURRENT_COUNT));
    time::spin(5_000);
    let end = time::tsc_with(|| apic.read(Register::CURRENT_COUNT));
    let elapsed = end.0 - start.0;
    let counted = u64::from(start.1.wrapping_sub(end.1));
    let slack = elapsed / 50;
    expect_within("ticks of the timer by the TSC", counted, elapsed - slack..=elapsed + slack);
    apic.stop_timer();
}

fn deadlines_hold(apic: LocalApic) {
    apic.write(Register::LVT_TIMER, local_apic::DEADLINE | u32::from(VECTOR));
    for microseconds in [10, 3_000, 500] {
        interrupts::forget();
        let deadline = time::tsc() + time::ticks(microseconds);
        msr::set(msr::TSC_DEADLINE, deadline);
        arrives(deadline, LATE_US);
    }
    apic.stop_timer();
}

/// Halts until the timer's interrupt comes, which is when the TSC is past the deadline, and not much later.
#[track_caller]
fn arrives(deadline: u64, late_us: u64) {
    while interrupts::count() == 0 {
        interrupts::wait();
    }
    let seen = interrupts::event(0).map_or(0, |event| event.tsc);
    expect_within(
        "the TSC at the deadline",
        seen,
        deadline..=deadline + time::ticks(time::patience(late_us)),
    );
}

/// The first changes the rate, the others wait for their timers meanwhile.
fn amid_changes(number: usize) {
    static DONE: AtomicBool = AtomicBool::new(false);
    static LATEST: AtomicU64 = AtomicU64::new(0);
    let apic = LocalApic::current();
    let note = || {
        let latest = LATEST.load(Acquire);
        let now = time::tsc();
        expect("no vCPU's TSC is behind the others'", now + time::ticks(APART_US) >= latest);
        LATEST.fetch_max(now, Release);
    };
    if number == 0 {
        for change in 0..effort::of(CHANGES).max(RATES.len() as u64) as usize {
            let (numerator, denominator) = RATES[change % RATES.len()];
            exerciser::pretend_rate(numerator, denominator);
            for _ in 0..20 {
                time::spin(200);
                note();
            }
        }
        DONE.store(true, Relaxed);
        return;
    }
    apic.write(Register::LVT_TIMER, local_apic::DEADLINE | u32::from(VECTOR));
    while !DONE.load(Relaxed) {
        interrupts::forget();
        let deadline = time::tsc() + time::ticks(300 * number as u64);
        msr::set(msr::TSC_DEADLINE, deadline);
        arrives(deadline, LATE_AMONG_OTHERS_US);
        note();
    }
    apic.stop_timer();
}
