// SPDX-License-Identifier: MIT OR Apache-2.0
//! What bytes decode to, against an assembler's listing and against encodings put together by the manual.

use proptest::prelude::*;

use super::*;
use crate::vcpu::emulate::decode::decode_any;
use crate::vcpu::emulate::*;

use Operand::Immediate;
use Size::Byte;
use Size::Doubleword;
use Size::Quadword;
use Size::Word;

const fn low(index: u8, size: Size) -> GeneralRegister {
    GeneralRegister::low(index, size)
}

fn load(size: Size, destination: GeneralRegister, sign_extended: bool) -> Operation {
    Operation::Load { size, destination, sign_extended }
}

fn store(size: Size, value: Operand) -> Operation {
    Operation::Store { size, value }
}

fn modify(arithmetic: Arithmetic, size: Size, operand: Operand) -> Operation {
    Operation::Modify { arithmetic, size, operand }
}

fn combine(arithmetic: Arithmetic, destination: GeneralRegister) -> Operation {
    Operation::Combine { arithmetic, destination }
}

fn bit_test(test: BitTest, size: Size, number: Operand) -> Operation {
    Operation::BitTest { test, size, number }
}

fn string(kind: StringKind, size: Size, repeated: bool, address_size: Size) -> Operation {
    Operation::String(StringOperation { kind, size, repeated, address_size })
}

fn assert_decodes(code: CodeSize, access: DeviceAccess, cases: &[(&[u8], Operation)]) {
    for &(bytes, operation) in cases {
        // What follows an instruction in memory is no part of it.
        let mut fetched = [0xCC; 15];
        fetched[..bytes.len()].copy_from_slice(bytes);
        let expected = Instruction { operation, length: bytes.len() };
        assert_eq!(decode(&fetched, code, access), Ok(expected), "{bytes:02x?}");
    }
}

#[test]
fn moves_decode_as_assembled() {
    assert_decodes(
        CodeSize::Bits64,
        DeviceAccess::Read,
        &[
            // mov eax, [rdi]; mov r9, [rdi+8]; mov ah, [rcx]; mov sil, [rcx]; mov cx, [rip+16]
            (&[0x8B, 0x07], load(Doubleword, low(RAX, Doubleword), false)),
            (&[0x4C, 0x8B, 0x4F, 0x08], load(Quadword, low(9, Quadword), false)),
            (&[0x8A, 0x21], load(Byte, GeneralRegister::high_byte(RAX), false)),
            (&[0x40, 0x8A, 0x31], load(Byte, low(RSI, Byte), false)),
            (&[0x66, 0x8B, 0x0D, 0x10, 0, 0, 0], load(Word, low(RCX, Word), false)),
            // movzx eax, byte [rdi]; movzx r10, word [rdi]; movsx ax, byte [rdi]; movsxd rbx, dword [rsi]
            (&[0x0F, 0xB6, 0x07], load(Byte, low(RAX, Doubleword), false)),
            (&[0x4C, 0x0F, 0xB7, 0x17], load(Word, low(10, Quadword), false)),
            (&[0x66, 0x0F, 0xBE, 0x07], load(Byte, low(RAX, Word), true)),
            (&[0x48, 0x63, 0x1E], load(Doubleword, low(RBX, Quadword), true)),
            // mov [rdi], r15d; mov [rdi], dh; mov qword [rdi], -2; mov word [rdi], 1234h; movnti [rdi], rax
            (&[0x44, 0x89, 0x3F], store(Doubleword, Operand::Register(low(15, Doubleword)))),
            (&[0x88, 0x37], store(Byte, Operand::Register(GeneralRegister::high_byte(RDX)))),
            (&[0x48, 0xC7, 0x07, 0xFE, 0xFF, 0xFF, 0xFF], store(Quadword, Immediate(0u64.wrapping_sub(2)))),
            (&[0x66, 0xC7, 0x07, 0x34, 0x12], store(Word, Immediate(0x1234))),
            (&[0x48, 0x0F, 0xC3, 0x07], store(Quadword, Operand::Register(low(RAX, Quadword)))),
            // movabs eax, [1122334455667788h]; movabs [1122334455667788h], al; xchg [rdi], r8d
            (
                &[0xA1, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11],
                load(Doubleword, low(RAX, Doubleword), false),
            ),
            (
                &[0xA2, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11],
                store(Byte, Operand::Register(low(RAX, Byte))),
            ),
            (&[0x44, 0x87, 0x07], Operation::Exchange { register: low(8, Doubleword) }),
        ],
    );
}

#[test]
fn arithmetic_and_bit_tests_decode_as_assembled() {
    let all_ones_but_15 = 0u64.wrapping_sub(16);
    assert_decodes(
        CodeSize::Bits64,
        DeviceAccess::Write,
        &[
            // lock or dword [rdi], -16; and byte [rdi], 7Fh; add [rdi], rcx; sub cx, [rdi]; xor r11d, [rdi]
            (&[0xF0, 0x83, 0x0F, 0xF0], modify(Arithmetic::Or, Doubleword, Immediate(0xFFFF_FFF0))),
            (&[0xF0, 0x48, 0x83, 0x0F, 0xF0], modify(Arithmetic::Or, Quadword, Immediate(all_ones_but_15))),
            (&[0x80, 0x27, 0x7F], modify(Arithmetic::And, Byte, Immediate(0x7F))),
            (&[0x48, 0x01, 0x0F], modify(Arithmetic::Add, Quadword, Operand::Register(low(RCX, Quadword)))),
            (&[0x66, 0x2B, 0x0F], combine(Arithmetic::Subtract, low(RCX, Word))),
            (&[0x44, 0x33, 0x1F], combine(Arithmetic::Xor, low(11, Doubleword))),
            // cmp dword [rdi], 5; cmp al, [rdi]; test byte [rdi], 1; test [rdi], edx
            (&[0x83, 0x3F, 0x05], modify(Arithmetic::Compare, Doubleword, Immediate(5))),
            (&[0x3A, 0x07], combine(Arithmetic::Compare, low(RAX, Byte))),
            (&[0xF6, 0x07, 0x01], modify(Arithmetic::Test, Byte, Immediate(1))),
            (&[0x85, 0x17], modify(Arithmetic::Test, Doubleword, Operand::Register(low(RDX, Doubleword)))),
            // bt dword [rdi], 33; lock bts [rdi], rax; btr [rdi], cx; btc qword [rdi], 3
            (&[0x0F, 0xBA, 0x27, 0x21], bit_test(BitTest::Keep, Doubleword, Immediate(33))),
            (
                &[0xF0, 0x48, 0x0F, 0xAB, 0x07],
                bit_test(BitTest::Set, Quadword, Operand::Register(low(RAX, Quadword))),
            ),
            (&[0x66, 0x0F, 0xB3, 0x0F], bit_test(BitTest::Reset, Word, Operand::Register(low(RCX, Word)))),
            (&[0x48, 0x0F, 0xBA, 0x3F, 0x03], bit_test(BitTest::Complement, Quadword, Immediate(3))),
        ],
    );
}

#[test]
fn string_instructions_decode_as_assembled() {
    // rep movsd; addr32 rep movsw
    let movsd: &[u8] = &[0xF3, 0xA5];
    let movsw: &[u8] = &[0x67, 0x66, 0xF3, 0xA5];
    assert_decodes(
        CodeSize::Bits64,
        DeviceAccess::Read,
        &[
            (movsd, string(StringKind::MoveFromDevice, Doubleword, true, Quadword)),
            (movsw, string(StringKind::MoveFromDevice, Word, true, Doubleword)),
            // lodsd; repne lodsw
            (&[0xAD], string(StringKind::Load, Doubleword, false, Quadword)),
            (&[0x66, 0xF2, 0xAD], string(StringKind::Load, Word, true, Quadword)),
        ],
    );
    assert_decodes(
        CodeSize::Bits64,
        DeviceAccess::Write,
        &[
            (movsd, string(StringKind::MoveToDevice(Segment::Ds), Doubleword, true, Quadword)),
            // movsb from FS; rep stosq; stosb
            (&[0x64, 0xA4], string(StringKind::MoveToDevice(Segment::Fs), Byte, false, Quadword)),
            (&[0xF3, 0x48, 0xAB], string(StringKind::Store, Quadword, true, Quadword)),
            (&[0xAA], string(StringKind::Store, Byte, false, Quadword)),
        ],
    );
    let from_gs = string(StringKind::MoveToDevice(Segment::Gs), Doubleword, true, Doubleword);
    assert_decodes(CodeSize::Bits32, DeviceAccess::Write, &[(&[0x65, 0xF3, 0xA5], from_gs)]);
    let stosw = string(StringKind::Store, Word, false, Word);
    assert_decodes(CodeSize::Bits16, DeviceAccess::Write, &[(&[0xAB], stosw)]);
}

#[test]
fn operand_size_follows_the_kind_of_code() {
    let mov: &[u8] = &[0x8B, 0x07];
    let word = load(Word, low(RAX, Word), false);
    let doubleword = load(Doubleword, low(RAX, Doubleword), false);
    assert_decodes(CodeSize::Bits16, DeviceAccess::Read, &[(mov, word), (&[0x66, 0x8B, 0x07], doubleword)]);
    assert_decodes(CodeSize::Bits32, DeviceAccess::Read, &[(mov, doubleword), (&[0x66, 0x8B, 0x07], word)]);
    // mov eax, [FEE00020h], as 32-bit kernels read their local APIC.
    let absolute: &[u8] = &[0xA1, 0x20, 0x00, 0xE0, 0xFE];
    assert_decodes(CodeSize::Bits32, DeviceAccess::Read, &[(absolute, doubleword)]);
}

#[test]
fn other_instructions_are_named_by_their_bytes() {
    let cases: [(&str, &[u8]); 15] = [
        ("push [rdi]", &[0xFF, 0x37]),
        ("movsd xmm0, [rdi]", &[0xF2, 0x0F, 0x10, 0x07]),
        ("movaps [rdi], xmm0", &[0x0F, 0x29, 0x07]),
        ("mov [rdi], ds", &[0x8C, 0x1F]),
        ("lea rax, [rdi]", &[0x48, 0x8D, 0x07]),
        ("mov eax, ecx", &[0x89, 0xC8]),
        ("add eax, ecx", &[0x01, 0xC8]),
        ("xchg eax, ecx", &[0x91]),
        ("bt eax, ecx", &[0x0F, 0xA3, 0xC8]),
        ("mov eax, 1", &[0xB8, 1, 0, 0, 0]),
        ("call [rdi]", &[0xFF, 0x17]),
        ("cmpxchg [rdi], ecx", &[0x0F, 0xB1, 0x0F]),
        ("vmovd [rdi], xmm0", &[0xC5, 0xF9, 0x7E, 0x07]),
        ("mov eax, [rdi+...], cut off", &[0x8B, 0x87, 1, 2]),
        ("nothing at all", &[]),
    ];
    for (name, bytes) in cases {
        let refused =
            decode(bytes, CodeSize::Bits64, DeviceAccess::Read).map_err(|error| error.bytes().to_vec());
        assert_eq!(refused, Err(bytes.to_vec()), "{name}");
    }
}

#[test]
fn report_shows_the_bytes() {
    let report =
        decode(&[0x0F, 0x29, 0x07], CodeSize::Bits64, DeviceAccess::Write).map_err(|error| error.to_string());
    assert!(report.is_err_and(|text| text.contains(" 0f 29 07;")));
}

/// An instruction put together by the manual: prefixes, opcode, ModRM of a memory operand, SIB, displacement.
#[derive(Clone, Debug)]
struct Encoding {
    word: bool,
    rex: Option<u8>,
    opcode: Opcode,
    mode: u8,
    register: u8,
    base: u8,
    sib: u8,
}

#[derive(Clone, Copy, Debug)]
enum Opcode {
    Load(u8),
    Store(u8),
    Extend { opcode: u8, from: Size, sign: bool },
    Exchange(u8),
    Arithmetic(Arithmetic, u8),
}

impl Encoding {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.word {
            bytes.push(0x66);
        }
        bytes.extend(self.rex);
        match self.opcode {
            Opcode::Extend { opcode, .. } => bytes.extend([0x0F, opcode]),
            Opcode::Load(opcode)
            | Opcode::Store(opcode)
            | Opcode::Exchange(opcode)
            | Opcode::Arithmetic(_, opcode) => bytes.push(opcode),
        }
        bytes.push(self.mode << 6 | self.register << 3 | self.base);
        if self.base == 4 {
            bytes.push(self.sib);
        }
        let no_base = self.base == 5 || (self.base == 4 && self.sib & 7 == 5);
        let displacement = match self.mode {
            0 if no_base => 4,
            0 => 0,
            1 => 1,
            _ => 4,
        };
        bytes.extend(vec![0xA5; displacement]);
        bytes
    }

    fn size(&self) -> Size {
        if self.rex.unwrap_or(0) & 8 != 0 {
            Quadword
        } else if self.word {
            Word
        } else {
            Doubleword
        }
    }

    fn register(&self, size: Size) -> GeneralRegister {
        match self.rex {
            None if size == Byte && self.register >= 4 => GeneralRegister::high_byte(self.register - 4),
            rex => low(self.register | (rex.unwrap_or(0) & 4) << 1, size),
        }
    }

    fn operation(&self) -> Operation {
        let sized = |opcode: u8| if opcode & 1 == 0 { Byte } else { self.size() };
        match self.opcode {
            Opcode::Load(opcode) => load(sized(opcode), self.register(sized(opcode)), false),
            Opcode::Store(opcode) => store(sized(opcode), Operand::Register(self.register(sized(opcode)))),
            Opcode::Extend { from, sign, .. } => load(from, self.register(self.size()), sign),
            Opcode::Exchange(opcode) => Operation::Exchange { register: self.register(sized(opcode)) },
            Opcode::Arithmetic(arithmetic, opcode) => {
                let register = self.register(sized(opcode));
                // Bit 1 of the opcode says that the register is the first operand. TEST has only one order.
                if opcode & 2 != 0 && arithmetic != Arithmetic::Test {
                    combine(arithmetic, register)
                } else {
                    modify(arithmetic, sized(opcode), Operand::Register(register))
                }
            }
        }
    }
}

fn opcode() -> impl Strategy<Value = Opcode> {
    let mut opcodes = vec![Opcode::Load(0x8A), Opcode::Load(0x8B), Opcode::Store(0x88), Opcode::Store(0x89)];
    opcodes.extend([Opcode::Exchange(0x86), Opcode::Exchange(0x87)]);
    for (opcode, from, sign) in
        [(0xB6, Byte, false), (0xB7, Word, false), (0xBE, Byte, true), (0xBF, Word, true)]
    {
        opcodes.push(Opcode::Extend { opcode, from, sign });
    }
    let families = [
        (Arithmetic::Add, 0x00),
        (Arithmetic::Or, 0x08),
        (Arithmetic::And, 0x20),
        (Arithmetic::Subtract, 0x28),
        (Arithmetic::Xor, 0x30),
        (Arithmetic::Compare, 0x38),
    ];
    for (arithmetic, first) in families {
        opcodes.extend((0..4).map(|form| Opcode::Arithmetic(arithmetic, first + form)));
    }
    opcodes.extend([Opcode::Arithmetic(Arithmetic::Test, 0x84), Opcode::Arithmetic(Arithmetic::Test, 0x85)]);
    prop::sample::select(opcodes)
}

prop_compose! {
    fn encoding()(
        word: bool, rex in prop::option::of(0x40..0x50_u8), opcode in opcode(),
        mode in 0..3_u8, register in 0..8_u8, base in 0..8_u8, sib: u8,
    ) -> Encoding {
        Encoding { word, rex, opcode, mode, register, base, sib }
    }
}

/// The short way knows what it does not know, and agrees with the long one about the rest: about each form of address, with and
/// without all of its bytes.
#[test]
#[cfg_attr(miri, ignore = "tries very many")]
fn both_ways_to_decode_a_mov_agree() {
    const PREFIXES: [Option<u8>; 8] =
        [None, Some(0x40), Some(0x41), Some(0x44), Some(0x47), Some(0x48), Some(0x4f), Some(0x66)];
    const OPCODES: [u8; 6] = [0x8b, 0x89, 0xc7, 0x8a, 0x88, 0xa1];
    let agree = |bytes: &[u8], code| {
        let short = mov::decode(bytes, code);
        let long = decode_any(bytes, code, DeviceAccess::Read).ok();
        assert!(short.is_none() || short == long, "{bytes:x?} {code:?}: {short:?} {long:?}");
        short
    };
    for (prefix, opcode) in PREFIXES.into_iter().flat_map(|prefix| OPCODES.map(|opcode| (prefix, opcode))) {
        for (mod_rm, base) in (0..=255).flat_map(|mod_rm| (0..8).map(move |base| (mod_rm, base))) {
            let rest = [opcode, mod_rm, 0x20 | base, 1, 2, 3, 4, 5, 6, 7, 8, 9];
            let bytes: Vec<u8> = prefix.into_iter().chain(rest).collect();
            for code in [CodeSize::Bits16, CodeSize::Bits32, CodeSize::Bits64] {
                if let Some(Instruction { length, .. }) = agree(&bytes, code) {
                    assert_eq!(agree(&bytes[..length - 1], code), None);
                }
            }
        }
    }
}

/// What makes it worth having: accesses to registers as kernels make them go the short way.
#[test]
fn the_movs_of_kernels_are_decoded_the_short_way() {
    let movs: [&[u8]; 4] = [
        &[0x8b, 0x03],
        &[0x44, 0x89, 0x3f],
        &[0x89, 0x34, 0x25, 0, 0xb3, 0x5f, 0xff],
        &[0xc7, 0x04, 0x25, 0xb0, 0xb0, 0x5f, 0xff, 0, 0, 0, 0],
    ];
    for code in movs {
        let length = mov::decode(code, CodeSize::Bits64).map(|mov| mov.length);
        assert_eq!(length, Some(code.len()), "{code:x?}");
    }
}

proptest! {
    #[test]
    fn encodings_by_the_manual_decode_to_what_they_encode(encoding in encoding()) {
        let bytes = encoding.bytes();
        let expected = Instruction { operation: encoding.operation(), length: bytes.len() };
        prop_assert_eq!(decode(&bytes, CodeSize::Bits64, DeviceAccess::Read), Ok(expected));
        if encoding.rex.is_none() {
            prop_assert_eq!(decode(&bytes, CodeSize::Bits32, DeviceAccess::Read), Ok(expected));
        }
        let cut = &bytes[..bytes.len() - 1];
        prop_assert!(decode(cut, CodeSize::Bits64, DeviceAccess::Read).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..=15), read: u64, count in 0..3_u64,
    ) {
        let mut registers = Registers::default();
        registers.set(RCX.into(), count);
        for code in [CodeSize::Bits16, CodeSize::Bits32, CodeSize::Bits64] {
            for access in [DeviceAccess::Read, DeviceAccess::Write] {
                if let Ok(instruction) = decode(&bytes, code, access) {
                    prop_assert!((1..=bytes.len()).contains(&instruction.length));
                    let _ = instruction.operation.transfer(&registers);
                    let _ = instruction.operation.complete(read, &mut registers.clone());
                }
            }
        }
    }
}
