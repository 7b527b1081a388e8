// SPDX-License-Identifier: MIT OR Apache-2.0
//! Control, debug and extended control registers, and RFLAGS. Names and bits as in SDM volume 3, 2.3 to 2.6.

// UNSAFETY: these registers are reached by assembly only. A program that sets one wrongly hurts only itself.
#![expect(unsafe_code)]

use crate::attempt;
use crate::exceptions::Exception;
use core::arch::asm;

/// RFLAGS.TF: #DB after each instruction.
pub const RFLAGS_TF: u64 = 1 << 8;
/// RFLAGS.IF: maskable interrupts are delivered.
pub const RFLAGS_IF: u64 = 1 << 9;

/// CR0.PE: protected mode.
pub const CR0_PE: u64 = 1 << 0;
/// CR0.MP: WAIT heeds TS.
pub const CR0_MP: u64 = 1 << 1;
/// CR0.TS: x87 and SSE instructions raise #NM.
pub const CR0_TS: u64 = 1 << 3;
/// CR0.WP: read-only pages bind the supervisor too.
pub const CR0_WP: u64 = 1 << 16;
/// CR0.NW: not write-through; only together with CD.
pub const CR0_NW: u64 = 1 << 29;
/// CR0.CD: caches disabled.
pub const CR0_CD: u64 = 1 << 30;
/// CR0.PG: paging.
pub const CR0_PG: u64 = 1 << 31;

/// CR4.DE: debugging extensions.
pub const CR4_DE: u64 = 1 << 3;
/// CR4.PAE: must stay set in long mode.
pub const CR4_PAE: u64 = 1 << 5;
/// CR4.PGE: global pages.
pub const CR4_PGE: u64 = 1 << 7;
/// CR4.OSFXSR: SSE is enabled.
pub const CR4_OSFXSR: u64 = 1 << 9;
/// CR4.OSXMMEXCPT: #XM instead of #UD.
pub const CR4_OSXMMEXCPT: u64 = 1 << 10;
/// CR4.VMXE: VMX is enabled.
pub const CR4_VMXE: u64 = 1 << 13;
/// CR4.OSXSAVE: XSAVE and XCR0 are enabled.
pub const CR4_OSXSAVE: u64 = 1 << 18;

/// DR6.BS: the #DB is a single step.
pub const DR6_BS: u64 = 1 << 14;
/// What DR6 reads when nothing happened (SDM volume 3, 19.2.3).
pub const DR6_INIT: u64 = 0xffff_0ff0;

macro_rules! control_register {
    ($read:ident, $write:ident, $name:literal) => {
        #[doc = concat!("Reads ", $name, ".")]
        #[must_use]
        pub fn $read() -> u64 {
            let value;
            // SAFETY: reading has no effect.
            unsafe { asm!(concat!("mov {}, ", $name), out(reg) value) };
            value
        }

        #[doc = concat!("Writes ", $name, "; the error is what the CPU raised.")]
        pub fn $write(value: u64) -> Result<(), Exception> {
            // SAFETY: the machine belongs to the program, and the runtime's mapping does not change.
            unsafe { attempt!(concat!("mov ", $name, ", {value}"), value = in(reg) value) }
        }
    };
}

control_register!(cr0, write_cr0, "cr0");
control_register!(cr2, write_cr2, "cr2");
control_register!(cr3, write_cr3, "cr3");
control_register!(cr4, write_cr4, "cr4");
control_register!(cr8, write_cr8, "cr8");
control_register!(dr0, write_dr0, "dr0");
control_register!(dr1, write_dr1, "dr1");
control_register!(dr2, write_dr2, "dr2");
control_register!(dr3, write_dr3, "dr3");
control_register!(dr6, write_dr6, "dr6");
control_register!(dr7, write_dr7, "dr7");

/// Reads DR6 and sets it back to [`DR6_INIT`], as a debug handler must.
#[must_use]
pub fn take_dr6() -> u64 {
    let value = dr6();
    // A write of the initial value cannot fault, and the caller may itself be inside an attempt.
    // SAFETY: as above.
    unsafe { asm!("mov dr6, {}", in(reg) DR6_INIT) };
    value
}

/// Reads XCR0; #UD while CR4.OSXSAVE is clear.
pub fn xcr0() -> Result<u64, Exception> {
    let (low, high): (u32, u32);
    // SAFETY: reading has no effect.
    unsafe { attempt!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high) }?;
    Ok(u64::from(high) << 32 | u64::from(low))
}

/// Writes the extended control register with this number.
pub fn write_xcr(number: u32, value: u64) -> Result<(), Exception> {
    // SAFETY: Rust code of this target uses no state that XCR0 governs.
    unsafe { attempt!("xsetbv", in("ecx") number, in("eax") value as u32, in("edx") (value >> 32) as u32) }
}

/// Reads RFLAGS.
#[must_use]
pub fn rflags() -> u64 {
    let value;
    // SAFETY: the stack is as before when it ends.
    unsafe { asm!("pushfq", "pop {}", out(reg) value) };
    value
}
