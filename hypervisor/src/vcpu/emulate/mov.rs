// SPDX-License-Identifier: MIT OR Apache-2.0
//! The instructions by which kernels read and write registers of devices, decoded at a fraction of what it takes to decode any:
//! MOV of 32 bits between memory and a register, or from a constant (SDM vol. 2B, "MOV—Move").

use super::CodeSize;
use super::Instruction;
use super::operation::Operand;
use super::operation::Operation;
use super::register::GeneralRegister;
use super::register::Size;

/// Operands of 32 bits, whose memory operand has at most a REX prefix before it.
const LOAD: u8 = 0x8B;
const STORE: u8 = 0x89;
const STORE_CONSTANT: u8 = 0xC7;

/// The instruction at the start of `bytes` if it is such a MOV; else somebody has to look who knows them all.
pub(super) fn decode(bytes: &[u8], code: CodeSize) -> Option<Instruction> {
    let (rex, rest) = match (code, *bytes.first()?) {
        (CodeSize::Bits16, _) => return None,
        // With W the operands have 64 bits.
        (CodeSize::Bits64, rex @ 0x40..=0x47) => (rex, &bytes[1..]),
        _ => (0, bytes),
    };
    let &[opcode, mod_rm, ..] = rest else { return None };
    let extension = (rex >> 2 & 1) << 3;
    let register = GeneralRegister::low(mod_rm >> 3 & 7 | extension, Size::Doubleword);
    let end = bytes.len() - rest.len() + 1 + length_of_address(&rest[1..])?;
    let (operation, length) = match opcode {
        LOAD => {
            (Operation::Load { size: Size::Doubleword, destination: register, sign_extended: false }, end)
        }
        STORE => (store(Operand::Register(register)), end),
        STORE_CONSTANT if mod_rm >> 3 & 7 == 0 => {
            let constant = bytes.get(end..)?.first_chunk()?;
            (store(Operand::Immediate(u32::from_le_bytes(*constant).into())), end + 4)
        }
        _ => return None,
    };
    (length <= bytes.len()).then_some(Instruction { operation, length })
}

fn store(value: Operand) -> Operation {
    Operation::Store { size: Size::Doubleword, value }
}

/// Bytes of ModR/M, SIB and displacement, where that is an operand in memory (SDM vol. 2A, "Instruction Prefixes" and "ModR/M
/// and SIB Bytes"). Whether they are all there is another matter.
fn length_of_address(bytes: &[u8]) -> Option<usize> {
    const HAS_SIB: u8 = 4;
    const DISPLACEMENT_ALONE: u8 = 5;
    let mod_rm = *bytes.first()?;
    let (mode, mut base) = (mod_rm >> 6, mod_rm & 7);
    let mut length = 1;
    if mode != 3 && base == HAS_SIB {
        base = bytes.get(1)? & 7;
        length += 1;
    }
    match mode {
        0 if base == DISPLACEMENT_ALONE => Some(length + 4),
        0 => Some(length),
        1 => Some(length + 1),
        2 => Some(length + 4),
        _ => None,
    }
}
