// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an instruction does with a device's register: what it reads, computes and writes.

use super::arithmetic::Arithmetic;
use super::arithmetic::BitTest;
use super::register::GeneralRegister;
use super::register::RegisterFile;
use super::register::Size;
use super::string::Segment;
use super::string::StringOperation;

/// An operand that is not in the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A register.
    Register(GeneralRegister),
    /// A constant of the instruction, extended to the size of the access.
    Immediate(u64),
}

impl Operand {
    fn read(self, registers: &impl RegisterFile) -> u64 {
        match self {
            Self::Register(register) => register.read(registers),
            Self::Immediate(value) => value,
        }
    }
}

/// What an instruction does. `size` is that of the access to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// MOV, MOVZX, MOVSX and MOVSXD from the device.
    Load {
        /// Bytes that are read.
        size: Size,
        /// Where they go.
        destination: GeneralRegister,
        /// Whether what they lack to fill the destination is their sign; else it is zeros.
        sign_extended: bool,
    },
    /// MOV and MOVNTI to the device.
    Store {
        /// Bytes that are written.
        size: Size,
        /// What is written.
        value: Operand,
    },
    /// XCHG.
    Exchange {
        /// The operand beside the device; its size is that of the access.
        register: GeneralRegister,
    },
    /// Arithmetic whose first operand is in the device.
    Modify {
        /// What is computed.
        arithmetic: Arithmetic,
        /// Bytes that are read and written.
        size: Size,
        /// The second operand.
        operand: Operand,
    },
    /// Arithmetic whose second operand is in the device.
    Combine {
        /// What is computed.
        arithmetic: Arithmetic,
        /// The first operand; its size is that of the access.
        destination: GeneralRegister,
    },
    /// BT, BTS, BTR and BTC.
    BitTest {
        /// What becomes of the bit.
        test: BitTest,
        /// Bytes that are read and written. The address already accounts for the bits beyond them.
        size: Size,
        /// Which bit.
        number: Operand,
    },
    /// MOVS, STOS and LODS.
    String(StringOperation),
}

/// Where a value comes from or goes to, apart from registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The device that was touched, at the guest-physical address that the exit tells.
    Device,
    /// The guest's memory, through its tables.
    Memory {
        /// The segment whose base is to be added.
        segment: Segment,
        /// The offset in it.
        offset: u64,
    },
}

/// What has to be read before an operation completes, and where what it writes will go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Read this first.
    pub from: Option<Place>,
    /// What the operation writes goes here. If that is memory, check first that it can be written.
    pub to: Option<Place>,
}

/// What is left to do when an operation has updated the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Completion {
    /// To be written to where the transfer goes.
    pub write: Option<u64>,
    /// Whether RIP moves on; otherwise the instruction has more iterations.
    pub finished: bool,
}

impl Operation {
    /// The size of each access to the device or to memory.
    #[must_use]
    pub fn size(&self) -> Size {
        match *self {
            Self::Load { size, .. }
            | Self::Store { size, .. }
            | Self::Modify { size, .. }
            | Self::BitTest { size, .. } => size,
            Self::Exchange { register } => register.size(),
            Self::Combine { destination, .. } => destination.size(),
            Self::String(string) => string.size,
        }
    }

    /// What is to be read and written. Nothing is changed yet, so a fault on the way has no effect.
    #[must_use]
    pub fn transfer(&self, registers: &impl RegisterFile) -> Transfer {
        let device_if = |condition: bool| condition.then_some(Place::Device);
        match self {
            Self::Load { .. } | Self::Combine { .. } => Transfer { from: Some(Place::Device), to: None },
            Self::Store { .. } => Transfer { from: None, to: Some(Place::Device) },
            Self::Exchange { .. } => Transfer { from: Some(Place::Device), to: Some(Place::Device) },
            Self::Modify { arithmetic, .. } => {
                Transfer { from: Some(Place::Device), to: device_if(arithmetic.keeps_result()) }
            }
            Self::BitTest { test, .. } => {
                Transfer { from: Some(Place::Device), to: device_if(*test != BitTest::Keep) }
            }
            Self::String(string) => string.transfer(registers),
        }
    }

    /// Updates the registers, RIP aside, given the value that was `read` (any, where nothing was to be).
    pub fn complete(&self, read: u64, registers: &mut impl RegisterFile) -> Completion {
        let write = match *self {
            Self::Load { size, destination, sign_extended } => {
                let value = if sign_extended { size.sign_extend(read) } else { size.truncate(read) };
                destination.write(registers, value);
                None
            }
            Self::Store { size, value } => Some(size.truncate(value.read(registers))),
            Self::Exchange { register } => {
                let written = register.read(registers);
                register.write(registers, read);
                Some(written)
            }
            Self::Modify { arithmetic, size, operand } => {
                let right = operand.read(registers);
                let (result, rflags) = arithmetic.compute(size, read, right, registers.rflags());
                registers.set_rflags(rflags);
                arithmetic.keeps_result().then_some(result)
            }
            Self::Combine { arithmetic, destination } => {
                let left = destination.read(registers);
                let (result, rflags) = arithmetic.compute(destination.size(), left, read, registers.rflags());
                registers.set_rflags(rflags);
                if arithmetic.keeps_result() {
                    destination.write(registers, result);
                }
                None
            }
            Self::BitTest { test, size, number } => {
                let number = number.read(registers);
                let (result, rflags) = test.compute(size, size.truncate(read), number, registers.rflags());
                registers.set_rflags(rflags);
                (test != BitTest::Keep).then_some(result)
            }
            Self::String(string) => return string.complete(read, registers),
        };
        Completion { write, finished: true }
    }
}
