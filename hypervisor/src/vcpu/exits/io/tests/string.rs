// SPDX-License-Identifier: MIT OR Apache-2.0
//! INS and OUTS, element by element (SDM vol. 2A, INS and REP).

use super::*;
use crate::memory::FRAME;
use crate::mmu::space::Content;
use crate::mmu::space::Ram;
use crate::vcpu::exception::Exception;
use crate::vcpu::model::DATA;
use crate::vcpu::model::RAM;
use crate::vcpu::model::UNMAPPED;
use crate::vmx::entry::Registers;

/// What an instruction information field says of the address size.
const BITS_16: u32 = 0 << 7;
const BITS_32: u32 = 1 << 7;
const BITS_64: u32 = 2 << 7;

/// RFLAGS.DF.
const DIRECTION: u64 = 1 << 10;
/// In the error code of a page fault.
const WRITE: u32 = 2;

fn string(port: u16, size: u8, input: bool) -> IoQualification {
    plain(port, size, input).with_string(true)
}

fn prepare_string(model: &mut Model, qualification: IoQualification, linear: u64) {
    prepare(model, qualification);
    model.tell(field::GUEST_LINEAR_ADDRESS, linear);
    model.tell(field::VM_EXIT_INSTRUCTION_INFORMATION, BITS_64);
    let index = if qualification.input() { RDI } else { RSI };
    model.guest().set_register(index, linear);
}

/// The UART's receiver has a byte, which a read of its data register takes.
fn with_input(model: &Model, byte: u8) {
    let mut typed = Some(byte);
    model.machine.receive(|| typed.take());
}

#[test]
fn an_element_goes_from_memory_to_the_port_and_back() {
    let mut model = Model::long_64();
    model.store(DATA, &[0x5a, 0xff]);
    prepare_string(&mut model, string(UART_SCRATCH, 1, false), DATA);
    model.executes(ExitReason::IO_INSTRUCTION);
    let Registers { rsi, rdi, rcx, rax, .. } = model.frame.registers;
    assert_eq!((rsi, rdi, rcx, rax), (DATA + 1, 0, 0, 0));

    prepare_string(&mut model, string(UART_SCRATCH, 1, true), DATA + 8);
    model.executes(ExitReason::IO_INSTRUCTION);
    assert_eq!(model.load(DATA + 7), [0, 0x5a, 0]);
    let Registers { rsi, rdi, rcx, rax, .. } = model.frame.registers;
    assert_eq!((rsi, rdi, rcx, rax), (DATA + 1, DATA + 9, 0, 0));
}

#[test]
fn each_size_moves_as_many_bytes_in_the_direction_of_df() {
    for size in [1_u8, 2, 4] {
        for (flags, next) in [(2, DATA + u64::from(size)), (2 | DIRECTION, DATA - u64::from(size))] {
            let mut model = Model::long_64();
            model.write(field::GUEST_RFLAGS, flags);
            prepare_string(&mut model, string(ABSENT, size, true), DATA);
            model.executes(ExitReason::IO_INSTRUCTION);
            assert_eq!(model.frame.registers.rdi, next);
            let written = u64::from_le_bytes(model.load(DATA));
            assert_eq!(written, (1 << (8 * size)) - 1);
            assert_eq!(model.load(DATA - 1), [0]);
        }
    }
}

#[test]
fn bytes_of_an_element_go_out_in_their_order() {
    let mut model = Model::long_64();
    model.store(DATA, &[0x08, 0, 0, 0xa5]);
    prepare_string(&mut model, string(UART_MODEM_CONTROL, 4, false), DATA);
    model.executes(ExitReason::IO_INSTRUCTION);
    assert_eq!(input(&mut model, UART_MODEM_CONTROL, 4), 0xa5b0_6008);
}

#[test]
fn the_address_size_says_how_much_of_the_registers_counts() {
    let cases = [
        // RDI and RCX before; RDI and RCX after.
        (
            BITS_16,
            [0xabcd_1111_2222_ffff, 0x5555_0000_0000_0002],
            [0xabcd_1111_2222_0000, 0x5555_0000_0000_0001],
        ),
        (BITS_32, [0xabcd_1111_ffff_ffff, 0x5555_5555_0000_0002], [0, 1]),
        (BITS_64, [u64::MAX, 0x1_0000_0000], [0, 0xffff_ffff]),
    ];
    for (size, [rdi, rcx], after) in cases {
        let mut model = Model::long_64();
        prepare_string(&mut model, string(ABSENT, 1, true).with_repeated(true), DATA);
        model.tell(field::VM_EXIT_INSTRUCTION_INFORMATION, size);
        (model.frame.registers.rdi, model.frame.registers.rcx) = (rdi, rcx);
        let rip = model.read(field::GUEST_RIP);
        assert_eq!(model.exit(ExitReason::IO_INSTRUCTION), Ok(()));
        assert_eq!([model.frame.registers.rdi, model.frame.registers.rcx], after);
        assert_eq!(model.read(field::GUEST_RIP), rip, "more elements follow");
    }
}

#[test]
fn a_count_of_zero_in_what_counts_of_it_does_nothing() {
    for (size, rcx) in [(BITS_16, 0xffff_0000), (BITS_32, 0xffff_ffff_0000_0000), (BITS_64, 0)] {
        let mut model = Model::long_64();
        with_input(&model, 0x5a);
        prepare_string(&mut model, string(UART_DATA, 1, true).with_repeated(true), UNMAPPED);
        model.tell(field::VM_EXIT_INSTRUCTION_INFORMATION, size);
        model.frame.registers.rcx = rcx;
        model.executes(ExitReason::IO_INSTRUCTION);
        assert_eq!((model.frame.registers.rdi, model.frame.registers.rcx), (UNMAPPED, rcx));
        assert_eq!(input(&mut model, UART_DATA, 1) & 0xff, 0x5a, "the port was not touched");
    }
}

/// Between elements the guest is entered, so that interrupts get in.
#[test]
fn rip_stays_until_the_last_element() {
    let mut model = Model::long_64();
    let rip = model.read(field::GUEST_RIP);
    prepare_string(&mut model, string(ABSENT, 2, true).with_repeated(true), DATA);
    model.frame.registers.rcx = 3;
    for left in [2, 1, 0] {
        let linear = model.frame.registers.rdi;
        model.tell(field::GUEST_LINEAR_ADDRESS, linear);
        assert_eq!(model.read(field::GUEST_RIP), rip);
        assert_eq!(model.exit(ExitReason::IO_INSTRUCTION), Ok(()));
        assert_eq!(model.frame.registers.rcx, left);
    }
    assert_eq!(model.read(field::GUEST_RIP), rip + LENGTH);
    assert_eq!(model.load(DATA), [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
}

/// SDM vol. 2B, "REP/REPE/REPZ/REPNE/REPNZ": after the fault is handled the instruction goes on with the element that faulted.
#[test]
fn a_fault_in_the_middle_leaves_the_instruction_to_be_taken_up_again() {
    let mut model = Model::long_64();
    let last = UNMAPPED - 1;
    prepare_string(&mut model, string(UART_DATA, 1, true).with_repeated(true), last);
    model.frame.registers.rcx = 2;
    assert_eq!(model.exit(ExitReason::IO_INSTRUCTION), Ok(()));
    with_input(&model, 0x5a);
    model.tell(field::GUEST_LINEAR_ADDRESS, UNMAPPED);
    let fault = Exception::PageFault { address: UNMAPPED, error_code: WRITE };
    model.raises(ExitReason::IO_INSTRUCTION, fault);
    assert_eq!((model.frame.registers.rdi, model.frame.registers.rcx), (UNMAPPED, 1));
    assert_eq!(input(&mut model, UART_DATA, 1) & 0xff, 0x5a, "the byte is not lost");

    prepare_string(&mut model, string(UART_DATA, 1, false), UNMAPPED);
    let fault = Exception::PageFault { address: UNMAPPED, error_code: 0 };
    model.raises(ExitReason::IO_INSTRUCTION, fault);
}

#[test]
fn an_element_across_pages_needs_both() {
    let mut model = Model::long_64();
    with_input(&model, 0x5a);
    prepare_string(&mut model, string(UART_DATA, 4, true), UNMAPPED - 2);
    // CR2 tells the first byte that faults.
    let fault = Exception::PageFault { address: UNMAPPED, error_code: WRITE };
    model.raises(ExitReason::IO_INSTRUCTION, fault);
    assert_eq!(model.load(UNMAPPED - 2), [0, 0]);
    prepare_string(&mut model, string(ABSENT, 4, true), DATA + 0xffe);
    model.executes(ExitReason::IO_INSTRUCTION);
    assert_eq!(model.load(DATA + 0xffd), [0, 0xff, 0xff, 0xff, 0xff, 0]);
}

/// Where the guest has no RAM, as on the page of a device, no element can go.
#[test]
fn memory_that_is_not_there_is_found_before_the_device_is_touched() {
    for nowhere in [RAM, RAM - 2, 0xfee0_0000] {
        let mut model = Model::protected_32();
        with_input(&model, 0x5a);
        prepare_string(&mut model, string(UART_DATA, 4, true), nowhere);
        model.raises(ExitReason::IO_INSTRUCTION, Exception::GeneralProtection);
        prepare_string(&mut model, string(UART_DATA, 4, false), nowhere);
        model.raises(ExitReason::IO_INSTRUCTION, Exception::GeneralProtection);
        assert_eq!(input(&mut model, UART_DATA, 1) & 0xff, 0x5a);
    }
}

/// SDM vol. 3, "Exit Qualification for I/O Instructions" has 1, 2 and 4 bytes; who is below us may still say something else.
#[test]
fn a_size_that_no_instruction_has_is_taken_for_four() {
    for size_less_one in [2, 4, 5, 6, 7] {
        for qualification in [string(ABSENT, 1, true), string(ABSENT, 1, false), plain(ABSENT, 1, true)] {
            let mut model = Model::long_64();
            prepare_string(&mut model, qualification.with_size_less_one(size_less_one), DATA);
            model.executes(ExitReason::IO_INSTRUCTION);
        }
    }
}

/// As when a processor writes there.
#[test]
fn input_to_read_only_memory_is_lost() {
    const ROM: u64 = 0x9000_0000;
    let mut model = Model::long_64();
    let ram = Ram::new(FRAME).expect("the host has memory");
    let content = Content::Rom(ram);
    model.machine.memory.set(CpuNumber::BOOT, ROM..ROM + FRAME, content).expect("the host has memory");
    output(&mut model, UART_SCRATCH, 1, 0x5a);
    prepare_string(&mut model, string(UART_SCRATCH, 1, true), ROM);
    model.executes(ExitReason::IO_INSTRUCTION);
    assert_eq!(model.load(ROM), [0]);
    assert_eq!(model.frame.registers.rdi, ROM + 1);
}
