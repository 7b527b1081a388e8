// SPDX-License-Identifier: MIT OR Apache-2.0
//! The I/O APIC keeps its redirection entries, and brings the UART's interrupt from pin 4, by edge and by level.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::interrupts;
use tests::io_apic;
use tests::local_apic::LocalApic;
use tests::local_apic::Register;
use tests::ports;
use tests::serial;
use tests::time;
use tests::verdict::expect;
use tests::verdict::expect_eq;

tests::program!(run);

const PINS: u8 = 24;
const UART_PIN: u8 = 4;
const VECTOR: u8 = 0x44;

/// Redirection entry: delivery status and remote IRR, which software cannot write.
const REMOTE_IRR: u64 = 1 << 14;
const READ_ONLY: u64 = 1 << 12 | REMOTE_IRR;
/// Vector, delivery mode, destination mode, polarity, trigger mode, mask, destination.
const WRITABLE: u64 = 0xff00_0000_0001_afff;

/// Interrupt enable: the transmitter holding register is empty.
const THRE_ENABLE: u8 = 1 << 1;
/// Interrupt identification, without the bits of the FIFOs: nothing pending; transmitter empty.
const NOTHING: u8 = 1;
const THRE: u8 = 2;
/// Modem control: OUT2, which on a PC lets the interrupt out.
const OUT2: u8 = 1 << 3;

fn run() {
    let apic = LocalApic::enabled();
    it_has_24_pins();
    entries_keep_what_is_written();
    entries_are_distinct();
    an_edge_brings_one_interrupt();
    a_level_brings_it_until_it_falls(apic);
    a_masked_pin_brings_nothing();
}

fn it_has_24_pins() {
    let version = io_apic::read(io_apic::VERSION);
    expect_eq("highest redirection entry", version >> 16 & 0xff, u32::from(PINS) - 1);
    io_apic::write(io_apic::ID, 0x0500_0000);
    expect_eq("I/O APIC ID", io_apic::read(io_apic::ID) >> 24 & 0xf, 5);
    io_apic::write(io_apic::ID, 0);
}

fn entries_keep_what_is_written() {
    for pin in 0..PINS {
        expect(
            format_args!("pin {pin} is masked at the start"),
            io_apic::redirection(pin) & io_apic::MASKED != 0,
        );
        for entry in [io_apic::MASKED | 0x31, u64::MAX, io_apic::MASKED | 0xa500_0000_0000_2839] {
            io_apic::redirect(pin, entry);
            let seen = io_apic::redirection(pin) & (WRITABLE | READ_ONLY);
            expect_eq(format_args!("redirection entry {pin} after {entry:#x}"), seen, entry & WRITABLE);
        }
    }
}

fn entries_are_distinct() {
    let entry = |pin: u8| u64::from(pin) << 56 | io_apic::MASKED | (0x20 + u64::from(pin));
    for pin in 0..PINS {
        io_apic::redirect(pin, entry(pin));
    }
    for pin in 0..PINS {
        let seen = io_apic::redirection(pin) & (WRITABLE | READ_ONLY);
        expect_eq(format_args!("redirection entry {pin}"), seen, entry(pin));
    }
}

/// Makes the UART ask for an interrupt whenever its transmitter is empty, which it is.
fn start_uart() {
    serial::wait_for_transmitter();
    time::spin(2_000);
    let _ = ports::in_u8(serial::INTERRUPT_IDENTIFICATION);
    interrupts::forget();
    ports::out_u8(serial::MODEM_CONTROL, OUT2);
    ports::out_u8(serial::INTERRUPT_ENABLE, THRE_ENABLE);
}

/// Ends that, so that lines can be printed again.
fn stop_uart() {
    ports::out_u8(serial::INTERRUPT_ENABLE, 0);
    ports::out_u8(serial::MODEM_CONTROL, 0);
    let _ = identification();
}

/// Why the UART interrupts; reading it takes the request "transmitter empty" back.
fn identification() -> u8 {
    ports::in_u8(serial::INTERRUPT_IDENTIFICATION) & 0xf
}

/// Opens the interrupt window for some time and gives how many interrupts arrived in all.
fn count_after_a_while() -> usize {
    interrupts::enable();
    time::spin(2_000);
    interrupts::disable();
    interrupts::count()
}

fn an_edge_brings_one_interrupt() {
    io_apic::redirect(UART_PIN, VECTOR.into());
    start_uart();
    let first = count_after_a_while();
    let why = (identification(), identification());
    ports::out_u8(serial::COM1, b'\n');
    let second = count_after_a_while();
    let why_again = identification();
    stop_uart();
    expect_eq("interrupts after THRE was enabled", first, 1);
    expect_eq("interrupt identification, twice", why, (THRE, NOTHING));
    expect_eq("interrupts after a byte was sent", second, 2);
    expect_eq("interrupt identification after a byte", why_again, THRE);
    expect_eq("vectors", interrupts::vectors(), [Some(VECTOR), Some(VECTOR), None]);
}

/// A level-triggered interrupt comes again after EOI for as long as the line is asserted; remote IRR says that it is in service.
fn a_level_brings_it_until_it_falls(apic: LocalApic) {
    let state =
        || (io_apic::redirection(UART_PIN) & REMOTE_IRR != 0, apic.has(Register::TRIGGER_MODE, VECTOR));
    interrupts::acknowledge(false);
    io_apic::redirect(UART_PIN, io_apic::LEVEL | u64::from(VECTOR));
    start_uart();
    let first = count_after_a_while();
    let in_service = state();
    apic.end_of_interrupt();
    let again = count_after_a_while();
    let why = identification();
    apic.end_of_interrupt();
    let fallen = count_after_a_while();
    let (remote_irr, _) = state();
    stop_uart();
    interrupts::acknowledge(true);
    expect_eq("level-triggered interrupts before EOI", first, 1);
    expect_eq("remote IRR and TMR in service", in_service, (true, true));
    expect_eq("level-triggered interrupts after EOI, line asserted", again, 2);
    expect_eq("interrupt identification", why, THRE);
    expect_eq("level-triggered interrupts after EOI, line fallen", fallen, 2);
    expect_eq("remote IRR after EOI, line fallen", remote_irr, false);
}

fn a_masked_pin_brings_nothing() {
    io_apic::redirect(UART_PIN, io_apic::MASKED | u64::from(VECTOR));
    start_uart();
    let arrived = count_after_a_while();
    stop_uart();
    expect_eq("interrupts of a masked pin", arrived, 0);
}
