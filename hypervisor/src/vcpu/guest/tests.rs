// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a guest goes on after an instruction that was played for it.

mod messages;
mod msr_bitmap;

use super::*;
use crate::vcpu::model::LENGTH;
use crate::vcpu::model::Model;

// Spelled out once more, so that the tests do not lean on the code.
const TRAP_FLAG: u64 = 1 << 8;
const BRANCHES_ONLY: u64 = 1 << 1;
const SINGLE_STEP: u64 = 1 << 14;
const LONG_CODE: u32 = 1 << 13;
const STI_BLOCKING: u32 = 1 << 0;
const MOV_SS_BLOCKING: u32 = 1 << 1;
const NMI_BLOCKING: u32 = 1 << 3;

#[test]
fn rip_moves_by_the_length_of_the_instruction() {
    let mut model = Model::long_64();
    model.write(field::GUEST_RIP, 0x1000);
    model.guest().advance();
    assert_eq!(model.read(field::GUEST_RIP), 0x1000 + LENGTH);
    model.guest().advance_by(15);
    assert_eq!(model.read(field::GUEST_RIP), 0x1000 + LENGTH + 15);
}

#[test]
fn rip_wraps_at_4_gib_only_outside_of_64_bit_mode() {
    let last = 0xffff_fffe;
    let mut protected = Model::protected_32();
    let mut compatibility = Model::long_64();
    let rights = compatibility.read(field::GUEST_CS_ACCESS_RIGHTS);
    compatibility.write(field::GUEST_CS_ACCESS_RIGHTS, rights & !LONG_CODE);
    let mut long = Model::long_64();
    for (model, next) in [(&mut protected, 0), (&mut compatibility, 0), (&mut long, 1 << 32)] {
        model.write(field::GUEST_RIP, last);
        model.guest().advance();
        assert_eq!(model.read(field::GUEST_RIP), next);
    }
    // Nor is an address in the upper half of 64-bit space cut.
    long.write(field::GUEST_RIP, 0xffff_ffff_0000_0000 - LENGTH);
    long.guest().advance();
    assert_eq!(long.read(field::GUEST_RIP), 0xffff_ffff_0000_0000);
}

/// SDM vol. 3, "Interruptibility State": blocking by STI or MOV SS ends with the instruction; blocking by NMI with IRET only.
#[test]
fn blocking_for_one_instruction_ends_with_it_and_what_waits_gets_its_chance() {
    for blocking in [STI_BLOCKING, MOV_SS_BLOCKING] {
        let mut model = Model::long_64();
        model.write(field::GUEST_INTERRUPTIBILITY_STATE, blocking | NMI_BLOCKING);
        model.guest().advance();
        assert_eq!(model.read(field::GUEST_INTERRUPTIBILITY_STATE), NMI_BLOCKING);
        assert!(model.state.attention);
    }
}

#[test]
fn an_instruction_that_nothing_waits_for_leaves_every_group_of_the_vmcs_clean() {
    let mut model = Model::long_64();
    model.write(field::GUEST_INTERRUPTIBILITY_STATE, NMI_BLOCKING);
    model.guest().vmcs.note_exit();
    model.guest().advance();
    assert!(!model.state.attention);
    assert_eq!(model.clean_fields(), 0xffff);
}

/// SDM vol. 3, "Single-Step Exception Condition".
#[test]
fn single_stepping_traps_behind_an_instruction_that_was_played() {
    let mut model = Model::long_64();
    model.guest().advance();
    assert_eq!(model.read(field::GUEST_PENDING_DEBUG_EXCEPTIONS), 0);
    model.write(field::GUEST_RFLAGS, 2 | TRAP_FLAG);
    model.write(field::GUEST_PENDING_DEBUG_EXCEPTIONS, 1);
    model.guest().advance();
    assert_eq!(model.read(field::GUEST_PENDING_DEBUG_EXCEPTIONS), 1 | SINGLE_STEP);
}

/// SDM vol. 3, "Single-Stepping on Branches".
#[test]
fn stepping_from_branch_to_branch_does_not_trap_behind_other_instructions() {
    let mut model = Model::long_64();
    model.write(field::GUEST_RFLAGS, 2 | TRAP_FLAG);
    model.write(field::GUEST_IA32_DEBUGCTL, BRANCHES_ONLY);
    model.guest().advance();
    assert_eq!(model.read(field::GUEST_PENDING_DEBUG_EXCEPTIONS), 0);
}

#[test]
fn registers_are_found_by_their_number_and_number_4_is_rsp_in_the_vmcs() {
    let mut model = Model::long_64();
    let mut guest = model.guest();
    for number in 0..16 {
        guest.set_register(number, 0x100 + u64::from(number));
    }
    assert!((0..16).all(|number| guest.register(number) == 0x100 + u64::from(number)));
    assert_eq!(guest.vmcs.read(field::GUEST_RSP), 0x104);
    assert_eq!((guest.frame.registers.rbx, guest.frame.registers.r15), (0x103, 0x10f));
}

#[test]
fn privilege_is_that_of_ss() {
    let mut model = Model::long_64();
    assert_eq!(model.guest().privilege_level(), 0);
    let rights = model.read(field::GUEST_SS_ACCESS_RIGHTS);
    model.write(field::GUEST_SS_ACCESS_RIGHTS, rights | 3 << 5);
    assert_eq!(model.guest().privilege_level(), 3);
}

#[test]
fn rf_holds_for_one_instruction() {
    let mut model = Model::long_64();
    model.write(field::GUEST_RFLAGS, 2 | 1 << 16);
    model.guest().advance();
    assert_eq!(model.read(field::GUEST_RFLAGS), 2);
    assert_eq!(model.read(field::GUEST_PENDING_DEBUG_EXCEPTIONS), 0);
}

#[test]
fn a_breakpoint_strikes_once_for_all_iterations() {
    let mut model = Model::long_64();
    model.guest().stay();
    assert_eq!(model.read(field::GUEST_RFLAGS), 2 | 1 << 16);
    model.guest().advance();
    assert_eq!(model.read(field::GUEST_RFLAGS), 2);
}
