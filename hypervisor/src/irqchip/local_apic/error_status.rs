// SPDX-License-Identifier: MIT OR Apache-2.0
//! The error status register, which shows what was noticed up to the last write to it (SDM vol. 3, "Error
//! Handling").

/// An error that a local APIC notices; the bit is its place in the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApicError {
    /// The ICR or SELF IPI was to send a vector below 16.
    SendIllegalVector = 1 << 5,
    /// A message, or the local vector table, asks for a vector below 16.
    ReceiveIllegalVector = 1 << 6,
    /// An access to a register that does not exist; only the page reports it.
    IllegalRegisterAddress = 1 << 7,
}

/// The two halves of the register.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ErrorStatus {
    /// Noticed since the last write.
    noticed: u32,
    /// What a read shows.
    shown: u32,
}

impl ErrorStatus {
    /// Notes `error`. Tells whether the error interrupt is due: a write arms it, the first error fires it.
    pub(super) fn note(&mut self, error: ApicError) -> bool {
        let armed = self.noticed == 0;
        self.noticed |= error as u32;
        armed
    }

    /// A write, whatever its value.
    pub(super) fn latch(&mut self) {
        self.shown = core::mem::take(&mut self.noticed);
    }

    pub(super) fn shown(&self) -> u32 {
        self.shown
    }
}
