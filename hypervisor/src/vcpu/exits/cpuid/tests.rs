// SPDX-License-Identifier: MIT OR Apache-2.0
//! That CPUID gives what the table says, in the way that the instruction does.

use super::*;
use crate::vcpu::model::Model;
use crate::vmx::exit::ExitReason;

/// Of CR4.
const OSXSAVE: u64 = 1 << 18;
/// Of CPUID leaf 01H, ECX.
const OSXSAVE_SHOWN: u64 = 1 << 27;

fn cpuid_of(model: &mut Model, leaf: u64, subleaf: u64) -> [u64; 4] {
    let registers = &mut model.frame.registers;
    (registers.rax, registers.rcx) = (leaf, subleaf);
    (registers.rbx, registers.rdx) = (u64::MAX, u64::MAX);
    model.executes(ExitReason::CPUID);
    let registers = &model.frame.registers;
    [registers.rax, registers.rbx, registers.rcx, registers.rdx]
}

#[test]
fn the_tables_answers_land_in_the_registers_with_upper_halves_cleared() {
    let mut model = Model::long_64();
    let first = [0, 1, 4, 7, 0xb, 0xd, 0x4000_0000, 0x8000_0008].map(|leaf| (leaf, 0));
    for (leaf, subleaf) in first.into_iter().chain([(4, 1), (7, 1), (0xb, 1), (0xd, 2), (u32::MAX, 3)]) {
        let current = || Current { osxsave: false, xcr0: 1, apic_id: 0 };
        let answer = model.machine.cpuid.answer(leaf, subleaf, current);
        // What is above EAX and ECX does not count.
        let upper = 0xdead_beef << 32;
        let got = cpuid_of(&mut model, upper | u64::from(leaf), upper | u64::from(subleaf));
        assert_eq!(got, [answer.eax, answer.ebx, answer.ecx, answer.edx].map(u64::from), "{leaf:#x}");
    }
}

#[test]
fn the_other_registers_are_kept() {
    let mut model = Model::long_64();
    for number in (0..16).filter(|number| ![0, 1, 2, 3].contains(number)) {
        model.guest().set_register(number, 0x1_0000_0000 + u64::from(number));
    }
    cpuid_of(&mut model, 1, 0);
    let guest = model.guest();
    assert!((4..16).all(|number| guest.register(number) == 0x1_0000_0000 + u64::from(number)));
}

/// SDM vol. 2A, CPUID, leaf 01H: ECX bit 27.
#[test]
fn osxsave_follows_cr4() {
    let mut model = Model::long_64();
    assert_eq!(cpuid_of(&mut model, 1, 0)[2] & OSXSAVE_SHOWN, 0);
    let cr4 = model.read(field::GUEST_CR4);
    model.write(field::GUEST_CR4, cr4 | OSXSAVE);
    assert_eq!(cpuid_of(&mut model, 1, 0)[2] & OSXSAVE_SHOWN, OSXSAVE_SHOWN);
}

#[test]
fn the_size_of_the_xsave_area_follows_xcr0() {
    let mut model = Model::long_64();
    assert_eq!(cpuid_of(&mut model, 0xd, 0)[1], 576);
    model.state.processor.set_xcr0(7);
    assert_eq!(cpuid_of(&mut model, 0xd, 0)[1], 832);
}

/// The hottest exit of all: nothing has to be read again at the next entry.
#[test]
fn every_group_of_the_vmcs_stays_clean() {
    let mut model = Model::long_64();
    cpuid_of(&mut model, 1, 0);
    assert_eq!(model.clean_fields(), 0xffff);
    assert!(!model.state.attention);
}
