// SPDX-License-Identifier: MIT OR Apache-2.0
//! MSI-X: a table of messages, each of which can be masked, and a bit for each that waits for that to end (PCI 3.0, 6.8.2).

use crate::irqchip::Message;
use alloc::boxed::Box;
use bitfield_struct::bitfield;

/// The most vectors that a function has here: a bit for each.
pub const MOST_VECTORS: u16 = 64;

/// Bytes of an entry of the table.
const ENTRY: usize = 16;

/// Vector control: masked.
const MASKED: u32 = 1;

/// The bits of an entry's four words that can be written.
const WRITABLE: [u32; 4] = [!3, !0, !0, MASKED];

/// Message control.
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct MessageControl {
    /// Vectors, less one.
    #[bits(11)]
    pub last_vector: u16,
    #[bits(3)]
    _reserved: u8,
    /// All vectors are masked.
    pub masked: bool,
    /// The function sends messages, and does not use its line.
    pub enabled: bool,
}

/// One entry: address, upper address, data, vector control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry([u32; 4]);

impl Entry {
    const RESET: Self = Self([0, 0, 0, MASKED]);

    fn is_masked(self) -> bool {
        self.0[3] & MASKED != 0
    }

    fn message(self) -> Option<Message> {
        let [low, high, data, _] = self.0;
        Message::from_write(u64::from(high) << 32 | u64::from(low), data)
    }
}

/// The table, and who waits.
#[derive(Debug)]
pub struct Msix {
    entries: Box<[Entry]>,
    /// A bit for each vector that was signalled while it was masked.
    pending: u64,
    control: MessageControl,
}

impl Msix {
    /// As after reset: not enabled, and every vector masked.
    ///
    /// # Panics
    /// If there are no vectors, or more than [`MOST_VECTORS`].
    #[must_use]
    pub fn new(vectors: u16) -> Self {
        assert!((1..=MOST_VECTORS).contains(&vectors), "{vectors} vectors");
        Self {
            entries: (0..vectors).map(|_| Entry::RESET).collect(),
            pending: 0,
            control: MessageControl::new().with_last_vector(vectors - 1),
        }
    }

    /// How many vectors there are.
    #[must_use]
    pub fn vectors(&self) -> u16 {
        self.entries.len() as u16
    }

    /// Message control.
    #[must_use]
    pub fn control(&self) -> MessageControl {
        self.control
    }

    /// Software has written message control. What waits and may be sent is given to `send`.
    pub fn set_control(&mut self, control: MessageControl, send: impl FnMut(Message)) {
        self.control = self.control.with_masked(control.masked()).with_enabled(control.enabled());
        self.send_pending(send);
    }

    /// Signals a vector: what is to be sent for it now, if it is not masked.
    #[inline]
    pub fn signal(&mut self, vector: u16) -> Option<Message> {
        let entry = *self.entries.get(usize::from(vector))?;
        if !self.control.enabled() {
            return None;
        }
        if self.control.masked() || entry.is_masked() {
            self.pending |= 1 << vector;
            return None;
        }
        entry.message()
    }

    /// Nothing that was signalled is sent any more.
    pub fn forget_pending(&mut self) {
        self.pending = 0;
    }

    fn send_pending(&mut self, mut send: impl FnMut(Message)) {
        if !self.control.enabled() || self.control.masked() {
            return;
        }
        for (vector, entry) in self.entries.iter().enumerate() {
            let bit = 1 << vector;
            if self.pending & bit != 0 && !entry.is_masked() {
                self.pending &= !bit;
                entry.message().into_iter().for_each(&mut send);
            }
        }
    }

    /// Reads the table from `offset` on. Beyond its end are zeros.
    pub fn read_table(&self, offset: usize, buffer: &mut [u8]) {
        for (at, byte) in (offset..).zip(buffer) {
            let word = self.entries.get(at / ENTRY).map_or(0, |entry| entry.0[at % ENTRY / 4]);
            *byte = word.to_le_bytes()[at % 4];
        }
    }

    /// Reads the pending bits from `offset` on. Beyond their end are zeros.
    pub fn read_pending(&self, offset: usize, buffer: &mut [u8]) {
        let bits = self.pending.to_le_bytes();
        for (at, byte) in (offset..).zip(buffer) {
            *byte = bits.get(at).copied().unwrap_or(0);
        }
    }

    /// Writes to the table: one or two whole words; others are lost. What waits and may be sent is given to `send`.
    pub fn write_table(&mut self, offset: usize, bytes: &[u8], send: impl FnMut(Message)) {
        if !offset.is_multiple_of(bytes.len().max(4)) {
            return;
        }
        let (words, _) = bytes.as_chunks();
        for (at, word) in (offset..).step_by(4).zip(words) {
            let Some(entry) = self.entries.get_mut(at / ENTRY) else { return };
            let word_in_entry = at % ENTRY / 4;
            entry.0[word_in_entry] = u32::from_le_bytes(*word) & WRITABLE[word_in_entry];
        }
        self.send_pending(send);
    }
}

#[cfg(test)]
mod tests;
