// SPDX-License-Identifier: MIT OR Apache-2.0
//! RDTSC and RDTSCP, which exit where the processor's TSC ticks at another rate than the guest's and cannot be scaled.

use crate::cpu::hardware;
use crate::vcpu::guest::Guest;

/// RDTSC (SDM vol. 2B).
pub fn read(guest: &mut Guest<'_>) {
    put(guest, hardware::tsc());
}

/// RDTSCP: also IA32_TSC_AUX, of which the processor holds the guest's value.
pub fn read_with_aux(guest: &mut Guest<'_>) {
    let (tsc, aux) = hardware::tsc_and_aux();
    guest.frame.registers.rcx = aux.into();
    put(guest, tsc);
}

fn put(guest: &mut Guest<'_>, tsc: u64) {
    let value = guest.state.guest_tsc(tsc);
    guest.frame.registers.rax = value & 0xffff_ffff;
    guest.frame.registers.rdx = value >> 32;
    guest.advance();
}

#[cfg(test)]
mod tests;
