// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two 8259As (8259A data sheet, "Programming the 8259A").

use crate::ports;

/// Command port of the first one.
pub const FIRST: u16 = 0x20;
/// Mask port of the first one.
pub const FIRST_MASK: u16 = 0x21;
/// Command port of the second one.
pub const SECOND: u16 = 0xa0;
/// Mask port of the second one.
pub const SECOND_MASK: u16 = 0xa1;

/// The vector of IRQ 0 after [`initialize`]; those of the others follow.
pub const VECTOR: u8 = 0x50;

/// OCW3: the command port shows IRR.
pub const READ_IRR: u8 = 0x0a;
/// OCW3: the command port shows ISR.
pub const READ_ISR: u8 = 0x0b;
/// OCW3: the next read is an acknowledgement.
pub const POLL: u8 = 0x0c;

/// Initializes both, with all lines masked but those of `irqs`, a bit for each, and the cascade.
pub fn initialize(irqs: u16) {
    for (command, mask, vector, wired) in
        [(FIRST, FIRST_MASK, VECTOR, 1 << 2), (SECOND, SECOND_MASK, VECTOR + 8, 2)]
    {
        ports::out_u8(command, 0x11);
        ports::out_u8(mask, vector);
        ports::out_u8(mask, wired);
        ports::out_u8(mask, 1);
    }
    unmask(irqs);
}

/// Masks all lines but those of `irqs`, a bit for each, and the cascade.
pub fn unmask(irqs: u16) {
    let [first, second] = (!(irqs | 1 << 2)).to_le_bytes();
    ports::out_u8(FIRST_MASK, first);
    ports::out_u8(SECOND_MASK, second);
}

/// Ends the interrupt of an IRQ.
pub fn end_of_interrupt(irq: u8) {
    const END_OF_INTERRUPT: u8 = 0x20;
    if irq >= 8 {
        ports::out_u8(SECOND, END_OF_INTERRUPT);
    }
    ports::out_u8(FIRST, END_OF_INTERRUPT);
}

/// IRR or ISR of both, as [`READ_IRR`] or [`READ_ISR`] says: a bit for each IRQ.
#[must_use]
pub fn register(which: u8) -> u16 {
    u16::from_le_bytes([FIRST, SECOND].map(|port| {
        ports::out_u8(port, which);
        ports::in_u8(port)
    }))
}
