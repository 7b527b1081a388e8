// SPDX-License-Identifier: MIT OR Apache-2.0
//! Instructions that touch a device's memory: what they are, and what they do in its place.
//!
//! In order: [`decode()`] the bytes; see what the operation's [`Transfer`] reads and writes; check that the
//! memory that it writes to, if any, can be written; read; [`Operation::complete`]; write. RIP moves on when
//! the operation has finished.

mod arithmetic;
mod decode;
mod mov;
mod operation;
mod register;
mod string;

use core::fmt;

use crate::mmu::guest_walk::MAX_INSTRUCTION;

pub use self::arithmetic::Arithmetic;
pub use self::arithmetic::BitTest;
pub use self::decode::decode;
pub use self::decode::prepare;
pub use self::operation::Completion;
pub use self::operation::Operand;
pub use self::operation::Operation;
pub use self::operation::Place;
pub use self::operation::Transfer;
pub use self::register::GeneralRegister;
pub use self::register::RegisterFile;
pub use self::register::Size;
pub use self::string::Segment;
pub use self::string::StringKind;
pub use self::string::StringOperation;

/// How the processor reads code, by CS.L, CS.D and IA32_EFER.LMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeSize {
    /// Real mode, virtual-8086 mode, and segments with D clear.
    Bits16,
    /// Segments with D set.
    Bits32,
    /// 64-bit mode.
    Bits64,
}

/// Which access to the device exited: bit 0 or 1 of an EPT violation's exit qualification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceAccess {
    /// It was read.
    Read,
    /// It was written.
    Write,
}

/// A decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub operation: Operation,
    /// How many bytes it has.
    pub length: usize,
}

/// The instruction is not among those that Satori emulates, or not one at all, or was not fetched whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported {
    bytes: [u8; MAX_INSTRUCTION],
    length: usize,
}

impl Unsupported {
    /// `bytes` may hold more than the instruction.
    fn new(bytes: &[u8]) -> Self {
        let length = bytes.len().min(MAX_INSTRUCTION);
        let mut kept = [0; MAX_INSTRUCTION];
        kept[..length].copy_from_slice(&bytes[..length]);
        Self { bytes: kept, length }
    }

    /// What was to be decoded.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no emulation of the instruction at the start of")?;
        for byte in self.bytes() {
            write!(f, " {byte:02x}")?;
        }
        f.write_str("; have the guest use MOV on device memory")
    }
}

#[cfg(test)]
mod tests;
