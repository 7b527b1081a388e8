// SPDX-License-Identifier: MIT OR Apache-2.0
//! The 8259As bring the UART's interrupt by LINT0, and by pin 0 of the I/O APIC; what they are told to hold back stays.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::interrupts;
use tests::io_apic;
use tests::local_apic;
use tests::local_apic::LocalApic;
use tests::local_apic::Register;
use tests::msr;
use tests::pic;
use tests::ports;
use tests::serial;
use tests::time;
use tests::verdict::expect;
use tests::verdict::expect_eq;

tests::program!(run);

const UART: u8 = 4;
const VECTOR: u8 = pic::VECTOR + UART;
/// Interrupt enable: the transmitter holding register is empty.
const THRE_ENABLE: u8 = 1 << 1;
/// Modem control: OUT2, which on a PC lets the interrupt out.
const OUT2: u8 = 1 << 3;
/// Delivery mode ExtINT, of LINT0 and of the I/O APIC alike.
const EXT_INT: u32 = 7 << 8;

fn run() {
    let apic = LocalApic::current();
    expect_eq("LINT0 as firmware leaves it", apic.read(Register::LVT_LINT0), EXT_INT);
    expect_eq(
        "the firmware's masks",
        (ports::in_u8(pic::FIRST_MASK), ports::in_u8(pic::SECOND_MASK)),
        (0xfb, 0xff),
    );
    interrupts::acknowledge(false);
    pic::initialize(1 << UART);
    an_interrupt_is_in_service_until_its_end();
    a_masked_line_is_requested_and_waits();
    it_waits_for_the_window_and_wakes_hlt();
    a_poll_takes_it();
    lint0_decides(apic);
    pin_0_of_the_io_apic_brings_it(apic);
    without_a_local_apic_it_comes_too();
}

/// Has the UART ask for an interrupt, since its transmitter is empty: an edge.
fn raise() {
    interrupts::forget();
    ports::out_u8(serial::MODEM_CONTROL, OUT2);
    ports::out_u8(serial::INTERRUPT_ENABLE, THRE_ENABLE);
}

/// Takes the request back, so that lines can be printed again.
fn lower() {
    ports::out_u8(serial::INTERRUPT_ENABLE, 0);
    ports::out_u8(serial::MODEM_CONTROL, 0);
    let _ = ports::in_u8(serial::INTERRUPT_IDENTIFICATION);
}

/// What arrives when the window is open for a while.
fn arrived() -> [Option<u8>; 2] {
    interrupts::enable();
    time::spin(500);
    interrupts::disable();
    interrupts::vectors()
}

fn an_interrupt_is_in_service_until_its_end() {
    raise();
    let arrived = arrived();
    let state = (pic::register(pic::READ_IRR), pic::register(pic::READ_ISR));
    lower();
    pic::end_of_interrupt(UART);
    expect_eq("vectors", arrived, [Some(VECTOR), None]);
    expect_eq("IRR and ISR in service", state, (0, 1 << UART));
    expect_eq("ISR after the end", pic::register(pic::READ_ISR), 0);
}

fn a_masked_line_is_requested_and_waits() {
    pic::unmask(0);
    raise();
    let while_masked = arrived();
    let requested = pic::register(pic::READ_IRR);
    pic::unmask(1 << UART);
    let then = arrived();
    lower();
    pic::end_of_interrupt(UART);
    expect_eq("vectors while masked", while_masked, [None, None]);
    expect_eq("IRR while masked", requested, 1 << UART);
    expect_eq("vectors when unmasked", then, [Some(VECTOR), None]);
}

fn it_waits_for_the_window_and_wakes_hlt() {
    raise();
    time::spin(500);
    let before = interrupts::count();
    interrupts::wait();
    let vectors = interrupts::vectors();
    lower();
    pic::end_of_interrupt(UART);
    expect_eq("interrupts with IF clear", before, 0);
    expect_eq("vectors after HLT", vectors, [Some(VECTOR), None]);
}

fn a_poll_takes_it() {
    raise();
    ports::out_u8(pic::FIRST, pic::POLL);
    let polled = ports::in_u8(pic::FIRST);
    let arrived = arrived();
    lower();
    pic::end_of_interrupt(UART);
    expect_eq("what the poll told", polled, 0x80 | UART);
    expect_eq("vectors after the poll", arrived, [None, None]);
}

/// SDM volume 3, 12.5.1: masked, it lets nothing through; in mode fixed it is an interrupt of its own.
fn lint0_decides(apic: LocalApic) {
    const FIXED: u8 = 0x75;
    apic.write(Register::LVT_LINT0, local_apic::MASKED | EXT_INT);
    raise();
    let masked = arrived();
    apic.write(Register::LVT_LINT0, EXT_INT);
    let unmasked = arrived();
    lower();
    pic::end_of_interrupt(UART);
    expect_eq("vectors while LINT0 is masked", masked, [None, None]);
    expect_eq("vectors when it is not", unmasked, [Some(VECTOR), None]);
    apic.write(Register::LVT_LINT0, u32::from(FIXED));
    raise();
    let fixed = arrived();
    lower();
    apic.end_of_interrupt();
    apic.write(Register::LVT_LINT0, EXT_INT);
    expect_eq("vectors by LINT0 in mode fixed", fixed, [Some(FIXED), None]);
}

fn pin_0_of_the_io_apic_brings_it(apic: LocalApic) {
    apic.write(Register::LVT_LINT0, local_apic::MASKED | EXT_INT);
    io_apic::redirect(0, EXT_INT.into());
    raise();
    let arrived = arrived();
    lower();
    pic::end_of_interrupt(UART);
    io_apic::redirect(0, io_apic::MASKED | u64::from(EXT_INT));
    apic.write(Register::LVT_LINT0, EXT_INT);
    expect_eq("vectors by pin 0", arrived, [Some(VECTOR), None]);
}

/// SDM volume 3, 12.4.3: then LINT0 is the processor's INTR.
fn without_a_local_apic_it_comes_too() {
    let base = msr::get(msr::APIC_BASE);
    msr::set(msr::APIC_BASE, base & !msr::APIC_BASE_EN);
    raise();
    let arrived = arrived();
    lower();
    pic::end_of_interrupt(UART);
    msr::set(msr::APIC_BASE, base);
    expect_eq("vectors without a local APIC", arrived, [Some(VECTOR), None]);
    expect(
        "LINT0 is masked by RESET",
        LocalApic::current().read(Register::LVT_LINT0) & local_apic::MASKED != 0,
    );
}
