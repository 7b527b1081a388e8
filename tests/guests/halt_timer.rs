// SPDX-License-Identifier: MIT OR Apache-2.0
//! The local APIC's timer wakes HLT in each of its modes: not before its time, soon after it, and exactly as often as asked.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::interrupts;
use tests::local_apic;
use tests::local_apic::LocalApic;
use tests::local_apic::Register;
use tests::msr;
use tests::time;
use tests::verdict::expect;
use tests::verdict::expect_eq;
use tests::verdict::expect_within;

tests::program!(run);

const VECTOR: u8 = 0x40;
/// How late an interrupt may be, in microseconds.
const LATE_US: u64 = 20_000;

fn run() {
    let apic = LocalApic::enabled();
    // First without HLT, so that a timer that never fires ends in a failure instead of a halt.
    the_timer_fires(apic);
    a_masked_timer_does_not_fire(apic);
    halt_ends_at_once_if_an_interrupt_waits(apic);
    one_shot(apic);
    periodic(apic);
    deadline(apic);
    a_deadline_in_the_past_fires_at_once(apic);
    a_deadline_of_zero_disarms(apic);
    other_modes_ignore_the_deadline(apic);
}

fn count_for(microseconds: u64) -> u32 {
    u32::try_from(time::ticks(microseconds)).unwrap_or(u32::MAX)
}

/// Nothing more arrives within some time in which the window is open.
#[track_caller]
fn expect_no_more_than(arrived: usize) {
    interrupts::enable();
    time::spin(time::patience(2_000));
    interrupts::disable();
    expect_eq("interrupts in all", interrupts::count(), arrived);
}

#[track_caller]
fn arrival(number: usize) -> u64 {
    let event = interrupts::event(number);
    expect_eq("vector that arrived", event.map(|event| event.vector), Some(VECTOR));
    event.map_or(0, |event| event.tsc)
}

fn the_timer_fires(apic: LocalApic) {
    interrupts::forget();
    apic.start_timer(VECTOR, 0, count_for(500));
    interrupts::enable();
    time::wait_for("the one-shot timer", 100_000, || interrupts::count() == 1);
    interrupts::disable();
    expect_eq("current count after one shot", apic.read(Register::CURRENT_COUNT), 0);
}

fn a_masked_timer_does_not_fire(apic: LocalApic) {
    interrupts::forget();
    apic.start_timer(VECTOR, local_apic::MASKED, count_for(200));
    time::wait_for("the end of a masked count", 100_000, || apic.read(Register::CURRENT_COUNT) == 0);
    expect_no_more_than(0);
}

fn halt_ends_at_once_if_an_interrupt_waits(apic: LocalApic) {
    interrupts::forget();
    apic.interrupt_self(VECTOR);
    interrupts::wait();
    expect_eq("interrupts after HLT", interrupts::vectors(), [Some(VECTOR), None]);
}

fn one_shot(apic: LocalApic) {
    interrupts::forget();
    for (number, microseconds) in [1_000, 10, 3_000, 200, 1_000].into_iter().enumerate() {
        let start = time::tsc();
        let count = count_for(microseconds);
        apic.start_timer(VECTOR, 0, count);
        interrupts::wait();
        expect_eq("interrupts so far", interrupts::count(), number + 1);
        let elapsed = arrival(number) - start;
        let latest = u64::from(count) + time::ticks(time::patience(LATE_US));
        expect_within("ticks to the one shot", elapsed, count.into()..=latest);
    }
    expect_no_more_than(5);
}

fn periodic(apic: LocalApic) {
    const TICKS: usize = 20;
    const PERIOD_US: u64 = 1_000;
    interrupts::forget();
    let count = count_for(PERIOD_US);
    let start = time::tsc();
    apic.start_timer(VECTOR, local_apic::PERIODIC, count);
    // Where the machine was stopped for a while, several come at once, perhaps some more than were waited for.
    while interrupts::count() < TICKS {
        interrupts::wait();
    }
    apic.stop_timer();
    interrupts::take_pending();
    let ticks = interrupts::count();
    for number in 0..ticks {
        let due = start + u64::from(count) * (number as u64 + 1);
        expect_within(
            "TSC at a periodic tick",
            arrival(number),
            due..=due + time::ticks(time::patience(LATE_US)),
        );
    }
    expect_no_more_than(ticks);
}

fn deadline(apic: LocalApic) {
    interrupts::forget();
    apic.write(Register::LVT_TIMER, local_apic::DEADLINE | u32::from(VECTOR));
    for (number, microseconds) in [1_000, 20, 3_000, 200, 1_000].into_iter().enumerate() {
        let deadline = time::tsc() + time::ticks(microseconds);
        msr::set(msr::TSC_DEADLINE, deadline);
        interrupts::wait();
        expect_eq("interrupts so far", interrupts::count(), number + 1);
        expect_within(
            "TSC at the deadline",
            arrival(number),
            deadline..=deadline + time::ticks(time::patience(LATE_US)),
        );
        expect_eq("TSC_DEADLINE after it fired", msr::get(msr::TSC_DEADLINE), 0);
    }
    apic.write(Register::INITIAL_COUNT, count_for(100));
    expect_no_more_than(5);
}

fn a_deadline_in_the_past_fires_at_once(apic: LocalApic) {
    interrupts::forget();
    apic.write(Register::LVT_TIMER, local_apic::DEADLINE | u32::from(VECTOR));
    msr::set(msr::TSC_DEADLINE, time::tsc() - 1);
    interrupts::wait();
    expect_eq("interrupts after HLT", interrupts::vectors(), [Some(VECTOR), None]);
}

fn a_deadline_of_zero_disarms(apic: LocalApic) {
    interrupts::forget();
    apic.write(Register::LVT_TIMER, local_apic::DEADLINE | u32::from(VECTOR));
    let deadline = time::tsc() + time::ticks(time::patience(1_000));
    msr::set(msr::TSC_DEADLINE, deadline);
    expect_eq("TSC_DEADLINE while armed", msr::get(msr::TSC_DEADLINE), deadline);
    msr::set(msr::TSC_DEADLINE, 0);
    expect("the deadline was disarmed before it was due", time::tsc() < deadline);
    expect_no_more_than(0);
}

fn other_modes_ignore_the_deadline(apic: LocalApic) {
    interrupts::forget();
    apic.write(Register::LVT_TIMER, u32::from(VECTOR));
    msr::set(msr::TSC_DEADLINE, time::tsc() + time::ticks(100));
    expect_eq("TSC_DEADLINE in one-shot mode", msr::get(msr::TSC_DEADLINE), 0);
    expect_no_more_than(0);
}
