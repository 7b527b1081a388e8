// SPDX-License-Identifier: MIT OR Apache-2.0
//! The 8254: channel 0 interrupts by the 8259As and by the I/O APIC as often as it is told to, and no storm of it stops its guest;
//! channel 2 counts while its gate lets it.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::interrupts;
use tests::io_apic;
use tests::local_apic::LocalApic;
use tests::pic;
use tests::pit;
use tests::ports;
use tests::start_info;
use tests::time;
use tests::verdict::expect;
use tests::verdict::expect_eq;
use tests::verdict::expect_within;

tests::program!(run);

/// The pin of IRQ 0 at the I/O APIC.
const PIN: u8 = 2;
const VECTOR: u8 = 0x42;
/// How late an interrupt may be, in microseconds.
const LATE_US: u64 = 2_000;
/// Ticks of 1 kHz.
const PERIOD: u16 = 1193;

const RATE_GENERATOR: u8 = 2;
const SQUARE_WAVE: u8 = 3;
const STROBE: u8 = 4;

fn run() {
    let _ = LocalApic::enabled();
    channel_2_counts_down_once();
    channel_2_is_held_by_its_gate();
    refresh_toggles();
    counts_follow_the_tsc();
    by_the_8259as();
    io_apic::redirect(PIN, VECTOR.into());
    for mode in [RATE_GENERATOR, SQUARE_WAVE] {
        periodic(mode);
    }
    one_shot();
    // With KVM below, where each instruction is emulated, even one of the interrupts that are left takes longer than to the next.
    if start_info::number("kvm-below").is_none() {
        a_storm_leaves_time();
    }
}

/// As kernels measure their TSC.
fn channel_2_counts_down_once() {
    const TICKS: u16 = 11_931;
    ports::out_u8(pit::PORT_B, pit::GATE);
    // Whoever is below may stop the machine while it begins to count.
    let before = time::tsc();
    pit::program(2, 0, TICKS);
    let start = time::tsc();
    expect_eq("output of channel 2 at first", ports::in_u8(pit::PORT_B) & pit::OUTPUT, 0);
    time::wait_for("channel 2", 100_000, || ports::in_u8(pit::PORT_B) & pit::OUTPUT != 0);
    let end = time::tsc();
    let expected = pit::tsc_ticks(TICKS.into());
    expect_within("10 ms by channel 2, at least", end - before, expected - expected / 1000..=u64::MAX);
    let latest = expected + time::ticks(time::patience(LATE_US));
    expect_within("10 ms by channel 2, at most", end - start, 0..=latest);
}

fn channel_2_is_held_by_its_gate() {
    ports::out_u8(pit::PORT_B, 0);
    pit::program(2, 0, 30_000);
    let held = pit::read(2);
    time::spin(200);
    expect_eq("count while the gate is low", pit::read(2), held);
    ports::out_u8(pit::PORT_B, pit::GATE);
    time::spin(200);
    expect("the count goes on once the gate is high", pit::read(2) < held - 200);
    ports::out_u8(pit::PORT_B, 0);
}

fn refresh_toggles() {
    let refresh = || ports::in_u8(pit::PORT_B) & pit::REFRESH;
    let first = refresh();
    time::wait_for("the refresh toggle", 1_000, || refresh() != first);
    time::wait_for("the refresh toggle, back", 1_000, || refresh() == first);
}

fn counts_follow_the_tsc() {
    pit::program(0, RATE_GENERATOR, 0);
    let (start, first) = time::tsc_with(|| pit::read(0));
    time::spin(10_000);
    let (end, last) = time::tsc_with(|| pit::read(0));
    let ticks = pit::tsc_ticks(u64::from(first.wrapping_sub(last)));
    let slack = time::ticks(time::patience(20));
    expect_within(
        "ticks of channel 0 in TSC's",
        ticks,
        (end - start).saturating_sub(slack)..=end - start + slack,
    );
    pit::stop();
}

fn by_the_8259as() {
    interrupts::acknowledge(false);
    pic::initialize(1);
    interrupts::forget();
    let start = time::tsc();
    pit::program(0, RATE_GENERATOR, PERIOD);
    // The output rises with the mode: on a PC, too, that is an interrupt.
    for _ in 0..10 {
        interrupts::wait();
        pic::end_of_interrupt(0);
    }
    let elapsed = time::tsc() - start;
    pit::stop();
    interrupts::take_pending();
    pic::end_of_interrupt(0);
    pic::unmask(0);
    interrupts::acknowledge(true);
    expect_eq("vectors", interrupts::vectors(), [Some(pic::VECTOR); 2]);
    let period = pit::tsc_ticks(PERIOD.into());
    let late = time::ticks(time::patience(LATE_US));
    expect_within("ten interrupts by the 8259As", elapsed, 9 * period - period / 10..=10 * period + late);
}

fn periodic(mode: u8) {
    const INTERRUPTS: usize = 20;
    pit::program(0, mode, PERIOD);
    interrupts::take_pending();
    interrupts::forget();
    let start = time::tsc();
    while interrupts::count() < INTERRUPTS {
        interrupts::wait();
    }
    let elapsed = time::tsc() - start;
    pit::stop();
    interrupts::take_pending();
    expect_eq("vectors", interrupts::vectors(), [Some(VECTOR); 3]);
    let period = pit::tsc_ticks(PERIOD.into());
    let expected = INTERRUPTS as u64 * period;
    let late = time::ticks(time::patience(LATE_US));
    expect_within(format_args!("20 periods of mode {mode}"), elapsed, expected - period..=expected + late);
}

/// As Linux uses it: a strobe for each of its ticks.
fn one_shot() {
    pit::program(0, STROBE, PERIOD);
    interrupts::wait();
    interrupts::forget();
    for (number, count) in [PERIOD, 200, 5 * PERIOD].into_iter().enumerate() {
        let start = time::tsc();
        pit::write(0, count);
        interrupts::wait();
        let elapsed = time::tsc() - start;
        let expected = pit::tsc_ticks(count.into());
        let latest = expected + time::ticks(time::patience(LATE_US));
        expect_within(format_args!("strobe {number}"), elapsed, expected..=latest);
    }
    time::spin(3_000);
    interrupts::take_pending();
    expect_eq("strobes in all", interrupts::count(), 3);
}

/// Some half a million interrupts a second are asked for. The guest has time for other things, and does not get them all.
fn a_storm_leaves_time() {
    const WHILE_US: u64 = 20_000;
    interrupts::forget();
    pit::program(0, RATE_GENERATOR, 2);
    interrupts::enable();
    let start = time::tsc();
    time::spin(WHILE_US);
    let elapsed = time::tsc() - start;
    interrupts::disable();
    let arrived = interrupts::count() as u64;
    pit::stop();
    expect_within("how long 20 ms took", elapsed, 0..=time::ticks(time::patience(2 * WHILE_US)));
    // Ten thousand in a second are the most.
    let most = elapsed / time::ticks(100) + 2;
    expect_within("interrupts of a storm", arrived, 20..=most);
}
