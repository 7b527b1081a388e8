// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUID: an answer out of the table that was made with the VM.

use crate::architecture::cr4;
use crate::vcpu::cpuid::CpuidResult;
use crate::vcpu::cpuid::Current;
use crate::vcpu::guest::Guest;
use evmcs::field;

#[inline(never)]
pub fn handle(guest: &mut Guest<'_>) {
    let registers = &guest.frame.registers;
    match guest.machine.cpuid.constant_answer(registers.rax as u32, registers.rcx as u32) {
        Some(answer) => give(guest, *answer),
        None => give_current(guest),
    }
}

#[cold]
fn give_current(guest: &mut Guest<'_>) {
    let registers = &guest.frame.registers;
    let answer = guest.machine.cpuid.answer(registers.rax as u32, registers.rcx as u32, || Current {
        osxsave: guest.vmcs.read(field::GUEST_CR4) & cr4::OSXSAVE != 0,
        xcr0: guest.state.processor.xcr0(),
        apic_id: guest.state.apic.id(),
    });
    give(guest, answer);
}

#[inline]
fn give(guest: &mut Guest<'_>, answer: CpuidResult) {
    let registers = &mut guest.frame.registers;
    registers.rax = u64::from(answer.eax);
    registers.rbx = u64::from(answer.ebx);
    registers.rcx = u64::from(answer.ecx);
    registers.rdx = u64::from(answer.edx);
    guest.advance();
}

#[cfg(test)]
mod tests;
