// SPDX-License-Identifier: MIT OR Apache-2.0
//! Model-specific registers: their numbers (SDM volume 4, 2.1), RDMSR and WRMSR.

// UNSAFETY: RDMSR and WRMSR are assembly. A program that sets one wrongly hurts only itself.
#![expect(unsafe_code)]

use crate::attempt;
use crate::exceptions::Exception;
use crate::verdict;

/// IA32_TIME_STAMP_COUNTER.
pub const TSC: u32 = 0x10;
/// IA32_APIC_BASE.
pub const APIC_BASE: u32 = 0x1b;
/// IA32_TSC_ADJUST.
pub const TSC_ADJUST: u32 = 0x3b;
/// IA32_SYSENTER_CS.
pub const SYSENTER_CS: u32 = 0x174;
/// IA32_SYSENTER_ESP.
pub const SYSENTER_ESP: u32 = 0x175;
/// IA32_SYSENTER_EIP.
pub const SYSENTER_EIP: u32 = 0x176;
/// IA32_DEBUGCTL.
pub const DEBUGCTL: u32 = 0x1d9;
/// IA32_PAT.
pub const PAT: u32 = 0x277;
/// IA32_VMX_BASIC.
pub const VMX_BASIC: u32 = 0x480;
/// IA32_TSC_DEADLINE.
pub const TSC_DEADLINE: u32 = 0x6e0;
/// IA32_EFER.
pub const EFER: u32 = 0xc000_0080;
/// IA32_STAR.
pub const STAR: u32 = 0xc000_0081;
/// IA32_LSTAR.
pub const LSTAR: u32 = 0xc000_0082;
/// IA32_CSTAR.
pub const CSTAR: u32 = 0xc000_0083;
/// IA32_FMASK.
pub const FMASK: u32 = 0xc000_0084;
/// IA32_FS_BASE.
pub const FS_BASE: u32 = 0xc000_0100;
/// IA32_GS_BASE.
pub const GS_BASE: u32 = 0xc000_0101;
/// IA32_KERNEL_GS_BASE.
pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
/// IA32_TSC_AUX.
pub const TSC_AUX: u32 = 0xc000_0103;

/// EFER.SCE: SYSCALL is enabled.
pub const EFER_SCE: u64 = 1 << 0;
/// EFER.LME: long mode is enabled.
pub const EFER_LME: u64 = 1 << 8;
/// EFER.LMA: long mode is active.
pub const EFER_LMA: u64 = 1 << 10;
/// EFER.NXE: execute-disable is enabled.
pub const EFER_NXE: u64 = 1 << 11;

/// APIC_BASE.EXTD: x2APIC mode.
pub const APIC_BASE_EXTD: u64 = 1 << 10;
/// APIC_BASE.EN: the local APIC is on.
pub const APIC_BASE_EN: u64 = 1 << 11;

/// All 64 bits of RAX and RDX after RDMSR, whatever its outcome. Both held `before`.
pub fn read_registers(msr: u32, before: u64) -> (Result<(), Exception>, u64, u64) {
    let (rax, rdx);
    // SAFETY: reading an MSR touches no memory.
    let outcome =
        unsafe { attempt!("rdmsr", in("ecx") msr, inout("rax") before => rax, inout("rdx") before => rdx) };
    (outcome, rax, rdx)
}

/// RDMSR; the error is what the CPU raised.
pub fn read(msr: u32) -> Result<u64, Exception> {
    let (outcome, rax, rdx) = read_registers(msr, 0);
    outcome.map(|()| rdx << 32 | rax)
}

/// WRMSR; the error is what the CPU raised.
pub fn write(msr: u32, value: u64) -> Result<(), Exception> {
    // SAFETY: the machine belongs to the program; the runtime itself depends on no MSR after the start but EFER, and
    // there the CPU refuses what would end long mode.
    unsafe { attempt!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32) }
}

/// RDMSR of an MSR that must be there; the program fails otherwise.
#[must_use]
#[track_caller]
pub fn get(msr: u32) -> u64 {
    match read(msr) {
        Ok(value) => value,
        Err(exception) => verdict::fail(format_args!("RDMSR {msr:#x}: expected a value, saw {exception:?}")),
    }
}

/// WRMSR of a value that must be taken; the program fails otherwise.
#[track_caller]
pub fn set(msr: u32, value: u64) {
    if let Err(exception) = write(msr, value) {
        verdict::fail(format_args!(
            "WRMSR {msr:#x} with {value:#x}: expected to be taken, saw {exception:?}"
        ));
    }
}
