// SPDX-License-Identifier: MIT OR Apache-2.0
//! Into the guest and back: the general registers, which VMX leaves to software, and nothing else.
//!
//! The guest's registers live in an [`EntryFrame`] that also serves as the stack at the time of an exit: HOST_RSP points at
//! its end, so fifteen pushes put each register in its place. HOST_RSP and HOST_RIP never change while the frame stays where it is.

// UNSAFETY: switches to the guest and back.
#![expect(unsafe_code)]

use core::arch::asm;
use core::arch::naked_asm;
use core::mem::offset_of;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;
use zerocopy::transmute_mut;
use zerocopy::transmute_ref;

/// The guest's general registers, in the order of their numbers in instructions (SDM vol. 2A, "Register Codes"), less RSP,
/// which the VMCS holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Registers {
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rbx: u64,
    pub rbp: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
}

impl Registers {
    /// The register of that number in instructions; `None` for RSP.
    ///
    /// # Panics
    /// If there is no such number: instructions have four bits for it.
    #[must_use]
    pub fn slot(&self, number: u8) -> Option<&u64> {
        let all: &[u64; COUNT] = transmute_ref!(self);
        index(number).map(|index| &all[index])
    }

    /// As [`Self::slot`], to be written.
    ///
    /// # Panics
    /// Likewise.
    #[must_use]
    pub fn slot_mut(&mut self, number: u8) -> Option<&mut u64> {
        let all: &mut [u64; COUNT] = transmute_mut!(self);
        index(number).map(|index| &mut all[index])
    }
}

/// All but RSP.
const COUNT: usize = 15;
/// RSP's number in instructions.
const RSP: u8 = 4;

/// Where the register of a number is among the fields.
fn index(number: u8) -> Option<usize> {
    assert!(number < 16, "there is no general register {number}");
    match number {
        RSP => None,
        _ if number < RSP => Some(usize::from(number)),
        _ => Some(usize::from(number) - 1),
    }
}

/// What the entry code works on. It must not move while a VMCS names it as its host stack.
#[derive(Debug, Default)]
#[repr(C, align(16))]
pub struct EntryFrame {
    /// The guest's registers; valid while it is out.
    pub registers: Registers,
    /// Our own stack pointer while the guest is in.
    host_rsp: u64,
    /// RFLAGS after the last entry that failed.
    failure: EntryFailure,
    /// The TSC at the last exit, and its ticks from the exit before to the last entry.
    #[cfg(feature = "measure")]
    times: [u64; 2],
}

impl EntryFrame {
    /// What the VMCS takes as HOST_RSP.
    #[must_use]
    pub fn host_rsp(&self) -> u64 {
        (&raw const self.host_rsp).addr() as u64
    }

    /// Ticks of the TSC from the exit before the last one to the entry after it, all of the code here included: our own share
    /// of what that exit cost.
    #[cfg(feature = "measure")]
    #[must_use]
    pub fn share(&self) -> u64 {
        /// What is outside of the two readings of the TSC: fifteen pushes, and on the way in the instructions from the switch of
        /// stacks to VMRESUME. As many instructions, where the TSC counts those.
        const OUTSIDE: u64 = 15 + 19;
        self.times[1] + OUTSIDE
    }
}

/// What the VMCS takes as HOST_RIP.
#[must_use]
pub fn host_rip() -> u64 {
    satori_vm_exit as *const () as u64
}

/// The guest was not entered at all: RFLAGS as VMLAUNCH or VMRESUME left it (SDM vol. 3, "Conventions").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct EntryFailure(u64);

impl EntryFailure {
    /// Whether no VMCS was current. If one was, an error number is in it.
    #[must_use]
    pub fn is_invalid(self) -> bool {
        self.0 & 1 != 0
    }
}

/// Runs the guest of the current VMCS until its next exit.
///
/// # Safety
/// In VMX root operation, with a current VMCS whose host state is that of this CPU and of `frame`
/// ([`EntryFrame::host_rsp`], [`host_rip`]), whose launch state is as `launched` says, and whose guest can reach no memory
/// that is not its own.
#[inline(always)]
pub unsafe fn enter(frame: &mut EntryFrame, launched: bool) -> Result<(), EntryFailure> {
    // SAFETY: as the caller promised; `u64::from(bool)` is what the assembly tests. All registers that it changes are named, but RBX and
    // RBP, which it keeps. A VM exit clears CF and ZF, one of which a failed entry sets, and pushes and pops leave the flags as they are.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "call {enter_guest}",
            "pop rbp",
            "pop rbx",
            "jbe {failed}",
            enter_guest = sym enter_guest,
            failed = label { return Err(frame.failure) },
            inlateout("rdi") &raw mut *frame => _,
            inlateout("rsi") u64::from(launched) => _,
            out("r12") _,
            out("r13") _,
            out("r14") _,
            out("r15") _,
            clobber_abi("sysv64"),
        );
    }
    Ok(())
}

// Where our own share of an exit is measured, the TSC is read on both ways; at EntryFrame::times. On the way out the flags are to stay.
#[cfg(feature = "measure")]
macro_rules! time_at_exit {
    () => {
        "rdtsc\nmov [rsp + 136], eax\nmov [rsp + 140], edx"
    };
}
#[cfg(feature = "measure")]
macro_rules! time_at_entry {
    () => {
        "rdtsc\nshl rdx, 32\nor rax, rdx\nsub rax, [rdi + 136]\nmov [rdi + 144], rax"
    };
}
#[cfg(not(feature = "measure"))]
macro_rules! time_at_exit {
    () => {
        ""
    };
}
#[cfg(not(feature = "measure"))]
macro_rules! time_at_entry {
    () => {
        ""
    };
}
#[cfg(feature = "measure")]
const _: () = assert!(offset_of!(EntryFrame, times) == 136);

/// Makes `frame` the stack and pops the guest's registers off it. Both a VM exit and an entry that fails go on at
/// `satori_vm_exit`, with the stack pointer at the frame's end, and no register keeps its value but RSP.
#[unsafe(naked)]
unsafe extern "sysv64" fn enter_guest(frame: *mut EntryFrame, launched: u64) {
    naked_asm!(
        "mov [rdi + {host_rsp}], rsp",
        time_at_entry!(),
        "mov rsp, rdi",
        // The pops below leave the flags alone.
        "test rsi, rsi",
        "pop rax",
        "pop rcx",
        "pop rdx",
        "pop rbx",
        "pop rbp",
        "pop rsi",
        "pop rdi",
        "pop r8",
        "pop r9",
        "pop r10",
        "pop r11",
        "pop r12",
        "pop r13",
        "pop r14",
        "pop r15",
        "jnz 2f",
        "vmlaunch",
        "jmp 3f",
        "2: vmresume",
        // By way of R15's place, which the exit fills again.
        "3: pushfq",
        "pop qword ptr [rsp + {failure} - {host_rsp}]",
        "jmp {exit}",
        host_rsp = const offset_of!(EntryFrame, host_rsp),
        failure = const offset_of!(EntryFrame, failure),
        exit = sym satori_vm_exit,
    )
}

/// Where VM exits land. Not a function: its stack is the end of the frame.
#[unsafe(naked)]
unsafe extern "sysv64" fn satori_vm_exit() {
    naked_asm!(
        "push r15",
        "push r14",
        "push r13",
        "push r12",
        "push r11",
        "push r10",
        "push r9",
        "push r8",
        "push rdi",
        "push rsi",
        "push rbp",
        "push rbx",
        "push rdx",
        "push rcx",
        "push rax",
        time_at_exit!(),
        "mov rsp, [rsp + {host_rsp}]",
        "ret",
        host_rsp = const offset_of!(EntryFrame, host_rsp),
    )
}

const _: () = assert!(offset_of!(EntryFrame, host_rsp) == size_of::<Registers>());

#[cfg(test)]
mod tests;
