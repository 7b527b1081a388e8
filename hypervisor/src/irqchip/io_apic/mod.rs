// SPDX-License-Identifier: MIT OR Apache-2.0
//! The I/O APIC: 24 interrupt lines and the messages that they become (Intel, 82093AA data sheet, May 1996;
//! the EOI register is that of version 0x20, Intel's I/O controller hubs).

mod redirection;
#[cfg(test)]
mod tests;

use super::Message;
use arrayvec::ArrayVec;
use redirection::RedirectionEntry;

/// Where the registers of the first I/O APIC are.
pub const IO_APIC_BASE: u64 = 0xFEC0_0000;

/// How many interrupt lines there are.
pub const PINS: usize = 24;

/// What an access makes the I/O APIC send: at most one message for each pin.
pub type Messages = ArrayVec<Message, PINS>;

/// IOREGSEL: selects the register behind IOWIN.
const SELECT: u64 = 0x00;
/// IOWIN: the selected register.
const WINDOW: u64 = 0x10;
/// EOI: takes a vector, for software that suppresses the broadcast.
const EOI: u64 = 0x40;

/// The registers behind IOWIN; two for each redirection entry from the last one on.
const ID: u8 = 0x00;
const VERSION: u8 = 0x01;
const ARBITRATION: u8 = 0x02;
const REDIRECTION: u8 = 0x10;

const VERSION_VALUE: u32 = (PINS as u32 - 1) << 16 | 0x20;

/// An I/O APIC. The polarity of a pin is the business of whoever drives it: lines are asserted or not.
#[derive(Clone, Debug)]
pub struct IoApic {
    /// Bits 27:24 of the ID register, in place. Software uses them, messages do not.
    id: u32,
    selected: u8,
    entries: [RedirectionEntry; PINS],
    /// One bit for each line that is asserted.
    asserted: u32,
    /// One bit for each level triggered pin whose interrupt is with a local APIC, until its EOI.
    remote_irr: u32,
}

impl Default for IoApic {
    fn default() -> Self {
        Self::new()
    }
}

impl IoApic {
    /// An I/O APIC after reset: all pins masked, no line asserted.
    #[must_use]
    pub fn new() -> Self {
        Self { id: 0, selected: 0, entries: [RedirectionEntry::RESET; PINS], asserted: 0, remote_irr: 0 }
    }

    /// A device asserts the line of `pin`, or stops doing so.
    ///
    /// A pin that is edge triggered sends when its line becomes asserted; one that is level triggered when it
    /// is asserted and the EOI of its last interrupt has come. The message has to be delivered: it is not
    /// sent again.
    ///
    /// # Panics
    /// If `pin` is not below [`PINS`].
    #[must_use]
    pub fn set_line(&mut self, pin: usize, asserted: bool) -> Option<Message> {
        let line = 1 << pin;
        let rises = asserted && self.asserted & line == 0;
        if asserted {
            self.asserted |= line;
        } else {
            self.asserted &= !line;
        }
        let entry = self.entries[pin];
        if entry.is_level_triggered() {
            return self.send_level(pin);
        }
        // "I/O Redirection Table Registers": an edge on a masked pin is not kept.
        self.enabled_message(pin).filter(|_| rises)
    }

    /// What a pin sends that is not masked.
    pub(super) fn enabled_message(&self, pin: usize) -> Option<Message> {
        self.entries[pin].message().filter(|_| !self.entries[pin].masked())
    }

    /// The handler of `vector` has ended: every level triggered pin with that vector may send again, and one
    /// whose line is still asserted does.
    #[must_use]
    pub fn end_of_interrupt(&mut self, vector: u8) -> Messages {
        let mut messages = Messages::new();
        let mut waiting = self.remote_irr;
        while waiting != 0 {
            let pin = waiting.trailing_zeros() as usize;
            waiting &= waiting - 1;
            if self.entries[pin].vector() == vector {
                self.remote_irr &= !(1 << pin);
                messages.extend(self.send_level(pin));
            }
        }
        messages
    }

    /// A read at `offset` from [`IO_APIC_BASE`]. What is not a register reads as zero.
    #[must_use]
    pub fn mmio_read(&self, offset: u64) -> u32 {
        match offset {
            SELECT => u32::from(self.selected),
            WINDOW => self.read_selected(),
            _ => 0,
        }
    }

    /// A write at `offset` from [`IO_APIC_BASE`].
    #[must_use]
    pub fn mmio_write(&mut self, offset: u64, value: u32) -> Messages {
        match offset {
            SELECT => self.selected = value as u8,
            WINDOW => return self.write_selected(value).into_iter().collect(),
            EOI => return self.end_of_interrupt(value as u8),
            _ => {}
        }
        Messages::new()
    }

    fn read_selected(&self) -> u32 {
        match self.selected {
            ID | ARBITRATION => self.id,
            VERSION => VERSION_VALUE,
            _ => match self.selected_half() {
                Some((pin, Half::Low)) => self.entries[pin].low(self.remote_irr & 1 << pin != 0),
                Some((pin, Half::High)) => self.entries[pin].high(),
                None => 0,
            },
        }
    }

    fn write_selected(&mut self, value: u32) -> Option<Message> {
        if self.selected == ID {
            self.id = value & 0x0F00_0000;
        }
        match self.selected_half()? {
            (pin, Half::Low) => self.write_low(pin, value),
            (pin, Half::High) => {
                self.entries[pin] = self.entries[pin].with_high(value);
                None
            }
        }
    }

    /// A pin that is made edge triggered waits for no EOI: this is how software frees one that hangs. One
    /// that is unmasked, or made level triggered, sends if its line is asserted.
    fn write_low(&mut self, pin: usize, value: u32) -> Option<Message> {
        self.entries[pin] = self.entries[pin].with_low(value);
        if !self.entries[pin].is_level_triggered() {
            self.remote_irr &= !(1 << pin);
        }
        self.send_level(pin)
    }

    /// The redirection entry, and the half of it, that is behind IOWIN.
    fn selected_half(&self) -> Option<(usize, Half)> {
        let index = usize::from(self.selected.checked_sub(REDIRECTION)?);
        let half = if index.is_multiple_of(2) { Half::Low } else { Half::High };
        (index / 2 < PINS).then_some((index / 2, half))
    }

    /// Sends the interrupt of a level triggered pin that is due, and notes that its EOI is awaited.
    fn send_level(&mut self, pin: usize) -> Option<Message> {
        let line = 1 << pin;
        let entry = self.entries[pin];
        let due =
            entry.is_level_triggered() && !entry.masked() && self.asserted & !self.remote_irr & line != 0;
        let message = entry.message().filter(|_| due)?;
        self.remote_irr |= line;
        Some(message)
    }
}

/// Half of a redirection entry.
enum Half {
    Low,
    High,
}
