// SPDX-License-Identifier: MIT OR Apache-2.0
//! How late an interrupt of the local APIC's timer is: the TSC at its handler's first instruction, less the deadline.
//!
//! Exits are those of the whole way: to set the deadline, to wait, to be interrupted, and to end the interrupt.

use tests::arrival;
use tests::bench::Bench;
use tests::bench::Often;
use tests::local_apic;
use tests::local_apic::LocalApic;
use tests::local_apic::Register;
use tests::msr;
use tests::time;

/// How far deadlines lie ahead, in ticks: longer than it takes to set them, or to come to rest in HLT, with hypervisors below.
const SPINNING: u64 = 200_000;
const HALTED: u64 = 1_000_000;

const OFTEN: Often = Often { unit: 1, warm_up: 2, batch: 1, counted: 50, beside: 0 };

pub fn measure(bench: &mut Bench) {
    let apic = LocalApic::current();
    arrival::prepare();
    apic.write(Register::LVT_TIMER, local_apic::DEADLINE | u32::from(arrival::VECTOR));
    bench.measure("timer_latency", OFTEN, |times| late(apic, times, SPINNING, arrival::spinning));
    bench.measure("timer_latency_halted", OFTEN, |times| late(apic, times, HALTED, arrival::halted));
    apic.write(Register::LVT_TIMER, local_apic::DEADLINE | local_apic::MASKED);
}

/// By how much so many of them are late together.
fn late(apic: LocalApic, times: u64, ahead: u64, wait: fn() -> u64) -> u64 {
    let each = || {
        let deadline = time::tsc() + ahead;
        msr::set(msr::TSC_DEADLINE, deadline);
        let arrival = wait();
        apic.end_of_interrupt();
        // Where the timer is early, on purpose, it is not late.
        arrival.saturating_sub(deadline)
    };
    (0..times).map(|_| each()).sum()
}
