// SPDX-License-Identifier: MIT OR Apache-2.0
//! MSRs that may be refused: an access that answers #GP is told to whoever asked, instead of ending everything.

// UNSAFETY: instructions that may fault, and where they go on.
#![expect(unsafe_code)]

use core::arch::naked_asm;

/// The access was answered with #GP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// Reads an MSR.
pub fn read(msr: u32) -> Result<u64, Refused> {
    let mut value = 0;
    // SAFETY: reading an MSR changes no memory, and a #GP is answered below.
    if unsafe { read_msr(msr, &raw mut value) } == 0 { Ok(value) } else { Err(Refused) }
}

/// Writes an MSR.
///
/// # Safety
/// If the CPU takes the value, our own code runs on with it as before.
pub unsafe fn write(msr: u32, value: u64) -> Result<(), Refused> {
    // SAFETY: as the caller promised; a #GP is answered below.
    if unsafe { write_msr(msr, value) } == 0 { Ok(()) } else { Err(Refused) }
}

/// Where to go on after a #GP at `rip`, if that was one of the accesses here.
#[must_use]
pub fn after_fault(rip: u64) -> Option<u64> {
    let (read, write, refused) =
        (&raw const satori_rdmsr, &raw const satori_wrmsr, &raw const satori_msr_refused);
    let accesses = [read, write].map(|at| at.addr() as u64);
    accesses.contains(&rip).then_some(refused.addr() as u64)
}

unsafe extern "C" {
    static satori_rdmsr: u8;
    static satori_wrmsr: u8;
    static satori_msr_refused: u8;
}

/// Gives 0 and stores the value, or something else.
#[unsafe(naked)]
unsafe extern "sysv64" fn read_msr(msr: u32, value: *mut u64) -> u64 {
    naked_asm!(
        "mov ecx, edi",
        ".global satori_rdmsr",
        "satori_rdmsr: rdmsr",
        "shl rdx, 32",
        "or rax, rdx",
        "mov [rsi], rax",
        "xor eax, eax",
        "ret",
        ".global satori_msr_refused",
        "satori_msr_refused: mov eax, 1",
        "ret",
    )
}

/// Gives 0, or something else.
#[unsafe(naked)]
unsafe extern "sysv64" fn write_msr(msr: u32, value: u64) -> u64 {
    naked_asm!(
        "mov ecx, edi",
        "mov eax, esi",
        "mov rdx, rsi",
        "shr rdx, 32",
        ".global satori_wrmsr",
        "satori_wrmsr: wrmsr",
        "xor eax, eax",
        "ret",
    )
}
