// SPDX-License-Identifier: MIT OR Apache-2.0
//! XSETBV: which state components the guest manages with XSAVE.

use crate::vcpu::exception::Exception;
use crate::vcpu::guest::Guest;
use crate::vcpu::msr_policy::checked_xcr0;

/// Privilege and CR4.OSXSAVE were checked by the CPU, which exits only after that (SDM vol. 3, "Relative Priority of Faults and VM Exits").
pub fn handle(guest: &mut Guest<'_>) {
    let registers = &guest.frame.registers;
    let value = registers.rdx << 32 | registers.rax & 0xffff_ffff;
    let result = match registers.rcx as u32 {
        0 => checked_xcr0(value, guest.machine.cpuid.supported_xcr0()).map_err(Exception::from),
        _ => Err(Exception::GeneralProtection),
    };
    if result.is_ok() {
        guest.state.processor.set_xcr0(value);
    }
    guest.advance_or_raise(result);
}

#[cfg(test)]
mod tests;
