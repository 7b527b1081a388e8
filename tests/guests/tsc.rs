// SPDX-License-Identifier: MIT OR Apache-2.0
//! The TSC never goes back, ticks as CPUID and the local APIC's timer say, and moves as TSC_ADJUST and TSC are written.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::cpuid;
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

/// Slack of one measurement, in microseconds: an exit or two, and what else an L0 may do meanwhile.
const SLACK_US: u64 = 2_000;

fn run() {
    let apic = LocalApic::enabled();
    it_never_goes_back();
    the_apic_timer_counts_at_its_rate(apic);
    rdtscp_reads_the_same_clock();
    tsc_adjust_moves_it();
    writing_it_moves_tsc_adjust();
    deadlines_follow_it(apic);
}

fn it_never_goes_back() {
    let mut last = time::tsc();
    for round in 0..20_000 {
        if round % 4 == 0 {
            let _ = cpuid::leaf(0);
        }
        let now = time::tsc();
        expect("the TSC goes forward", now > last);
        last = now;
    }
    let by_msr = msr::get(msr::TSC);
    expect_within("the TSC by RDMSR", by_msr, last..=time::tsc());
}

/// The crystal that CPUID leaf 0x15 tells drives the timer; with a ratio of 1 they count alike (SDM volume 3, 12.5.4).
fn the_apic_timer_counts_at_its_rate(apic: LocalApic) {
    for (divide, by) in [(local_apic::DIVIDE_BY_1, 1), (0b0000, 2), (0b0011, 16), (0b1010, 128)] {
        apic.write(Register::DIVIDE, divide);
        apic.write(Register::LVT_TIMER, local_apic::MASKED);
        apic.write(Register::INITIAL_COUNT, u32::MAX);
        let start = time::tsc_with(|| apic.read(Register::CURRENT_COUNT));
        time::spin(5_000);
        let end = time::tsc_with(|| apic.read(Register::CURRENT_COUNT));
        let elapsed = end.0 - start.0;
        let counted = u64::from(start.1.wrapping_sub(end.1)) * by;
        let slack = elapsed / 50 + 2 * by;
        let what = format_args!("ticks of the timer, divided by {by}, while the TSC counts {elapsed}");
        expect_within(what, counted, elapsed - slack..=elapsed + slack);
    }
    apic.stop_timer();
}

fn rdtscp_reads_the_same_clock() {
    msr::set(msr::TSC_AUX, 0x1357_9bdf);
    let before = time::tsc();
    let (now, aux) = time::tsc_and_aux();
    expect_within("the TSC by RDTSCP", now, before..=time::tsc());
    expect_eq("ECX of RDTSCP", aux, 0x1357_9bdf);
}

fn tsc_adjust_moves_it() {
    let slack = time::ticks(time::patience(SLACK_US));
    let adjust = msr::get(msr::TSC_ADJUST);
    for jump in [1 << 40, 3 << 50, 12_345_678_901] {
        let before = time::tsc();
        msr::set(msr::TSC_ADJUST, adjust.wrapping_add(jump));
        let after = time::tsc();
        expect_within("the TSC after TSC_ADJUST moved it", after - before, jump..=jump + slack);
        expect_eq("TSC_ADJUST reads what was written", msr::get(msr::TSC_ADJUST), adjust.wrapping_add(jump));
        msr::set(msr::TSC_ADJUST, adjust);
        let back = time::tsc();
        expect_within("the TSC after TSC_ADJUST moved it back", back - before, 0..=2 * slack);
    }
}

/// SDM volume 3, 20.17.3: a write that adds X to the TSC adds X to TSC_ADJUST.
fn writing_it_moves_tsc_adjust() {
    let slack = time::ticks(time::patience(SLACK_US));
    for target in [1 << 45, 0, 1 << 33] {
        let (adjust, before) = (msr::get(msr::TSC_ADJUST), time::tsc());
        msr::set(msr::TSC, target);
        let after = time::tsc();
        expect_within("the TSC after it was written", after, target..=target + slack);
        let moved = msr::get(msr::TSC_ADJUST).wrapping_sub(adjust);
        // What was added is the target less the TSC at the write, which is a little more than `before`.
        let short = target.wrapping_sub(before).wrapping_sub(moved);
        expect_within("TSC_ADJUST after the TSC was written", short, 0..=slack);
    }
}

/// A deadline is a value of the TSC as the guest sees it, also after the guest has moved it.
fn deadlines_follow_it(apic: LocalApic) {
    apic.write(Register::LVT_TIMER, local_apic::DEADLINE | 0x40);
    for target in [1 << 50, 1000] {
        msr::set(msr::TSC, target);
        interrupts::forget();
        let deadline = time::tsc() + time::ticks(1_000);
        msr::set(msr::TSC_DEADLINE, deadline);
        interrupts::enable();
        time::wait_for("the deadline", 100_000, || interrupts::count() > 0);
        interrupts::disable();
        let seen = interrupts::event(0).map_or(0, |event| event.tsc);
        expect_within("the TSC at the deadline", seen, deadline..=deadline + time::ticks(20_000));
    }
    apic.stop_timer();
}
