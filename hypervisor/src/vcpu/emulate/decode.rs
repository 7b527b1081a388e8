// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the bytes of an instruction to what it does with the device that it touched.

use iced_x86::Decoder;
use iced_x86::DecoderOptions;
use iced_x86::MemorySize;
use iced_x86::Mnemonic;
use iced_x86::OpKind;
use iced_x86::Register;

use super::CodeSize;
use super::DeviceAccess;
use super::Instruction;
use super::Unsupported;
use super::arithmetic::Arithmetic;
use super::arithmetic::BitTest;
use super::mov;
use super::operation::Operand;
use super::operation::Operation;
use super::register::GeneralRegister;
use super::register::Size;
use super::string::Segment;
use super::string::StringKind;
use super::string::StringOperation;

/// What the instruction at the start of `bytes` does, where its memory operand, or for MOVS the one that
/// `access` tells, is a device's.
pub fn decode(bytes: &[u8], code: CodeSize, access: DeviceAccess) -> Result<Instruction, Unsupported> {
    match mov::decode(bytes, code) {
        Some(instruction) => Ok(instruction),
        None => decode_any(bytes, code, access),
    }
}

pub(super) fn decode_any(
    bytes: &[u8],
    code: CodeSize,
    access: DeviceAccess,
) -> Result<Instruction, Unsupported> {
    let bitness = match code {
        CodeSize::Bits16 => 16,
        CodeSize::Bits32 => 32,
        CodeSize::Bits64 => 64,
    };
    let decoded = Decoder::new(bitness, bytes, DecoderOptions::NONE).decode();
    match operation(&decoded, access) {
        Some(operation) => Ok(Instruction { operation, length: decoded.len() }),
        None => Err(Unsupported::new(bytes)),
    }
}

/// Allocates the decoder's tables, 81 KiB for good, which the first instruction to be decoded would do else.
pub fn prepare() {
    const NOP: [u8; 1] = [0x90];
    let _ = Decoder::new(64, &NOP, DecoderOptions::NONE).decode();
}

fn operation(decoded: &iced_x86::Instruction, access: DeviceAccess) -> Option<Operation> {
    match decoded.mnemonic() {
        Mnemonic::Mov | Mnemonic::Movnti => mov(decoded),
        Mnemonic::Movzx => load(decoded, false),
        Mnemonic::Movsx | Mnemonic::Movsxd => load(decoded, true),
        Mnemonic::Xchg => exchange(decoded),
        Mnemonic::Add => arithmetic(decoded, Arithmetic::Add),
        Mnemonic::And => arithmetic(decoded, Arithmetic::And),
        Mnemonic::Cmp => arithmetic(decoded, Arithmetic::Compare),
        Mnemonic::Or => arithmetic(decoded, Arithmetic::Or),
        Mnemonic::Sub => arithmetic(decoded, Arithmetic::Subtract),
        Mnemonic::Test => arithmetic(decoded, Arithmetic::Test),
        Mnemonic::Xor => arithmetic(decoded, Arithmetic::Xor),
        Mnemonic::Bt => bit_test(decoded, BitTest::Keep),
        Mnemonic::Bts => bit_test(decoded, BitTest::Set),
        Mnemonic::Btr => bit_test(decoded, BitTest::Reset),
        Mnemonic::Btc => bit_test(decoded, BitTest::Complement),
        Mnemonic::Lodsb | Mnemonic::Lodsw | Mnemonic::Lodsd | Mnemonic::Lodsq => {
            string(decoded, decoded.op1_kind(), StringKind::Load)
        }
        Mnemonic::Stosb | Mnemonic::Stosw | Mnemonic::Stosd | Mnemonic::Stosq => {
            string(decoded, decoded.op0_kind(), StringKind::Store)
        }
        // MOVSD is also the name of a vector instruction, whose operands have other kinds.
        Mnemonic::Movsb | Mnemonic::Movsw | Mnemonic::Movsd | Mnemonic::Movsq => {
            let kind = match access {
                DeviceAccess::Read => StringKind::MoveFromDevice,
                DeviceAccess::Write => StringKind::MoveToDevice(segment(decoded.memory_segment())?),
            };
            string(decoded, decoded.op1_kind(), kind)
        }
        _ => None,
    }
}

fn mov(decoded: &iced_x86::Instruction) -> Option<Operation> {
    if decoded.op0_kind() != OpKind::Memory {
        return load(decoded, false);
    }
    let size = memory_size(decoded)?;
    Some(Operation::Store { size, value: second_operand(decoded, size)? })
}

fn load(decoded: &iced_x86::Instruction, sign_extended: bool) -> Option<Operation> {
    Some(Operation::Load {
        size: size_of_second_in_memory(decoded)?,
        destination: general_register(decoded.op0_register())?,
        sign_extended,
    })
}

fn exchange(decoded: &iced_x86::Instruction) -> Option<Operation> {
    if decoded.op0_kind() != OpKind::Memory {
        return None;
    }
    Some(Operation::Exchange { register: general_register(decoded.op1_register())? })
}

fn arithmetic(decoded: &iced_x86::Instruction, arithmetic: Arithmetic) -> Option<Operation> {
    if decoded.op0_kind() == OpKind::Memory {
        let size = memory_size(decoded)?;
        return Some(Operation::Modify { arithmetic, size, operand: second_operand(decoded, size)? });
    }
    size_of_second_in_memory(decoded)?;
    Some(Operation::Combine { arithmetic, destination: general_register(decoded.op0_register())? })
}

fn bit_test(decoded: &iced_x86::Instruction, test: BitTest) -> Option<Operation> {
    if decoded.op0_kind() != OpKind::Memory {
        return None;
    }
    let size = memory_size(decoded)?;
    Some(Operation::BitTest { test, size, number: second_operand(decoded, size)? })
}

fn string(decoded: &iced_x86::Instruction, pointer: OpKind, kind: StringKind) -> Option<Operation> {
    let address_size = match pointer {
        OpKind::MemorySegSI | OpKind::MemoryESDI => Size::Word,
        OpKind::MemorySegESI | OpKind::MemoryESEDI => Size::Doubleword,
        OpKind::MemorySegRSI | OpKind::MemoryESRDI => Size::Quadword,
        _ => return None,
    };
    Some(Operation::String(StringOperation {
        kind,
        size: memory_size(decoded)?,
        repeated: decoded.has_rep_prefix() || decoded.has_repne_prefix(),
        address_size,
    }))
}

fn size_of_second_in_memory(decoded: &iced_x86::Instruction) -> Option<Size> {
    if decoded.op1_kind() == OpKind::Memory { memory_size(decoded) } else { None }
}

fn second_operand(decoded: &iced_x86::Instruction, size: Size) -> Option<Operand> {
    match decoded.op1_kind() {
        OpKind::Register => general_register(decoded.op1_register()).map(Operand::Register),
        OpKind::Immediate8
        | OpKind::Immediate16
        | OpKind::Immediate32
        | OpKind::Immediate64
        | OpKind::Immediate8to16
        | OpKind::Immediate8to32
        | OpKind::Immediate8to64
        | OpKind::Immediate32to64 => Some(Operand::Immediate(size.truncate(decoded.immediate(1)))),
        _ => None,
    }
}

fn memory_size(decoded: &iced_x86::Instruction) -> Option<Size> {
    match decoded.memory_size() {
        MemorySize::UInt8 | MemorySize::Int8 => Some(Size::Byte),
        MemorySize::UInt16 | MemorySize::Int16 => Some(Size::Word),
        MemorySize::UInt32 | MemorySize::Int32 => Some(Size::Doubleword),
        MemorySize::UInt64 | MemorySize::Int64 => Some(Size::Quadword),
        _ => None,
    }
}

fn segment(register: Register) -> Option<Segment> {
    match register {
        Register::ES => Some(Segment::Es),
        Register::CS => Some(Segment::Cs),
        Register::SS => Some(Segment::Ss),
        Register::DS => Some(Segment::Ds),
        Register::FS => Some(Segment::Fs),
        Register::GS => Some(Segment::Gs),
        _ => None,
    }
}

/// The decoder numbers the registers of a kind in the order of their encoding.
fn general_register(register: Register) -> Option<GeneralRegister> {
    let among = |first: Register, last: Register| {
        (first..=last).contains(&register).then(|| (register as usize - first as usize) as u8)
    };
    let low = |size| move |index| GeneralRegister::low(index, size);
    among(Register::AL, Register::BL)
        .map(low(Size::Byte))
        .or_else(|| among(Register::AH, Register::BH).map(GeneralRegister::high_byte))
        .or_else(|| {
            among(Register::SPL, Register::R15L).map(|index| GeneralRegister::low(index + 4, Size::Byte))
        })
        .or_else(|| among(Register::AX, Register::R15W).map(low(Size::Word)))
        .or_else(|| among(Register::EAX, Register::R15D).map(low(Size::Doubleword)))
        .or_else(|| among(Register::RAX, Register::R15).map(low(Size::Quadword)))
}
