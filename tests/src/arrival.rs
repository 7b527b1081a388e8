// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupts that are waited for, and the TSC at the first instruction of their handler.

// UNSAFETY: the handler and those who wait for it agree on registers, which only assembly can say.
#![expect(unsafe_code)]

use core::arch::asm;

/// The vector that is waited for. Its handler does not acknowledge: whoever waited does.
pub const VECTOR: u8 = 0x60;

/// Has [`VECTOR`] end the waiting, on all vCPUs that run already.
pub fn prepare() {
    #[cfg(target_os = "none")]
    {
        unsafe extern "C" {
            static arrival_handler: [u8; 0];
        }
        crate::idt::set_gate(VECTOR, (&raw const arrival_handler).addr() as u64);
    }
}

/// Waits with interrupts on, spinning; gives the TSC of the arrival.
#[must_use]
pub fn spinning() -> u64 {
    let tsc;
    // SAFETY: interrupts come between STI and CLI alone, and the handler of this one changes RAX and RDX only.
    unsafe {
        asm!("xor eax, eax", "sti", "2:", "test rax, rax", "jz 2b", "cli", out("rax") tsc, out("rdx") _);
    }
    tsc
}

/// Waits in HLT; gives the TSC of the arrival.
#[must_use]
pub fn halted() -> u64 {
    let tsc;
    // SAFETY: as above. What comes after STI wakes the HLT behind it.
    unsafe {
        asm!("xor eax, eax", "2:", "sti", "hlt", "cli", "test rax, rax", "jz 2b", out("rax") tsc, out("rdx") _);
    }
    tsc
}

#[cfg(target_os = "none")]
core::arch::global_asm!(
    r#"
    .section .text.arrival_handler, "ax"
    .global arrival_handler
arrival_handler:
    rdtsc
    shl rdx, 32
    or rax, rdx
    iretq
    .text
"#
);
