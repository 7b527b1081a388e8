// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ends when its power button is pressed, as an operating system does: the system-control interrupt, which is level triggered, tells
//! it (ACPI 6.5, 4.8.3.2.2).
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::interrupts;
use tests::io_apic;
use tests::local_apic::LocalApic;
use tests::ports;
use tests::say;
use tests::verdict::expect_eq;

tests::program!(run);

const STATUS: u16 = 0x600;
const ENABLE: u16 = 0x602;
const POWER_BUTTON: u16 = 1 << 8;
const SCI: u8 = 9;
const VECTOR: u8 = 0x49;

fn run() {
    let apic = LocalApic::enabled();
    // It comes again and again as long as the event is there.
    interrupts::acknowledge(false);
    io_apic::redirect(SCI, io_apic::LEVEL | u64::from(VECTOR));
    interrupts::forget();
    ports::out_u16(ENABLE, POWER_BUTTON);
    expect_eq("PM1a status before", ports::in_u16(STATUS), 0);
    say!("power_button: ready");
    interrupts::wait();
    expect_eq("the first interrupt", interrupts::event(0).map(|event| event.vector), Some(VECTOR));
    expect_eq("PM1a status when it has come", ports::in_u16(STATUS), POWER_BUTTON);
    ports::out_u16(STATUS, POWER_BUTTON);
    expect_eq("PM1a status when it was cleared", ports::in_u16(STATUS), 0);
    apic.end_of_interrupt();
    interrupts::take_pending();
    expect_eq("interrupts in all", interrupts::count(), 1);
}
