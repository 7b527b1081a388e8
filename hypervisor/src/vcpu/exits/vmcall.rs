// SPDX-License-Identifier: MIT OR Apache-2.0
//! VMCALL: hypercalls of guests that see Hyper-V's interface (TLFS, "Hypercall Interface"); for all others there is no such
//! instruction.
//!
//! Where L0 flushes for our guests itself, it takes these calls before we see them, and those alone come here that it left.

use crate::architecture::cr0;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::vcpu::exception::Exception;
use crate::vcpu::guest::Guest;
use crate::vmx::entry::Registers;
use enlightenments::offer::flush;
use enlightenments::offer::flush::Call;
use enlightenments::offer::flush::Caller;
use enlightenments::offer::flush::Processors;
use enlightenments::offer::flush::Unreadable;
use enlightenments::offer::flush::XMM_WORDS;
use evmcs::field;
use hyperv_bindings::hypercall::InputValue;
use zerocopy::IntoBytes;

/// Judges the call, and comes back when it is done.
#[inline(never)]
pub fn handle(guest: &mut Guest<'_>) {
    let identified = guest.machine.partition.as_ref().is_some_and(|partition| partition.is_identified());
    let wide = guest.in_64_bit_mode();
    let protected = wide || guest.vmcs.read(field::GUEST_CR0) & cr0::PE != 0;
    if !identified || !protected || guest.privilege_level() != 0 {
        return guest.raise(Exception::InvalidOpcode);
    }
    let registers = &guest.frame.registers;
    let call = if wide { call_64(registers) } else { call_32(registers) };
    let Ok(answer) = flush::answer(call, guest) else {
        return guest.raise(Exception::InvalidOpcode);
    };
    if answer.flush != Processors::NONE {
        flush_linear(guest, answer.flush);
    }
    let result = answer.result.into_bits();
    let registers = &mut guest.frame.registers;
    if wide {
        registers.rax = result;
    } else {
        registers.rax = result & 0xffff_ffff;
        registers.rdx = result >> 32;
    }
    guest.advance();
}

/// Comes back when none of these vCPUs uses linear translations from before, this one from its next entry on.
#[inline(never)]
fn flush_linear(guest: &mut Guest<'_>, vcpus: Processors) {
    let caller = guest.index();
    if vcpus.has(caller as u32) {
        guest.state.flush_linear();
    }
    guest.machine.posts.flush_linear(vcpus, caller);
}

fn call_64(registers: &Registers) -> Call {
    Call { value: InputValue::from_bits(registers.rcx), input: registers.rdx, output: registers.r8 }
}

fn call_32(registers: &Registers) -> Call {
    let pair = |high: u64, low: u64| high << 32 | low & 0xffff_ffff;
    Call {
        value: InputValue::from_bits(pair(registers.rdx, registers.rax)),
        input: pair(registers.rbx, registers.rcx),
        output: pair(registers.rdi, registers.rsi),
    }
}

impl Caller for Guest<'_> {
    fn read(&self, address: u64, words: &mut [u64]) -> Result<(), Unreadable> {
        self.machine.memory.read(GuestPhysical(address), words.as_mut_bytes()).map_err(|_| Unreadable)
    }

    fn xmm(&mut self) -> Option<[u64; XMM_WORDS]> {
        let offering = self.machine.cpuid.hyperv()?;
        offering.xmm_input.then(|| self.state.processor.xmm())
    }
}

#[cfg(test)]
mod tests;
