// SPDX-License-Identifier: MIT OR Apache-2.0
//! The other ends of an access to a device: the instruction's bytes, and memory that string instructions use.

use super::*;
use crate::architecture::rflags;
use crate::vcpu::model::PAGE_TABLES;
use crate::vcpu::model::UNMAPPED;

const MOVSD: &[u8] = &[0xa5];
const STOSD: &[u8] = &[0xab];
/// In the error code of a page fault.
const WRITE: u32 = 2;

/// The version register of the I/O APIC is behind its window, and its address in RSI.
fn at_version() -> Model {
    let mut model = Model::long_64();
    assert!(model.machine.write_io_apic(0, 1).is_empty());
    model.frame.registers.rsi = IO_APIC_BASE + IO_APIC_WINDOW;
    model
}

#[track_caller]
fn raises(
    model: &mut Model,
    code: &[u8],
    qualification: EptQualification,
    address: u64,
    exception: Exception,
) {
    prepare(model, code, qualification, address);
    model.raises(ExitReason::EPT_VIOLATION, exception);
}

#[test]
fn movs_goes_from_the_device_to_memory_and_back() {
    let mut model = at_version();
    model.frame.registers.rdi = DATA;
    plays(&mut model, MOVSD, reading(), IO_APIC_BASE + IO_APIC_WINDOW);
    assert_eq!(model.load(DATA), [0x20, 0, 0x17, 0, 0]);
    assert_eq!(model.frame.registers.rsi, IO_APIC_BASE + IO_APIC_WINDOW + 4);
    assert_eq!(model.frame.registers.rdi, DATA + 4);

    model.store(DATA, &[0x12, 0, 0, 0]);
    (model.frame.registers.rsi, model.frame.registers.rdi) = (DATA, IO_APIC_BASE);
    model.write(field::GUEST_RFLAGS, 2 | rflags::DF);
    plays(&mut model, MOVSD, writing(), IO_APIC_BASE);
    assert_eq!(model.machine.read_io_apic(0), 0x12);
    assert_eq!((model.frame.registers.rsi, model.frame.registers.rdi), (DATA - 4, IO_APIC_BASE - 4));
}

#[test]
fn a_repeated_instruction_stays_until_its_last_element() {
    let mut model = Model::long_64();
    let code = [&[0xf3], STOSD].concat();
    let registers = &mut model.frame.registers;
    (registers.rax, registers.rdi, registers.rcx) = (7, IO_APIC_BASE, 2);
    prepare(&mut model, &code, writing(), IO_APIC_BASE);
    assert_eq!(model.exit(ExitReason::EPT_VIOLATION), Ok(()));
    assert_eq!((model.frame.registers.rcx, model.read(field::GUEST_RIP)), (1, CODE));
    assert_eq!(model.machine.read_io_apic(0), 7);
    assert_eq!(model.exit(ExitReason::EPT_VIOLATION), Ok(()));
    assert_eq!((model.frame.registers.rcx, model.read(field::GUEST_RIP)), (0, CODE + 2));
}

#[test]
fn memory_that_faults_faults_before_the_device_is_touched() {
    let mut model = at_version();
    let (device, beyond_tables) = (IO_APIC_BASE + IO_APIC_WINDOW, RAM + 0x20_0000);
    for address in [UNMAPPED, beyond_tables] {
        let exception = Exception::PageFault { address, error_code: WRITE };
        model.frame.registers.rdi = address;
        raises(&mut model, MOVSD, reading(), device, exception);
        model.frame.registers.rsi = address;
        let exception = Exception::PageFault { address, error_code: 0 };
        raises(&mut model, MOVSD, writing(), IO_APIC_BASE, exception);
        model.frame.registers.rsi = device;
    }
}

/// The guest's tables map it, but it is no RAM: the page of another device, say.
#[test]
fn memory_that_is_not_there_is_found_before_the_device_is_touched() {
    let mut model = at_version();
    let device = IO_APIC_BASE + IO_APIC_WINDOW;
    for address in [LOCAL_APIC_BASE, 0x8000_0000] {
        model.frame.registers.rdi = address;
        raises(&mut model, MOVSD, reading(), device, Exception::GeneralProtection);
        model.frame.registers.rsi = address;
        raises(&mut model, MOVSD, writing(), IO_APIC_BASE, Exception::GeneralProtection);
        model.frame.registers.rsi = device;
    }
}

#[test]
fn an_address_that_is_not_canonical_is_refused() {
    let mut model = at_version();
    model.frame.registers.rdi = 1 << 47;
    raises(&mut model, MOVSD, reading(), IO_APIC_BASE, Exception::GeneralProtection);
}

/// In 64-bit mode only FS and GS have a base; else all have, and addresses wrap at 4 GiB (SDM vol. 1, "Canonical Addressing").
#[test]
fn segment_bases_count_where_they_do() {
    // MOVS from FS:[RSI] to ES:[RDI].
    let code = [&[0x64], MOVSD].concat();
    let mut long = Model::long_64();
    let mut compatibility = Model::long_64();
    let rights = compatibility.read(field::GUEST_CS_ACCESS_RIGHTS);
    compatibility.write(field::GUEST_CS_ACCESS_RIGHTS, rights & !(1 << 13) | 1 << 14);
    let mut protected = Model::protected_32();
    for (model, es_base) in [(&mut long, 0), (&mut compatibility, 0xffff_f000), (&mut protected, 0xffff_f000)]
    {
        model.store(DATA, &[0x12, 0, 0, 0]);
        model.write(field::GUEST_FS_BASE, DATA);
        model.write(field::GUEST_ES_BASE, 0xffff_f000);
        model.frame.registers.rsi = 0;
        plays(model, &code, writing(), IO_APIC_BASE);
        assert_eq!(model.machine.read_io_apic(0), 0x12);
        model.frame.registers.rdi = (DATA + 0x20).wrapping_sub(es_base) & 0xffff_ffff;
        plays(model, MOVSD, reading(), IO_APIC_BASE);
        assert_eq!(model.load(DATA + 0x20), [0x12, 0, 0, 0]);
    }
}

#[test]
fn outside_of_64_bit_mode_code_is_fetched_through_the_base_of_cs_and_wraps_at_4_gib() {
    let mut compatibility = Model::long_64();
    let rights = compatibility.read(field::GUEST_CS_ACCESS_RIGHTS);
    compatibility.write(field::GUEST_CS_ACCESS_RIGHTS, rights & !(1 << 13) | 1 << 14);
    for mut model in [compatibility, Model::protected_32()] {
        model.write(field::GUEST_CS_BASE, 0xffff_f000);
        let rip = model.read(field::GUEST_RIP) + 0x1000;
        model.write(field::GUEST_RIP, rip);
        model.store(CODE, LOAD);
        model.tell(field::EXIT_QUALIFICATION, reading().into_bits());
        model.tell(field::GUEST_PHYSICAL_ADDRESS, IO_APIC_BASE);
        assert_eq!(model.exit(ExitReason::EPT_VIOLATION), Ok(()));
        assert_eq!(model.read(field::GUEST_RIP), rip + 2);
    }
}

#[test]
fn code_that_cannot_be_fetched_faults_as_the_processors_fetch_would() {
    let mut model = Model::long_64();
    model.write(field::GUEST_RIP, UNMAPPED);
    model.tell(field::EXIT_QUALIFICATION, reading().into_bits());
    model.tell(field::GUEST_PHYSICAL_ADDRESS, IO_APIC_BASE);
    model.raises(ExitReason::EPT_VIOLATION, Exception::PageFault { address: UNMAPPED, error_code: 0 });
    model.write(field::GUEST_RIP, LOCAL_APIC_BASE);
    model.raises(ExitReason::EPT_VIOLATION, Exception::GeneralProtection);
}

#[test]
fn an_instruction_that_ends_before_a_page_that_cannot_be_fetched_is_played() {
    let mut model = Model::long_64();
    model.write(field::GUEST_RIP, UNMAPPED - 2);
    plays(&mut model, LOAD, reading(), IO_APIC_BASE);
}

#[test]
fn privilege_and_rights_count_as_for_the_instruction_itself() {
    const USER: u32 = 4;
    const PRESENT: u32 = 1;
    // Page-table entry of DATA: read-only, and for CPL 0 only.
    let entry = |model: &Model, bits: u64| {
        model.store(PAGE_TABLES + 0x3000 + 8 * (DATA >> 12), &(DATA | bits).to_le_bytes());
    };
    let mut model = at_version();
    model.frame.registers.rdi = DATA;
    let rights = model.read(field::GUEST_SS_ACCESS_RIGHTS);
    model.write(field::GUEST_SS_ACCESS_RIGHTS, rights | 3 << 5);
    entry(&model, 0x63);
    let error_code = PRESENT | WRITE | USER;
    raises(&mut model, MOVSD, reading(), IO_APIC_BASE, Exception::PageFault { address: DATA, error_code });
    model.write(field::GUEST_SS_ACCESS_RIGHTS, rights);
    plays(&mut model, MOVSD, reading(), IO_APIC_BASE);
    model.frame.registers.rdi = DATA;
    entry(&model, 0x61);
    let cr0 = model.read(field::GUEST_CR0);
    model.write(field::GUEST_CR0, cr0 | 1 << 16);
    let error_code = PRESENT | WRITE;
    raises(&mut model, MOVSD, reading(), IO_APIC_BASE, Exception::PageFault { address: DATA, error_code });
}
