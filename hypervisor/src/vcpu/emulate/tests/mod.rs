// SPDX-License-Identifier: MIT OR Apache-2.0
//! Emulated instructions, from their bytes to what they change.

mod completing;
mod decoding;

use super::RegisterFile;

/// Registers that are just memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Registers {
    general: [u64; 16],
    rflags: u64,
}

impl RegisterFile for Registers {
    fn get(&self, index: usize) -> u64 {
        self.general[index]
    }

    fn set(&mut self, index: usize, value: u64) {
        self.general[index] = value;
    }

    fn rflags(&self) -> u64 {
        self.rflags
    }

    fn set_rflags(&mut self, value: u64) {
        self.rflags = value;
    }
}

const RAX: u8 = 0;
const RCX: u8 = 1;
const RDX: u8 = 2;
const RBX: u8 = 3;
const RSI: u8 = 6;
const RDI: u8 = 7;
