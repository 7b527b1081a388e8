// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an operation reads, writes and changes.

use proptest::prelude::*;

use super::*;
use crate::vcpu::emulate::*;

const DEVICE: Option<Place> = Some(Place::Device);
const DIRECTION_FLAG: u64 = 1 << 10;
const ZERO_FLAG: u64 = 1 << 6;

fn registers(values: &[(u8, u64)]) -> Registers {
    let mut registers = Registers::default();
    for &(index, value) in values {
        registers.set(index.into(), value);
    }
    registers
}

fn low(index: u8, size: Size) -> GeneralRegister {
    GeneralRegister::low(index, size)
}

fn done(write: Option<u64>) -> Completion {
    Completion { write, finished: true }
}

#[test]
fn loads_extend_as_they_say() {
    let loaded = |sign_extended, destination| {
        let mut registers = registers(&[(RAX, u64::MAX)]);
        let operation = Operation::Load { size: Size::Byte, destination, sign_extended };
        assert_eq!(operation.transfer(&registers), Transfer { from: DEVICE, to: None });
        assert_eq!(operation.complete(0xABC0_0080, &mut registers), done(None));
        registers.get(RAX.into())
    };
    assert_eq!(loaded(false, low(RAX, Size::Quadword)), 0x80);
    assert_eq!(loaded(true, low(RAX, Size::Quadword)), 0xFFFF_FFFF_FFFF_FF80);
    assert_eq!(loaded(true, low(RAX, Size::Doubleword)), 0xFFFF_FF80);
    assert_eq!(loaded(false, low(RAX, Size::Word)), 0xFFFF_FFFF_FFFF_0080);
    assert_eq!(loaded(false, GeneralRegister::high_byte(RAX)), 0xFFFF_FFFF_FFFF_80FF);
}

#[test]
fn stores_write_no_more_than_their_size() {
    let mut registers = registers(&[(RDX, 0x1122_3344_5566_7788)]);
    let operation = Operation::Store { size: Size::Word, value: Operand::Immediate(u64::MAX) };
    assert_eq!(operation.transfer(&registers), Transfer { from: None, to: DEVICE });
    assert_eq!(operation.complete(0, &mut registers), done(Some(0xFFFF)));
    let high = Operand::Register(GeneralRegister::high_byte(RDX));
    let operation = Operation::Store { size: Size::Byte, value: high };
    assert_eq!(operation.complete(0, &mut registers), done(Some(0x77)));
}

#[test]
fn exchange_swaps() {
    let mut registers = registers(&[(RBX, 0x1122_3344_5566_7788)]);
    let operation = Operation::Exchange { register: low(RBX, Size::Doubleword) };
    assert_eq!(operation.transfer(&registers), Transfer { from: DEVICE, to: DEVICE });
    assert_eq!(operation.complete(0xAABB_CCDD, &mut registers), done(Some(0x5566_7788)));
    assert_eq!(registers.get(RBX.into()), 0xAABB_CCDD);
}

#[test]
fn device_is_the_first_operand_of_modify_and_the_second_of_combine() {
    let operand = Operand::Immediate(3);
    let mut registers = registers(&[(RCX, 3)]);
    let modify = Operation::Modify { arithmetic: Arithmetic::Subtract, size: Size::Doubleword, operand };
    assert_eq!(modify.transfer(&registers), Transfer { from: DEVICE, to: DEVICE });
    assert_eq!(modify.complete(10, &mut registers), done(Some(7)));
    let destination = low(RCX, Size::Doubleword);
    let combine = Operation::Combine { arithmetic: Arithmetic::Subtract, destination };
    assert_eq!(combine.transfer(&registers), Transfer { from: DEVICE, to: None });
    assert_eq!(combine.complete(10, &mut registers), done(None));
    assert_eq!(registers.get(RCX.into()), 0xFFFF_FFF9);
    assert_eq!(registers.rflags() & 1, 1, "carry");
}

#[test]
fn comparisons_change_flags_only() {
    for arithmetic in [Arithmetic::Compare, Arithmetic::Test] {
        let mut registers = registers(&[(RCX, 0x5)]);
        let modify = Operation::Modify { arithmetic, size: Size::Byte, operand: Operand::Immediate(5) };
        assert_eq!(modify.transfer(&registers), Transfer { from: DEVICE, to: None });
        assert_eq!(modify.complete(5, &mut registers), done(None));
        assert_eq!(registers.rflags() & ZERO_FLAG != 0, arithmetic == Arithmetic::Compare);
        let combine = Operation::Combine { arithmetic, destination: low(RCX, Size::Byte) };
        assert_eq!(combine.complete(2, &mut registers), done(None));
        assert_eq!(registers.rflags() & ZERO_FLAG != 0, arithmetic == Arithmetic::Test);
        assert_eq!(registers.get(RCX.into()), 5);
    }
}

#[test]
fn bit_test_writes_only_if_it_changes_the_bit() {
    let with = |test| Operation::BitTest { test, size: Size::Doubleword, number: Operand::Immediate(33) };
    let mut registers = registers(&[]);
    assert_eq!(with(BitTest::Keep).transfer(&registers), Transfer { from: DEVICE, to: None });
    assert_eq!(with(BitTest::Keep).complete(2, &mut registers), done(None));
    assert_eq!(registers.rflags(), 1);
    assert_eq!(with(BitTest::Complement).transfer(&registers), Transfer { from: DEVICE, to: DEVICE });
    assert_eq!(with(BitTest::Complement).complete(0, &mut registers), done(Some(2)));
    assert_eq!(registers.rflags(), 0);
}

fn string(kind: StringKind, repeated: bool, address_size: Size) -> Operation {
    Operation::String(StringOperation { kind, size: Size::Word, repeated, address_size })
}

#[test]
fn moves_name_the_memory_beside_the_device() {
    let registers = registers(&[(RCX, 1), (RSI, 0xF_0000_1000), (RDI, 0xF_0000_2000)]);
    let from = string(StringKind::MoveFromDevice, true, Size::Doubleword);
    let es_rdi = Place::Memory { segment: Segment::Es, offset: 0x2000 };
    assert_eq!(from.transfer(&registers), Transfer { from: DEVICE, to: Some(es_rdi) });
    let to = string(StringKind::MoveToDevice(Segment::Gs), true, Size::Quadword);
    let gs_rsi = Place::Memory { segment: Segment::Gs, offset: 0xF_0000_1000 };
    assert_eq!(to.transfer(&registers), Transfer { from: Some(gs_rsi), to: DEVICE });
}

#[test]
fn each_kind_moves_its_own_pointers() {
    let after = |kind, rflags| {
        let mut registers = registers(&[(RAX, 0x1_1111), (RSI, 0x1000), (RDI, 0x2000)]);
        registers.set_rflags(rflags);
        let completion = string(kind, false, Size::Quadword).complete(0xABCD_EF01, &mut registers);
        (completion, [RAX, RSI, RDI].map(|index| registers.get(index.into())))
    };
    assert_eq!(after(StringKind::Load, 0), (done(None), [0x1_EF01, 0x1002, 0x2000]));
    assert_eq!(after(StringKind::Store, 0), (done(Some(0x1111)), [0x1_1111, 0x1000, 0x2002]));
    assert_eq!(after(StringKind::MoveFromDevice, 0), (done(Some(0xEF01)), [0x1_1111, 0x1002, 0x2002]));
    let backwards = after(StringKind::MoveToDevice(Segment::Ds), DIRECTION_FLAG);
    assert_eq!(backwards, (done(Some(0xEF01)), [0x1_1111, 0x0FFE, 0x1FFE]));
}

#[test]
fn repetition_ends_when_the_count_does() {
    let mut registers = registers(&[(RAX, 7), (RCX, 2), (RDI, 0)]);
    let operation = string(StringKind::Store, true, Size::Quadword);
    assert_eq!(operation.complete(0, &mut registers), Completion { write: Some(7), finished: false });
    assert_eq!(operation.complete(0, &mut registers), done(Some(7)));
    assert_eq!((registers.get(RCX.into()), registers.get(RDI.into())), (0, 4));
}

#[test]
fn repetition_without_a_count_touches_nothing() {
    let mut registers = registers(&[(RCX, 0xFFFF_0000)]);
    let before = registers.clone();
    for kind in [StringKind::Load, StringKind::Store, StringKind::MoveFromDevice] {
        let operation = string(kind, true, Size::Word);
        assert_eq!(operation.transfer(&registers), Transfer { from: None, to: None });
        assert_eq!(operation.complete(9, &mut registers), done(None));
        assert_eq!(registers, before);
    }
}

#[test]
fn address_size_decides_how_far_pointers_reach() {
    let after = |address_size| {
        let mut registers = registers(&[(RCX, 0x1_0000_0001), (RDI, 0xF_FFFF_FFFF)]);
        let completion = string(StringKind::Store, true, address_size).complete(0, &mut registers);
        (completion.finished, registers.get(RCX.into()), registers.get(RDI.into()))
    };
    assert_eq!(after(Size::Word), (true, 0x1_0000_0000, 0xF_FFFF_0001));
    assert_eq!(after(Size::Doubleword), (true, 0, 1));
    assert_eq!(after(Size::Quadword), (false, 0x1_0000_0000, 0x10_0000_0001));
}

proptest! {
    /// A value that goes out to a device and comes back is the part of the register that was named.
    #[test]
    fn what_is_stored_loads_back(value: u64, index in 0..16_u8, other: u64) {
        for size in [Size::Byte, Size::Word, Size::Doubleword, Size::Quadword] {
            let mut registers = registers(&[(index, value)]);
            let register = low(index, size);
            let store = Operation::Store { size, value: Operand::Register(register) };
            let written = store.complete(0, &mut registers).write.unwrap_or(!value);
            registers.set(index.into(), other);
            let load = Operation::Load { size, destination: register, sign_extended: false };
            prop_assert_eq!(load.complete(written, &mut registers), done(None));
            prop_assert_eq!(register.read(&registers), size.truncate(value));
        }
    }
}
