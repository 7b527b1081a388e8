// SPDX-License-Identifier: MIT OR Apache-2.0
//! A serial port: the 16550A with its FIFOs (National Semiconductor, PC16550D data sheet, September 1995).
//!
//! The line is infinitely fast: a byte that is written has left before the write ends, and what is received
//! is never waited for. So the transmitter is always empty, unless it is [held back](Uart::hold_back), and the timeout of
//! the receiver's FIFO is at once.

mod receive_fifo;
#[cfg(test)]
mod tests;

use core::fmt;
use receive_fifo::ReceiveFifo;

/// The guest's first port of it: COM1 of a PC.
pub const PORT: u16 = 0x3F8;
/// How many ports it has.
pub const PORTS: u8 = 8;
/// Its global system interrupt, which is its pin at the I/O APIC.
pub const GSI: u32 = 4;

/// Receiver buffer when read, transmitter holding register when written; with DLAB the divisor's low byte.
const DATA: u8 = 0;
/// Interrupt enable; with DLAB the divisor's high byte.
const INTERRUPT_ENABLE: u8 = 1;
/// Interrupt identification when read, FIFO control when written.
const INTERRUPT_IDENTIFICATION: u8 = 2;
const LINE_CONTROL: u8 = 3;
const MODEM_CONTROL: u8 = 4;
const LINE_STATUS: u8 = 5;
const MODEM_STATUS: u8 = 6;
const SCRATCH: u8 = 7;

/// The bits of the interrupt enable register.
mod ier {
    pub(super) const RECEIVED_DATA: u8 = 1 << 0;
    pub(super) const TRANSMITTER_EMPTY: u8 = 1 << 1;
    pub(super) const LINE_STATUS: u8 = 1 << 2;
    pub(super) const MODEM_STATUS: u8 = 1 << 3;
    pub(super) const ALL: u8 = 0x0F;
}

/// The values of the interrupt identification register, and its mark for enabled FIFOs.
mod iir {
    pub(super) const MODEM_STATUS: u8 = 0x0;
    pub(super) const NONE: u8 = 0x1;
    pub(super) const TRANSMITTER_EMPTY: u8 = 0x2;
    pub(super) const RECEIVED_DATA: u8 = 0x4;
    pub(super) const LINE_STATUS: u8 = 0x6;
    pub(super) const CHARACTER_TIMEOUT: u8 = 0xC;
    pub(super) const FIFOS_ENABLED: u8 = 0xC0;
}

/// The bits of the FIFO control register; bits 7:6 are the receiver's trigger level.
mod fcr {
    pub(super) const ENABLE: u8 = 1 << 0;
    pub(super) const CLEAR_RECEIVER: u8 = 1 << 1;
    pub(super) const TRIGGER_LEVELS: [usize; 4] = [1, 4, 8, 14];
}

/// The divisor latch access bit of the line control register.
const DLAB: u8 = 1 << 7;

/// The bits of the modem control register.
mod mcr {
    pub(super) const DTR: u8 = 1 << 0;
    pub(super) const RTS: u8 = 1 << 1;
    pub(super) const OUT1: u8 = 1 << 2;
    /// On a PC it connects the interrupt to the interrupt controller.
    pub(super) const OUT2: u8 = 1 << 3;
    pub(super) const LOOPBACK: u8 = 1 << 4;
    pub(super) const ALL: u8 = 0x1F;
}

/// The bits of the line status register.
mod lsr {
    pub(super) const DATA_READY: u8 = 1 << 0;
    pub(super) const OVERRUN: u8 = 1 << 1;
    /// Holding register and shift register of the transmitter are empty.
    pub(super) const TRANSMITTER_EMPTY: u8 = 0x60;
}

/// The bits of the modem status register; bits 3:0 tell which of 7:4 have changed since it was read.
mod msr {
    pub(super) const CTS: u8 = 1 << 4;
    pub(super) const DSR: u8 = 1 << 5;
    pub(super) const RI: u8 = 1 << 6;
    pub(super) const DCD: u8 = 1 << 7;
}

/// The receiver does not take a byte now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the serial port's receiver is full; ask room() before receive()")
    }
}

impl core::error::Error for Full {}

/// Bytes that the transmitter's FIFO holds.
const TRANSMITTER: usize = 16;

/// One serial port, as its eight registers show it.
#[derive(Clone, Debug)]
pub struct Uart {
    receiver: ReceiveFifo,
    fifos_enabled: bool,
    trigger_level: usize,
    divisor: [u8; 2],
    interrupt_enable: u8,
    line_control: u8,
    modem_control: u8,
    /// Bits 3:0 of the modem status register.
    modem_changes: u8,
    scratch: u8,
    overrun: bool,
    /// The transmitter's interrupt: set when it becomes empty or is enabled, cleared when it has been told.
    transmitter_interrupt: bool,
    /// The transmitter says that it is not empty.
    held_back: bool,
    /// Bytes that were sent since it does.
    overdue: usize,
}

impl Default for Uart {
    fn default() -> Self {
        Self::new()
    }
}

impl Uart {
    /// A port after master reset, at 115200 baud, with something connected that is always ready.
    #[must_use]
    pub fn new() -> Self {
        Self {
            receiver: ReceiveFifo::default(),
            fifos_enabled: false,
            trigger_level: 1,
            divisor: [1, 0],
            interrupt_enable: 0,
            line_control: 0,
            modem_control: 0,
            modem_changes: 0,
            scratch: 0,
            overrun: false,
            transmitter_interrupt: false,
            held_back: false,
            overdue: 0,
        }
    }

    /// The guest reads register `offset` (0 to 7; others read as all ones).
    pub fn read(&mut self, offset: u8) -> u8 {
        match offset {
            LINE_STATUS => self.read_line_status(),
            DATA | INTERRUPT_ENABLE if self.line_control & DLAB != 0 => self.divisor[usize::from(offset)],
            DATA => self.receiver.pop().unwrap_or(0),
            INTERRUPT_ENABLE => self.interrupt_enable,
            INTERRUPT_IDENTIFICATION => self.read_interrupt_identification(),
            LINE_CONTROL => self.line_control,
            MODEM_CONTROL => self.modem_control,
            MODEM_STATUS => self.modem_lines() | core::mem::take(&mut self.modem_changes),
            SCRATCH => self.scratch,
            _ => 0xFF,
        }
    }

    /// The guest writes register `offset`. Returns the byte that goes out on the line, if one does.
    #[must_use]
    pub fn write(&mut self, offset: u8, value: u8) -> Option<u8> {
        match offset {
            DATA | INTERRUPT_ENABLE if self.line_control & DLAB != 0 => {
                self.divisor[usize::from(offset)] = value;
            }
            DATA => return self.transmit(value),
            INTERRUPT_ENABLE => self.write_interrupt_enable(value),
            INTERRUPT_IDENTIFICATION => self.write_fifo_control(value),
            LINE_CONTROL => self.line_control = value,
            MODEM_CONTROL => self.write_modem_control(value),
            SCRATCH => self.scratch = value,
            // The status registers are read-only.
            _ => {}
        }
        None
    }

    /// A byte comes in from the line.
    ///
    /// If the receiver is full the byte is not taken, and the guest sees an overrun; ask [`Self::room`]
    /// first. In loopback mode the line is not connected, and the byte is not taken either.
    pub fn receive(&mut self, byte: u8) -> Result<(), Full> {
        if self.in_loopback() { Err(Full) } else { self.store(byte) }
    }

    /// How many bytes [`Self::receive`] takes now.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.in_loopback() { 0 } else { self.free() }
    }

    /// Whether the guest has asked to be interrupted for what comes in.
    #[must_use]
    pub fn awaits_input(&self) -> bool {
        self.interrupt_enable & ier::RECEIVED_DATA != 0
    }

    /// The guest is to send no more, since whoever is at the other end has no room. Of what it sends nonetheless as much goes out
    /// as the transmitter's FIFO holds: it may have been about to fill that.
    pub fn hold_back(&mut self) {
        if !self.held_back {
            self.overdue = 0;
        }
        self.held_back = true;
        self.transmitter_interrupt = false;
    }

    /// It may send again, if it was held back.
    pub fn release(&mut self) {
        self.transmitter_interrupt |= self.held_back;
        self.held_back = false;
    }

    /// The level of the interrupt line, as it arrives at the interrupt controller. It may have changed after
    /// any call that takes `&mut self`.
    #[must_use]
    pub fn interrupt_line(&self) -> bool {
        self.modem_control & mcr::OUT2 != 0 && self.interrupt_identification() != iir::NONE
    }

    /// The interrupt of the highest priority (data sheet, table "Interrupt Control Functions").
    fn interrupt_identification(&self) -> u8 {
        let enabled = |source| self.interrupt_enable & source != 0;
        if enabled(ier::LINE_STATUS) && self.overrun {
            iir::LINE_STATUS
        } else if enabled(ier::RECEIVED_DATA) && self.receiver.len() >= self.trigger_level {
            iir::RECEIVED_DATA
        } else if enabled(ier::RECEIVED_DATA) && self.receiver.len() > 0 {
            iir::CHARACTER_TIMEOUT
        } else if enabled(ier::TRANSMITTER_EMPTY) && self.transmitter_interrupt {
            iir::TRANSMITTER_EMPTY
        } else if enabled(ier::MODEM_STATUS) && self.modem_changes != 0 {
            iir::MODEM_STATUS
        } else {
            iir::NONE
        }
    }

    /// Telling the guest that the transmitter is empty takes that interrupt back; the others stay until their
    /// cause is gone.
    fn read_interrupt_identification(&mut self) -> u8 {
        let told = self.interrupt_identification();
        if told == iir::TRANSMITTER_EMPTY {
            self.transmitter_interrupt = false;
        }
        told | if self.fifos_enabled { iir::FIFOS_ENABLED } else { 0 }
    }

    fn read_line_status(&mut self) -> u8 {
        let data_ready = if self.receiver.len() > 0 { lsr::DATA_READY } else { 0 };
        let overrun = if core::mem::take(&mut self.overrun) { lsr::OVERRUN } else { 0 };
        let empty = if self.held_back { 0 } else { lsr::TRANSMITTER_EMPTY };
        empty | data_ready | overrun
    }

    /// Enabling the transmitter's interrupt raises it, since the transmitter is empty. Linux enables it twice
    /// in a row and expects it twice, or else polls with a timer.
    fn write_interrupt_enable(&mut self, value: u8) {
        let newly_enabled = value & !self.interrupt_enable;
        self.interrupt_enable = value & ier::ALL;
        if newly_enabled & ier::TRANSMITTER_EMPTY != 0 {
            self.transmitter_interrupt = !self.held_back;
        }
    }

    /// The other bits count only while the FIFOs are enabled; switching them on or off empties them. That of
    /// the transmitter is always empty.
    fn write_fifo_control(&mut self, value: u8) {
        let enable = value & fcr::ENABLE != 0;
        if enable != self.fifos_enabled || enable && value & fcr::CLEAR_RECEIVER != 0 {
            self.receiver.clear();
        }
        self.fifos_enabled = enable;
        self.trigger_level = if enable { fcr::TRIGGER_LEVELS[usize::from(value >> 6)] } else { 1 };
    }

    /// Keeps track of what the modem status lines do, which follow this register in loopback mode. Of RI only
    /// the trailing edge counts.
    fn write_modem_control(&mut self, value: u8) {
        let before = self.modem_lines();
        self.modem_control = value & mcr::ALL;
        let after = self.modem_lines();
        let rising_ring = after & msr::RI;
        self.modem_changes |= ((before ^ after) & !rising_ring) >> 4;
    }

    /// Bits 7:4 of the modem status register: in loopback mode our own outputs, else a peer that is ready.
    fn modem_lines(&self) -> u8 {
        if !self.in_loopback() {
            return msr::CTS | msr::DSR | msr::DCD;
        }
        [(mcr::RTS, msr::CTS), (mcr::DTR, msr::DSR), (mcr::OUT1, msr::RI), (mcr::OUT2, msr::DCD)]
            .into_iter()
            .filter(|&(output, _)| self.modem_control & output != 0)
            .fold(0, |lines, (_, input)| lines | input)
    }

    /// The transmitter takes `value` and is empty again at once. In loopback mode the receiver gets it.
    fn transmit(&mut self, value: u8) -> Option<u8> {
        self.transmitter_interrupt = !self.held_back;
        if !self.in_loopback() {
            let takes = !self.held_back || self.overdue < TRANSMITTER;
            self.overdue += usize::from(self.held_back && takes);
            return takes.then_some(value);
        }
        // A full receiver has noted the overrun; that is all that becomes of it.
        let _ = self.store(value);
        None
    }

    fn store(&mut self, byte: u8) -> Result<(), Full> {
        if self.free() == 0 {
            self.overrun = true;
            return Err(Full);
        }
        self.receiver.push(byte);
        Ok(())
    }

    /// Without FIFOs there is one buffer.
    fn free(&self) -> usize {
        let capacity = if self.fifos_enabled { ReceiveFifo::CAPACITY } else { 1 };
        capacity - self.receiver.len()
    }

    fn in_loopback(&self) -> bool {
        self.modem_control & mcr::LOOPBACK != 0
    }
}
