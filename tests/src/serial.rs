// SPDX-License-Identifier: MIT OR Apache-2.0
//! COM1, a 16550 UART, polled.

use crate::ports;
use core::fmt;

/// First port of COM1. The registers are named by their offset from it (16550 data sheet, table of registers).
pub const COM1: u16 = 0x3f8;
/// Interrupt enable register.
pub const INTERRUPT_ENABLE: u16 = COM1 + 1;
/// Interrupt identification register, when read.
pub const INTERRUPT_IDENTIFICATION: u16 = COM1 + 2;
/// FIFO control register, when written.
pub const FIFO_CONTROL: u16 = COM1 + 2;
/// Line control register.
pub const LINE_CONTROL: u16 = COM1 + 3;
/// Modem control register.
pub const MODEM_CONTROL: u16 = COM1 + 4;
/// Line status register.
pub const LINE_STATUS: u16 = COM1 + 5;
/// Modem status register.
pub const MODEM_STATUS: u16 = COM1 + 6;
/// Scratch register.
pub const SCRATCH: u16 = COM1 + 7;

/// Line status: a received byte waits.
pub const DATA_READY: u8 = 1 << 0;
/// Line status: the transmitter holding register is empty.
pub const TRANSMITTER_EMPTY: u8 = 1 << 5;

/// Line status: the last byte has left, too.
pub const LINE_IDLE: u8 = 1 << 6;

/// Line control: 8 data bits, no parity, 1 stop bit.
pub const EIGHT_BITS: u8 = 3;
/// Line control: the first two registers are the baud rate divisor.
pub const DIVISOR_LATCH: u8 = 1 << 7;

/// Polls of the line status before a byte is sent regardless; a UART that is never ready must not hang a program.
const PATIENCE: u32 = 100_000;

/// The writer behind [`crate::say!`].
#[derive(Debug)]
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(send);
        Ok(())
    }
}

/// 115200 baud, 8 data bits, no parity, 1 stop bit, no interrupts: the state that programs start with.
pub fn initialise() {
    ports::out_u8(INTERRUPT_ENABLE, 0);
    ports::out_u8(LINE_CONTROL, DIVISOR_LATCH | EIGHT_BITS);
    ports::out_u8(COM1, 1);
    ports::out_u8(COM1 + 1, 0);
    ports::out_u8(LINE_CONTROL, EIGHT_BITS);
}

/// Sends one byte once the transmitter is ready for it.
pub fn send(byte: u8) {
    wait_for_transmitter();
    ports::out_u8(COM1, byte);
}

/// Waits, within bounds, until the transmitter holding register is empty.
pub fn wait_for_transmitter() {
    wait_for(TRANSMITTER_EMPTY);
}

/// Waits, within bounds, until all that was sent has left.
pub fn wait_for_idle_line() {
    wait_for(LINE_IDLE);
}

fn wait_for(status: u8) {
    for _ in 0..PATIENCE {
        if ports::in_u8(LINE_STATUS) & status != 0 {
            return;
        }
    }
}

/// Prints one line on COM1.
#[macro_export]
macro_rules! say {
    ($($arguments:tt)*) => {{
        use core::fmt::Write;
        // Writing to the console cannot fail.
        let _ = writeln!($crate::serial::Console, $($arguments)*);
    }};
}
