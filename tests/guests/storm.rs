// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that does nothing but exit: storms of each kind in turn, for ever.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::cpuid;
use tests::interrupts;
use tests::local_apic;
use tests::local_apic::LocalApic;
use tests::physical;
use tests::ports;
use tests::say;
use tests::serial;
use tests::time;

tests::program!(run);

const VECTOR: u8 = 0x40;
const IO_APIC_WINDOW: u64 = 0xfec0_0010;
const PIT_CHANNEL_0: u16 = 0x40;
const PIT_CONTROL: u16 = 0x43;
/// Channel 0, both bytes, rate generator.
const PIT_RATE: u8 = 0x34;
const STORM_US: u64 = 20_000;

fn run() {
    let apic = LocalApic::enabled();
    say!("storms begin");
    loop {
        storm(|| _ = ports::in_u8(serial::LINE_STATUS));
        storm(|| b"xxxxxxx\n".iter().for_each(|&byte| ports::out_u8(serial::COM1, byte)));
        storm(|| _ = physical::read::<u32>(IO_APIC_WINDOW));
        storm(|| _ = cpuid::leaf(0));
        storm(|| {
            [(PIT_CONTROL, PIT_RATE), (PIT_CHANNEL_0, 2), (PIT_CHANNEL_0, 0)]
                .map(|(port, value)| ports::out_u8(port, value))
                .map(drop)
        });
        interrupts::enable();
        storm(|| apic.interrupt_self(VECTOR));
        apic.start_timer(VECTOR, local_apic::PERIODIC, 1);
        storm(|| {});
        apic.stop_timer();
        interrupts::disable();
        // It sleeps, and wakes at once.
        storm(|| {
            apic.start_timer(VECTOR, 0, 10);
            interrupts::wait();
        });
        interrupts::forget();
    }
}

/// Does that again and again, for some time.
fn storm<R>(mut exit: impl FnMut() -> R) {
    let start = time::tsc();
    let ticks = time::ticks(STORM_US);
    while time::tsc() - start < ticks {
        exit();
    }
}
