// SPDX-License-Identifier: MIT OR Apache-2.0
//! IN, OUT, INS and OUTS of each width do to registers and memory what they are defined to do, on absent ports and the UART.
#![cfg_attr(target_os = "none", no_std, no_main)]
// UNSAFETY: the forms of IN and OUT that matter here are assembly.
#![expect(unsafe_code)]

use core::arch::asm;
use tests::physical;
use tests::ports;
use tests::serial;
use tests::time;
use tests::verdict::expect_eq;

tests::program!(run);

/// A port, and the seven behind it, that no device has.
const ABSENT: u16 = 0x5000;
/// Another, which fits in the 8-bit immediate of IN.
const ABSENT_IMMEDIATE: u16 = 0xe0;

const PATTERN: u64 = 0x1122_3344_5566_7788;

/// RAX after `$instruction`, with `$before` in RAX and `$port` in RDX, whose upper bits are not the port's.
macro_rules! rax_after {
    ($instruction:literal, $port:expr, $before:expr) => {{
        let rax: u64;
        let rdx = u64::from($port) | 0xffff_ffff_ffff_0000;
        // SAFETY: port I/O touches no memory.
        unsafe { asm!($instruction, inout("rax") $before => rax, in("rdx") rdx) };
        rax
    }};
}

fn run() {
    absent_ports_read_all_ones();
    writes_to_absent_ports_are_dropped();
    insb_fills_memory();
    wider_ins_fill_memory();
    string_registers_have_the_address_size();
    outsb_prints();
    the_scratch_register_keeps_every_value();
    the_divisor_latch_is_a_register_of_its_own();
    loopback_returns_what_is_sent();
}

fn absent_ports_read_all_ones() {
    for port in [ABSENT, ABSENT + 4, 0xfff0] {
        expect_eq("in al, dx", rax_after!("in al, dx", port, PATTERN), 0x1122_3344_5566_77ff);
        expect_eq("in ax, dx", rax_after!("in ax, dx", port, PATTERN), 0x1122_3344_5566_ffff);
        expect_eq("in eax, dx", rax_after!("in eax, dx", port, PATTERN), 0xffff_ffff);
    }
    expect_eq("in al, 0xe0", rax_after!("in al, 0xe0", ABSENT_IMMEDIATE, PATTERN), 0x1122_3344_5566_77ff);
    expect_eq("in eax, 0xe0", rax_after!("in eax, 0xe0", ABSENT_IMMEDIATE, PATTERN), 0xffff_ffff);
}

fn writes_to_absent_ports_are_dropped() {
    expect_eq("RAX after out dx, al", rax_after!("out dx, al", ABSENT, PATTERN), PATTERN);
    expect_eq("RAX after out dx, ax", rax_after!("out dx, ax", ABSENT, PATTERN), PATTERN);
    expect_eq("RAX after out dx, eax", rax_after!("out dx, eax", ABSENT, PATTERN), PATTERN);
    expect_eq("RAX after out 0xe0, al", rax_after!("out 0xe0, al", ABSENT_IMMEDIATE, PATTERN), PATTERN);
    expect_eq("an absent port after a write", ports::in_u8(ABSENT), 0xff);
}

/// Executes `$instruction` on the middle of `$buffer`, and gives how many bytes RDI went on and what is left in RCX.
macro_rules! ins {
    ($instruction:literal, $buffer:expr, $count:expr) => {{
        let middle = $buffer.len() / 2;
        let start = $buffer[middle..].as_mut_ptr();
        let (end, left): (u64, u64);
        // SAFETY: each use below stays within the buffer.
        unsafe {
            asm!(
                $instruction,
                "cld",
                in("dx") ABSENT,
                inout("rdi") start => end,
                inout("rcx") $count => left,
            );
        }
        (end.cast_signed() - start.addr() as i64, left)
    }};
}

fn insb_fills_memory() {
    let mut buffer = [0_u8; 40];
    expect_eq("RDI, RCX after insb", ins!("insb", buffer, 7_u64), (1, 7));
    expect_eq("bytes by insb", filled(&buffer), (20, 21));

    let mut buffer = [0_u8; 40];
    expect_eq("RDI, RCX after rep insb of none", ins!("rep insb", buffer, 0_u64), (0, 0));
    expect_eq("bytes by rep insb of none", buffer, [0; 40]);

    let mut buffer = [0_u8; 40];
    expect_eq("RDI, RCX after rep insb", ins!("rep insb", buffer, 17_u64), (17, 0));
    expect_eq("bytes by rep insb", filled(&buffer), (20, 37));

    let mut buffer = [0_u8; 40];
    expect_eq("RDI, RCX after rep insb downwards", ins!("std\n rep insb", buffer, 5_u64), (-5, 0));
    expect_eq("bytes by rep insb downwards", filled(&buffer), (16, 21));
}

/// From where to where the buffer is 0xff; all else must be 0.
fn filled(buffer: &[u8]) -> (usize, usize) {
    let start = buffer.iter().take_while(|byte| **byte == 0).count();
    let length = buffer[start..].iter().take_while(|byte| **byte == 0xff).count();
    let rest = &buffer[start + length..];
    expect_eq("bytes beside what INS wrote", rest.iter().all(|byte| *byte == 0), true);
    (start, start + length)
}

fn wider_ins_fill_memory() {
    let mut words = [0_u16; 16];
    expect_eq("RDI, RCX after rep insw", ins!("rep insw", words, 3_u64), (6, 0));
    expect_eq("words by rep insw", &words[7..12], &[0, 0xffff, 0xffff, 0xffff, 0]);

    let mut doublewords = [0_u32; 16];
    expect_eq("RDI, RCX after rep insd", ins!("rep insd", doublewords, 2_u64), (8, 0));
    expect_eq("doublewords by rep insd", &doublewords[7..11], &[0, u32::MAX, u32::MAX, 0]);
}

/// RDI crosses 64 KiB. With 32-bit addresses the upper halves of RDI and RCX do not count, and are cleared.
fn string_registers_have_the_address_size() {
    let border = physical::image().end.next_multiple_of(0x1_0000) + 0x1_0000;
    for (upper_rdi, upper_rcx) in [(0, 0), (0xdead_0000_0000_0000, 0xbeef_0000_0000_0000)] {
        physical::write(border - 8, 0_u64);
        physical::write(border, 0_u64);
        let (mut rdi, mut rcx) = ((border - 2) | upper_rdi, 5_u64 | upper_rcx);
        // SAFETY: writes free RAM.
        unsafe {
            if upper_rdi == 0 {
                asm!("rep insb", in("dx") ABSENT, inout("rdi") rdi, inout("rcx") rcx);
            } else {
                asm!("addr32 rep insb", in("dx") ABSENT, inout("rdi") rdi, inout("rcx") rcx);
            }
        }
        expect_eq("RDI, RCX after rep insb over 64 KiB", (rdi, rcx), (border + 3, 0));
        let written = (physical::read(border - 8), physical::read(border));
        expect_eq("bytes by rep insb over 64 KiB", written, (0xffff_0000_0000_0000_u64, 0xff_ffff_u64));
    }
}

fn outsb_prints() {
    // With FIFOs, and emptied, so that REP may send 16 bytes at once.
    ports::out_u8(serial::FIFO_CONTROL, 0x07);
    let line = b"port_io: sent by outsb\n";
    let (single, repeated) = line.split_at(9);
    for byte in single {
        serial::wait_for_transmitter();
        let end: *const u8;
        // SAFETY: reads the one byte.
        unsafe { asm!("outsb", in("dx") serial::COM1, inout("rsi") &raw const *byte => end) };
        expect_eq("RSI after outsb", end.addr(), (&raw const *byte).addr() + 1);
    }
    serial::wait_for_transmitter();
    let (end, left): (*const u8, u64);
    // SAFETY: reads `repeated`.
    unsafe {
        asm!(
            "rep outsb",
            in("dx") serial::COM1,
            inout("rsi") repeated.as_ptr() => end,
            inout("rcx") repeated.len() => left,
        );
    }
    expect_eq("RSI, RCX after rep outsb", (end, left), (repeated.as_ptr_range().end, 0));
}

fn the_scratch_register_keeps_every_value() {
    for value in 0..=0xff {
        ports::out_u8(serial::SCRATCH, value);
        expect_eq("UART scratch register", ports::in_u8(serial::SCRATCH), value);
    }
}

fn the_divisor_latch_is_a_register_of_its_own() {
    let enabled = ports::in_u8(serial::INTERRUPT_ENABLE);
    ports::out_u8(serial::LINE_CONTROL, serial::DIVISOR_LATCH | serial::EIGHT_BITS);
    for (low, high) in [(0x12, 0x34), (0x01, 0x00)] {
        ports::out_u8(serial::COM1, low);
        ports::out_u8(serial::INTERRUPT_ENABLE, high);
        let latch = (ports::in_u8(serial::COM1), ports::in_u8(serial::INTERRUPT_ENABLE));
        expect_eq("divisor latch", latch, (low, high));
    }
    ports::out_u8(serial::LINE_CONTROL, serial::EIGHT_BITS);
    expect_eq("line control", ports::in_u8(serial::LINE_CONTROL), serial::EIGHT_BITS);
    expect_eq("interrupt enable beside the latch", ports::in_u8(serial::INTERRUPT_ENABLE), enabled);
}

/// In loopback the modem outputs are the modem inputs, and what is sent is received. Nothing can be printed meanwhile.
fn loopback_returns_what_is_sent() {
    const LOOP: u8 = 1 << 4;
    const SENT: [u8; 4] = [0x00, 0x55, 0xaa, 0xff];
    // DTR, RTS, OUT1, OUT2 come back as DSR, CTS, RI, DCD.
    const OUTPUTS: [u8; 6] = [0, 1, 2, 4, 8, 0xf];
    const INPUTS: [u8; 6] = [0, 0x20, 0x10, 0x40, 0x80, 0xf0];

    serial::wait_for_transmitter();
    time::spin(2_000);
    ports::out_u8(serial::FIFO_CONTROL, 0x07);
    let inputs = OUTPUTS.map(|outputs| {
        ports::out_u8(serial::MODEM_CONTROL, LOOP | outputs);
        ports::in_u8(serial::MODEM_STATUS) & 0xf0
    });
    let data_ready = || ports::in_u8(serial::LINE_STATUS) & serial::DATA_READY != 0;
    let before = data_ready();
    let received = SENT.map(|byte| {
        ports::out_u8(serial::COM1, byte);
        time::spin(1_000);
        data_ready().then(|| ports::in_u8(serial::COM1))
    });
    let after = data_ready();
    ports::out_u8(serial::MODEM_CONTROL, 0);
    expect_eq("modem inputs in loopback", inputs, INPUTS);
    expect_eq("bytes in loopback", received, SENT.map(Some));
    expect_eq("data ready before and after", (before, after), (false, false));
}
