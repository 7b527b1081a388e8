// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bytes that a target was given, taken from the front. Behind their end come zeros.

/// What is left of them.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of them.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next so many.
    pub fn take<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_at(N.min(self.0.len()));
        self.0 = rest;
        let mut bytes = [0; N];
        bytes[..taken.len()].copy_from_slice(taken);
        bytes
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        u8::from_le_bytes(self.take())
    }

    /// The next eight.
    pub fn quadword(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// All the others.
    #[must_use]
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}
