// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that is out: its vCPU between an exit and the next entry, as the handlers of exits work on it.

use crate::architecture::cr0;
use crate::architecture::efer;
use crate::architecture::rflags;
use crate::console;
use crate::irqchip::local_apic::Effect;
use crate::vcpu::emulate::RegisterFile;
use crate::vcpu::end::End;
use crate::vcpu::exception::Exception;
use crate::vcpu::state::Activity;
use crate::vcpu::state::State;
use crate::vm::machine::Machine;
use crate::vmx::entry::EntryFrame;
use crate::vmx::exit::EptQualification;
use core::mem;
use evmcs::Active;
use evmcs::field;

/// Blocking by STI and by MOV SS (SDM vol. 3, "Format of Interruptibility State").
pub const BLOCKED_FOR_ONE_INSTRUCTION: u32 = 0b11;
/// Blocking by NMI.
pub const BLOCKED_BY_NMI: u32 = 1 << 3;
/// BTF of IA32_DEBUGCTL.
const BRANCHES_ONLY: u64 = 1 << 1;
/// BS (SDM vol. 3, "Format of Pending-Debug-Exceptions").
const SINGLE_STEP: u64 = 1 << 14;
/// BS, and "enabled breakpoint": with one of them #DB is delivered, with B0 to B3 alone it is not.
pub const DEBUG_TRAP: u64 = 1 << 12 | SINGLE_STEP;
/// L of a code segment's access rights.
const LONG_CODE: u32 = 1 << 13;

/// The vCPU, active on this CPU and out of its guest.
#[derive(Debug)]
pub struct Guest<'a> {
    /// Its VMCS.
    pub vmcs: Active<'a>,
    /// Its general registers.
    pub frame: &'a mut EntryFrame,
    /// The rest of it.
    pub state: &'a mut State,
    /// The virtual machine that it belongs to.
    pub machine: &'a Machine,
}

impl Guest<'_> {
    /// Goes on after the instruction that exited, as if it had been executed.
    // Once, for all who call it: it is long, and what calls it gets shorter.
    #[inline(never)]
    pub fn advance(&mut self) {
        self.go_on_after(u64::from(self.vmcs.read(field::VM_EXIT_INSTRUCTION_LENGTH)));
    }

    /// As [`Self::advance`], for an exit that does not tell the instruction's length.
    pub fn advance_by(&mut self, length: u64) {
        self.go_on_after(length);
    }

    #[inline(always)]
    fn go_on_after(&mut self, length: u64) {
        let rip = self.vmcs.read(field::GUEST_RIP);
        let mut next = rip.wrapping_add(length);
        // Outside of 64-bit mode the instruction pointer wraps at 4 GiB. Only there can it leave the low 4 GiB by one step.
        if (next ^ rip) >> 32 != 0 && !self.in_64_bit_mode() {
            next &= 0xffff_ffff;
        }
        self.vmcs.write(field::GUEST_RIP, next);
        self.end_step(false);
    }

    /// One iteration of a repeated instruction is done, and there are more: debug exceptions and interrupts come between
    /// them (SDM vol. 2B, "REP/REPE/REPZ/REPNE/REPNZ").
    pub fn stay(&mut self) {
        self.end_step(true);
    }

    /// An instruction, or an iteration of one, was executed.
    #[inline(always)]
    fn end_step(&mut self, repeats: bool) {
        let blocking = self.vmcs.read(field::GUEST_INTERRUPTIBILITY_STATE);
        if blocking & BLOCKED_FOR_ONE_INSTRUCTION != 0 {
            self.vmcs.write(field::GUEST_INTERRUPTIBILITY_STATE, blocking & !BLOCKED_FOR_ONE_INSTRUCTION);
            // What STI or MOV SS held back can be delivered now.
            self.state.attention = true;
        }
        if repeats || self.vmcs.read(field::GUEST_RFLAGS) & (rflags::TF | rflags::RF) != 0 {
            self.end_debugged_step(repeats);
        }
    }

    /// RF holds for one instruction, all its iterations: a breakpoint on it strikes once. With TF, #DB follows each step, unless
    /// the guest steps from branch to branch (SDM vol. 3, "Single-Stepping on Branches"), and none that is played is one.
    #[cold]
    fn end_debugged_step(&mut self, repeats: bool) {
        let rflags = self.vmcs.read(field::GUEST_RFLAGS);
        let left = if repeats { rflags | rflags::RF } else { rflags & !rflags::RF };
        self.vmcs.write(field::GUEST_RFLAGS, left);
        let steps = rflags & rflags::TF != 0;
        if steps && self.vmcs.read(field::GUEST_IA32_DEBUGCTL) & BRANCHES_ONLY == 0 {
            let pending = self.vmcs.read(field::GUEST_PENDING_DEBUG_EXCEPTIONS);
            self.vmcs.write(field::GUEST_PENDING_DEBUG_EXCEPTIONS, pending | SINGLE_STEP);
        }
    }

    /// HLT: waits for what ends it.
    #[inline(never)]
    pub fn halt(&mut self) {
        self.advance();
        self.state.activity = Activity::Halted;
        self.state.attention = true;
    }

    /// Raises an exception instead of executing the instruction.
    #[cold]
    pub fn raise(&mut self, exception: impl Into<Exception>) {
        self.state.exception = Some(exception.into());
        self.state.attention = true;
    }

    /// Executes the instruction or raises what it raises.
    #[inline]
    pub fn advance_or_raise(&mut self, result: Result<(), Exception>) {
        match result {
            Ok(()) => self.advance(),
            Err(exception) => self.raise(exception),
        }
    }

    /// Does outside of the local APIC what the guest asked of it.
    pub fn carry_out(&mut self, effect: Effect) {
        // Any register of it may have changed what can be delivered, and what it listens to.
        self.state.attention = true;
        self.publish_address();
        if self.state.apic_mode != self.state.apic.mode() {
            self.settle_apic();
        }
        match effect {
            Effect::None => {}
            Effect::TimerChanged => self.state.timer_changed = true,
            Effect::Send(message) => self.machine.posts.send(message, Some(self.index())),
            Effect::EndOfInterrupt { vector } => {
                for message in self.machine.end_of_interrupt(vector) {
                    self.machine.posts.send(message, None);
                }
            }
        }
    }

    /// Which of its machine's vCPUs it is.
    #[must_use]
    pub fn index(&self) -> usize {
        self.state.apic.id() as usize
    }

    /// Takes what others have left for it.
    pub fn take_mail(&mut self) -> Result<(), End> {
        let mailbox = &self.machine.posts.of(self.index()).mailbox;
        if !mailbox.is_empty() {
            mailbox.drain(self)?;
            // INIT may have been there.
            self.publish_address();
        }
        Ok(())
    }

    /// Tells L0 if the page of the MSR bitmap is another than it was told. Before an entry: to whoever changes it later, this vCPU
    /// has not looked yet.
    pub fn see_msr_bitmap(&mut self) {
        let changes = self.machine.msr_bitmap.changes();
        if mem::replace(&mut self.state.msr_bitmap_seen, changes) != changes {
            self.vmcs.note_msr_bitmap_change();
        }
    }

    /// Whether nothing but another vCPU can set it going again.
    #[must_use]
    pub fn waits_for_others(&self) -> bool {
        match self.state.activity {
            Activity::Running => false,
            Activity::Halted => !self.interrupts_enabled(),
            Activity::WaitForSipi => true,
        }
    }

    /// Shows the other vCPUs what its local APIC listens to.
    pub fn publish_address(&self) {
        self.machine.posts.of(self.index()).set_address(self.state.apic.address());
    }

    /// Hands a byte that the guest has sent to the console.
    pub fn transmit(&self, byte: u8) {
        if self.machine.output.write(byte, console::write_guest) {
            self.machine.hold_back_output();
            if !console::guests_wait() {
                // Who told all to go on may have come before.
                self.machine.release_output();
            }
        }
    }

    /// A general register by its number in instructions (SDM vol. 2A, "Register Codes").
    #[must_use]
    pub fn register(&self, number: u8) -> u64 {
        match self.frame.registers.slot(number) {
            Some(slot) => *slot,
            None => self.vmcs.read(field::GUEST_RSP),
        }
    }

    /// Sets a general register by its number in instructions.
    pub fn set_register(&mut self, number: u8, value: u64) {
        match self.frame.registers.slot_mut(number) {
            Some(slot) => *slot = value,
            None => self.vmcs.write(field::GUEST_RSP, value),
        }
    }

    /// Whether it executes 64-bit code.
    #[must_use]
    pub fn in_64_bit_mode(&self) -> bool {
        self.vmcs.read(field::GUEST_IA32_EFER) & efer::LMA != 0 && self.long_code_segment()
    }

    /// Whether CS.L is set.
    #[must_use]
    pub fn long_code_segment(&self) -> bool {
        self.vmcs.read(field::GUEST_CS_ACCESS_RIGHTS) & LONG_CODE != 0
    }

    /// Whether paging is on.
    #[must_use]
    pub fn paging(&self) -> bool {
        self.vmcs.read(field::GUEST_CR0) & cr0::PG != 0
    }

    /// Current privilege level: DPL of SS (SDM vol. 3, "Guest Register State").
    #[must_use]
    pub fn privilege_level(&self) -> u8 {
        (self.vmcs.read(field::GUEST_SS_ACCESS_RIGHTS) >> 5 & 3) as u8
    }

    /// What an EPT violation was, in a word for the report.
    #[must_use]
    pub fn access_name(qualification: EptQualification) -> &'static str {
        match () {
            () if qualification.fetch() => "fetch",
            () if qualification.write() => "write",
            () => "read",
        }
    }
}

impl RegisterFile for Guest<'_> {
    fn get(&self, index: usize) -> u64 {
        self.register(index as u8)
    }

    fn set(&mut self, index: usize, value: u64) {
        self.set_register(index as u8, value);
    }

    fn rflags(&self) -> u64 {
        self.vmcs.read(field::GUEST_RFLAGS)
    }

    fn set_rflags(&mut self, value: u64) {
        self.vmcs.write(field::GUEST_RFLAGS, value);
    }
}

#[cfg(test)]
mod tests;
