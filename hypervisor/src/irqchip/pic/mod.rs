// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pair of 8259As of a PC: the second one cascades through IR2 of the first. Lines are told by edge or by level as ELCR
//! says (Intel, 82371AB data sheet, "Edge/Level Control Registers").

mod controller;
#[cfg(test)]
mod tests;

use controller::Controller;

/// The first port of the first one; its second is the next.
pub const FIRST: u16 = 0x20;
/// The first port of the second one.
pub const SECOND: u16 = 0xA0;
/// ELCR: a bit for each line of the first, and at the next port of the second.
pub const ELCR: u16 = 0x4D0;

/// The line of the first one that the second drives.
const CASCADE_IR: u8 = 2;
const CASCADE: u8 = 1 << CASCADE_IR;
/// The lines that can be level triggered. The timer, the keyboard, the cascade, the clock and the coprocessor cannot.
const LEVEL_CAPABLE: [u8; 2] = [0xF8, 0xDE];
/// ACPI's interrupt, IRQ 9, which is level triggered; of the second one's ELCR.
const SYSTEM_CONTROL: u8 = 1 << 1;

/// Whether a port is one of theirs.
#[must_use]
pub const fn has(port: u16) -> bool {
    matches!(port & !1, FIRST | SECOND | ELCR)
}

/// Both controllers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PicPair {
    first: Controller,
    second: Controller,
}

impl Default for PicPair {
    fn default() -> Self {
        Self::new()
    }
}

impl PicPair {
    /// As a PC's firmware leaves them: with the vectors that real mode has for them, and all devices masked.
    #[must_use]
    pub fn new() -> Self {
        let mut second = Controller::new(0x70, 0xFF);
        second.set_level(SYSTEM_CONTROL);
        Self { first: Controller::new(0x08, !CASCADE), second }
    }

    /// A device asserts IRQ `irq` (below 16), or stops doing so. There is no IRQ 2.
    pub fn set_line(&mut self, irq: u8, asserted: bool) {
        match irq {
            CASCADE_IR => {}
            0..8 => self.first.set_line(irq, asserted),
            _ => {
                self.second.set_line(irq & 7, asserted);
                self.cascade();
            }
        }
    }

    /// INTR, as it arrives at the processor.
    #[must_use]
    pub fn interrupts(&self) -> bool {
        self.first.interrupts()
    }

    /// INTA: the processor takes the interrupt; gives its vector. If none is there any more, that of IRQ 7, or of IRQ 15 if
    /// it was the second one's; then nothing is in service there ("Interrupt Sequence").
    #[must_use]
    pub fn acknowledge(&mut self) -> u8 {
        let ir = self.first.acknowledge();
        if ir != CASCADE_IR {
            return self.first.vector(ir);
        }
        let vector = {
            let ir = self.second.acknowledge();
            self.second.vector(ir)
        };
        // INT of the second one falls with each acknowledgement: if more waits there, that is an edge.
        self.first.set_line(CASCADE_IR, false);
        self.cascade();
        vector
    }

    /// Reads one of the ports; none of the pair's reads as all ones.
    pub fn read(&mut self, port: u16) -> u8 {
        let is_odd = port & 1 != 0;
        match port & !1 {
            FIRST => self.first.read(is_odd),
            SECOND => {
                let value = self.second.read(is_odd);
                self.cascade();
                value
            }
            ELCR if is_odd => self.second.level(),
            ELCR => self.first.level(),
            _ => u8::MAX,
        }
    }

    /// Writes to one of the ports.
    pub fn write(&mut self, port: u16, value: u8) {
        let is_odd = port & 1 != 0;
        match port & !1 {
            FIRST => self.first.write(is_odd, value),
            SECOND => self.second.write(is_odd, value),
            ELCR if is_odd => self.second.set_level(value & LEVEL_CAPABLE[1]),
            ELCR => self.first.set_level(value & LEVEL_CAPABLE[0]),
            _ => {}
        }
        self.cascade();
    }

    fn cascade(&mut self) {
        self.first.set_line(CASCADE_IR, self.second.interrupts());
    }
}
