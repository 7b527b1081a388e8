// SPDX-License-Identifier: MIT OR Apache-2.0
//! String instructions, one iteration at a time (SDM Vol. 2B, REP).

use crate::architecture::rflags;

use super::operation::Completion;
use super::operation::Place;
use super::operation::Transfer;
use super::register::GeneralRegister;
use super::register::RegisterFile;
use super::register::Size;

const RAX: u8 = 0;
const RCX: u8 = 1;
const RSI: u8 = 6;
const RDI: u8 = 7;

/// A segment register, by the number that encodes it. In 64-bit mode only FS and GS have a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// ES.
    Es = 0,
    /// CS.
    Cs = 1,
    /// SS.
    Ss = 2,
    /// DS.
    Ds = 3,
    /// FS.
    Fs = 4,
    /// GS.
    Gs = 5,
}

/// What a string instruction moves between the device and what else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StringKind {
    /// LODS: from the device to the accumulator.
    Load,
    /// STOS: from the accumulator to the device.
    Store,
    /// MOVS from the device to ES:RDI.
    MoveFromDevice,
    /// MOVS from memory at RSI in this segment to the device.
    MoveToDevice(Segment),
}

/// A string instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StringOperation {
    /// Which.
    pub kind: StringKind,
    /// The size of an element.
    pub size: Size,
    /// Whether it repeats until the count register is zero.
    pub repeated: bool,
    /// The size of RSI, RDI and the count register.
    pub address_size: Size,
}

impl StringOperation {
    pub(super) fn transfer(&self, registers: &impl RegisterFile) -> Transfer {
        if self.is_over(registers) {
            return Transfer { from: None, to: None };
        }
        let memory =
            |segment, index| Some(Place::Memory { segment, offset: self.pointer(index).read(registers) });
        match self.kind {
            StringKind::Load => Transfer { from: Some(Place::Device), to: None },
            StringKind::Store => Transfer { from: None, to: Some(Place::Device) },
            StringKind::MoveFromDevice => {
                Transfer { from: Some(Place::Device), to: memory(Segment::Es, RDI) }
            }
            StringKind::MoveToDevice(segment) => {
                Transfer { from: memory(segment, RSI), to: Some(Place::Device) }
            }
        }
    }

    pub(super) fn complete(&self, read: u64, registers: &mut impl RegisterFile) -> Completion {
        if self.is_over(registers) {
            return Completion { write: None, finished: true };
        }
        let accumulator = GeneralRegister::low(RAX, self.size);
        let write = match self.kind {
            StringKind::Load => {
                accumulator.write(registers, read);
                self.advance(RSI, registers);
                None
            }
            StringKind::Store => {
                self.advance(RDI, registers);
                Some(accumulator.read(registers))
            }
            StringKind::MoveFromDevice | StringKind::MoveToDevice(_) => {
                self.advance(RSI, registers);
                self.advance(RDI, registers);
                Some(self.size.truncate(read))
            }
        };
        if self.repeated {
            let count = self.pointer(RCX);
            count.write(registers, count.read(registers).wrapping_sub(1));
        }
        Completion { write, finished: !self.repeated || self.is_over(registers) }
    }

    /// Whether no iteration is left. So it is at the start only if the guest changed its code under us, as
    /// nothing would have touched the device.
    fn is_over(&self, registers: &impl RegisterFile) -> bool {
        self.repeated && self.pointer(RCX).read(registers) == 0
    }

    fn advance(&self, index: u8, registers: &mut impl RegisterFile) {
        let pointer = self.pointer(index);
        let step = self.size.bytes() as u64;
        let address = pointer.read(registers);
        let backwards = registers.rflags() & rflags::DF != 0;
        let next = if backwards { address.wrapping_sub(step) } else { address.wrapping_add(step) };
        pointer.write(registers, next);
    }

    fn pointer(&self, index: u8) -> GeneralRegister {
        GeneralRegister::low(index, self.address_size)
    }
}
