// SPDX-License-Identifier: MIT OR Apache-2.0
//! The face of a local APIC in xAPIC mode: a page of memory (SDM vol. 3, "Local APIC Register Address Map").
//!
//! Registers are 32 bits wide, on 16-byte boundaries. What other accesses do is undefined on processors too;
//! here one that begins inside a register misses it.

use super::Effect;
use super::LocalApic;
use super::Mode;
use super::error_status::ApicError;
use super::register::Register;

/// The offset in the page of the register that ends an interrupt, whatever is written there.
pub const END_OF_INTERRUPT: u64 = 0xB0;

impl LocalApic {
    /// A 32-bit read at `offset` in the page. `now` is the guest's TSC.
    ///
    /// A register that does not exist reads as zero and is noted in the error status. Outside xAPIC mode
    /// there is no page, and all bits are one.
    pub fn mmio_read(&mut self, offset: u64, now: u64) -> u32 {
        if self.mode() != Mode::Xapic {
            return u32::MAX;
        }
        match Register::at_offset(offset).and_then(|register| self.read(register, now)) {
            Some(value) => value,
            None => {
                self.note_error(ApicError::IllegalRegisterAddress);
                0
            }
        }
    }

    /// A 32-bit write at `offset` in the page. `now` is the guest's TSC.
    ///
    /// Outside xAPIC mode there is no page, and the write is lost.
    pub fn mmio_write(&mut self, offset: u64, value: u32, now: u64) -> Effect {
        if self.mode() != Mode::Xapic {
            return Effect::None;
        }
        match Register::at_offset(offset) {
            Some(register) => self.write(register, value, now),
            None => {
                self.note_error(ApicError::IllegalRegisterAddress);
                Effect::None
            }
        }
    }
}
