// SPDX-License-Identifier: MIT OR Apache-2.0
//! The receiver's FIFO of a 16550A.

/// Up to 16 bytes, first in first out.
#[derive(Clone, Debug, Default)]
pub(super) struct ReceiveFifo {
    bytes: [u8; Self::CAPACITY],
    first: usize,
    length: usize,
}

impl ReceiveFifo {
    pub(super) const CAPACITY: usize = 16;

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Appends `byte`; the caller has seen that there is room.
    ///
    /// # Panics
    /// If there is none.
    pub(super) fn push(&mut self, byte: u8) {
        assert!(self.length < Self::CAPACITY, "the receiver's FIFO is full");
        self.bytes[(self.first + self.length) % Self::CAPACITY] = byte;
        self.length += 1;
    }

    pub(super) fn pop(&mut self) -> Option<u8> {
        let byte = self.bytes[self.first];
        self.length = self.length.checked_sub(1)?;
        self.first = (self.first + 1) % Self::CAPACITY;
        Some(byte)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
