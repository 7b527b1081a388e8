// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registers that VMX does not switch: a vCPU that comes to a CPU must not find another guest's values in them.

// UNSAFETY: registers of the processor.
#![expect(unsafe_code)]

use crate::cpu::hardware;
use crate::cpu::hardware::MsrIo;
use crate::cpu::hardware::NativeMsrs;
use crate::vcpu::msr_policy::MsrIndex;
use crate::vcpu::msr_policy::held_by_processor;

/// MXCSR after RESET.
const MXCSR: u32 = 0x1f80;

/// An XSAVE area of which every component is in its initial configuration (SDM vol. 1, "XSAVE Area").
#[repr(C, align(64))]
struct InitialState {
    legacy: [u32; 128],
    header: [u64; 8],
}

static INITIAL_STATE: InitialState = {
    let mut legacy = [0; 128];
    legacy[6] = MXCSR;
    InitialState { legacy, header: [0; 8] }
};

/// Sets all of it to what it is after RESET. `xcr0` is every component that the processor has for guests.
pub fn reset(xcr0: u64, has_tsc_aux: bool) {
    for msr in held_by_processor().filter(|&msr| has_tsc_aux || msr != MsrIndex::TSC_AUX) {
        // SAFETY: of 64-bit CPUs that run guests, and zero is a value of each; our own code uses none of them.
        unsafe { NativeMsrs.write(msr.0, 0) };
    }
    hardware::set_cr2(0);
    reset_debug_registers();
    // All components at once, then as a guest finds XCR0.
    hardware::set_xcr0(xcr0 | 1);
    // SAFETY: our own code uses no extended state; the area is aligned, and none of it is read beyond the header, as no
    // component is in use there.
    unsafe {
        core::arch::asm!(
            "xrstor [{}]", in(reg) &raw const INITIAL_STATE, in("eax") u32::MAX, in("edx") u32::MAX,
            options(nostack, readonly, preserves_flags)
        );
    }
    hardware::set_xcr0(1);
}

fn reset_debug_registers() {
    // SAFETY: without enabled breakpoints (DR7 is loaded by every entry and exit) they do nothing.
    unsafe {
        core::arch::asm!(
            "mov dr0, {zero}", "mov dr1, {zero}", "mov dr2, {zero}", "mov dr3, {zero}", "mov dr6, {dr6}",
            zero = in(reg) 0_u64, dr6 = in(reg) 0xffff_0ff0_u64, options(nomem, nostack, preserves_flags)
        );
    }
}
