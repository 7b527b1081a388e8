// SPDX-License-Identifier: MIT OR Apache-2.0
//! Driver of the machine's 16550 serial port, 115200 baud, eight bits, no parity.

use crate::cpu::hardware::PortIo;
use core::fmt;

/// First port of COM1.
pub const COM1: u16 = 0x3f8;
/// ISA interrupt of COM1.
pub const COM1_IRQ: u8 = 4;

// Registers, as offsets.
const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;
const SCRATCH: u16 = 7;

// Of the interrupt enable register.
const ON_RECEIVED: u8 = 1;
const ON_TRANSMITTER_EMPTY: u8 = 1 << 1;

const DATA_READY: u8 = 1;
const TRANSMITTER_EMPTY: u8 = 1 << 5;
const LINE_IDLE: u8 = 1 << 6;
/// Bytes that an empty transmitter takes.
const FIFO: usize = 16;
/// Status reads before a port that stays busy is given up: far more than a byte takes to go out.
const PATIENCE: u32 = 1_000_000;

/// A serial port.
#[derive(Debug)]
pub struct Serial<P> {
    ports: P,
    base: u16,
    /// Bytes that may be written before the transmitter is asked again.
    room: usize,
    /// The line was stuck the last time: it is asked once a byte, and not waited for.
    stuck: bool,
}

impl<P: PortIo> Serial<P> {
    /// Sets the port up, with an interrupt for each byte that comes in; `None` if there is no UART.
    pub fn find(ports: P, base: u16) -> Option<Self> {
        ports.write_u8(base + SCRATCH, 0xa5);
        if ports.read_u8(base + SCRATCH) != 0xa5 {
            return None;
        }
        for (register, value) in [
            (INTERRUPT_ENABLE, 0),
            // Divisor 1 is 115200 baud; it is behind the divisor latch.
            (LINE_CONTROL, 0x80),
            (DATA, 1),
            (INTERRUPT_ENABLE, 0),
            (LINE_CONTROL, 0x03),
            // FIFOs on, the receiver tells of each byte.
            (FIFO_CONTROL, 0x01),
            // DTR, RTS, and OUT2, which gates the interrupt on a PC.
            (MODEM_CONTROL, 0x0b),
            (INTERRUPT_ENABLE, ON_RECEIVED),
        ] {
            ports.write_u8(base + register, value);
        }
        Some(Self { ports, base, room: 0, stuck: false })
    }

    /// Writes bytes as they are, waiting for the line. A line that is stuck loses bytes rather than time, but for the one
    /// wait in which that is found out.
    pub fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.room == 0 {
                self.stuck = !self.wait_for(TRANSMITTER_EMPTY);
                if self.stuck {
                    return;
                }
                self.room = FIFO;
            }
            self.ports.write_u8(self.base + DATA, byte);
            self.room -= 1;
        }
    }

    /// Writes what `next` gives, as much as the transmitter takes now. Tells whether it takes more.
    pub fn write_some(&mut self, mut next: impl FnMut() -> Option<u8>) -> bool {
        loop {
            if self.room == 0 && self.is(TRANSMITTER_EMPTY) {
                self.room = FIFO;
                self.stuck = false;
            }
            if self.room == 0 {
                return false;
            }
            let Some(byte) = next() else { return true };
            self.ports.write_u8(self.base + DATA, byte);
            self.room -= 1;
        }
    }

    /// Waits until the transmitter takes more. `false` if the line is stuck, which is found out once.
    pub fn wait(&mut self) -> bool {
        self.stuck = !self.wait_for(TRANSMITTER_EMPTY);
        !self.stuck
    }

    /// Interrupts for bytes that come in, and for an empty transmitter, are on or off. One whose cause is there already is raised
    /// anew, so that none is lost at an interrupt controller that waits for an edge.
    pub fn set_interrupts(&self, received: bool, transmitter_empty: bool) {
        let received = if received { ON_RECEIVED } else { 0 };
        let transmitter_empty = if transmitter_empty { ON_TRANSMITTER_EMPTY } else { 0 };
        self.ports.write_u8(self.base + INTERRUPT_ENABLE, 0);
        self.ports.write_u8(self.base + INTERRUPT_ENABLE, received | transmitter_empty);
    }

    /// Waits until the last byte is on the line, so that what comes next cannot swallow it.
    pub fn flush(&mut self) {
        self.wait_for(LINE_IDLE);
    }

    fn wait_for(&self, status: u8) -> bool {
        let patience = if self.stuck { 1 } else { PATIENCE };
        (0..patience).any(|_| self.is(status))
    }

    fn is(&self, status: u8) -> bool {
        self.ports.read_u8(self.base + LINE_STATUS) & status != 0
    }

    /// A byte that has come in.
    pub fn read_byte(&mut self) -> Option<u8> {
        self.is(DATA_READY).then(|| self.ports.read_u8(self.base + DATA))
    }
}

/// Text: a line feed goes out with a carriage return before it.
impl<P: PortIo> fmt::Write for Serial<P> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (index, line) in text.split('\n').enumerate() {
            if index > 0 {
                self.write(b"\r\n");
            }
            self.write(line.trim_end_matches('\r').as_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use core::cell::RefCell;
    use core::fmt::Write;

    /// A UART that takes `left` more bytes before its transmitter is stuck.
    #[derive(Default)]
    struct Model {
        scratch: u8,
        line_control: u8,
        sent: Vec<u8>,
        left: usize,
        /// How often the line's status was read.
        asked: Cell<u32>,
    }

    impl PortIo for &RefCell<Model> {
        fn read_u8(&self, port: u16) -> u8 {
            let model = self.borrow();
            match port - COM1 {
                SCRATCH => model.scratch,
                LINE_STATUS => {
                    model.asked.set(model.asked.get() + 1);
                    if model.left > 0 { TRANSMITTER_EMPTY } else { 0 }
                }
                _ => 0,
            }
        }

        fn write_u8(&self, port: u16, value: u8) {
            let mut model = self.borrow_mut();
            match port - COM1 {
                SCRATCH => model.scratch = value,
                LINE_CONTROL => model.line_control = value,
                DATA if model.line_control & 0x80 == 0 => {
                    model.left = model.left.saturating_sub(1);
                    model.sent.push(value);
                }
                _ => {}
            }
        }

        fn read_u32(&self, _port: u16) -> u32 {
            unreachable!("a UART has bytes")
        }

        fn write_u16(&self, _port: u16, _value: u16) {
            unreachable!("a UART has bytes")
        }
    }

    struct Absent;

    impl PortIo for Absent {
        fn read_u8(&self, _port: u16) -> u8 {
            0xff
        }
        fn write_u8(&self, _port: u16, _value: u8) {}
        fn read_u32(&self, _port: u16) -> u32 {
            u32::MAX
        }
        fn write_u16(&self, _port: u16, _value: u16) {}
    }

    #[test]
    fn lines_end_in_carriage_return_and_line_feed_once() {
        let model = RefCell::new(Model { left: 1000, ..Model::default() });
        write!(Serial::find(&model, COM1).unwrap(), "a\nb\r\n\nc").unwrap();
        assert_eq!(model.borrow().sent, b"a\r\nb\r\n\r\nc");
    }

    #[test]
    fn a_stuck_line_does_not_hold_us() {
        let model = RefCell::new(Model { left: 3, ..Model::default() });
        let mut serial = Serial::find(&model, COM1).unwrap();
        serial.write(&[b'x'; 100]);
        assert_eq!(model.borrow().sent.len(), FIFO);
        let asked = model.borrow().asked.get();
        serial.write(&[b'x'; 100]);
        assert_eq!(model.borrow().asked.get(), asked + 1);
        model.borrow_mut().left = 1000;
        serial.write(b"y");
        assert_eq!(model.borrow().sent.last(), Some(&b'y'));
    }

    #[test]
    fn no_uart_is_no_serial_port() {
        assert!(Serial::find(Absent, COM1).is_none());
    }
}
