// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hyper-V's interface as a guest uses it: leaves, synthetic MSRs, and hypercalls by their page (TLFS, "Hypercall Interface").

// UNSAFETY: a call into a page that the hypervisor filled, and VMCALL, are assembly.
#![expect(unsafe_code)]

use crate::attempt;
use crate::control;
use crate::exceptions::Exception;
use crate::msr;
use core::arch::asm;

/// MSR: who the guest is.
pub const GUEST_OS_ID: u32 = 0x4000_0000;
/// MSR: where the hypercall page lies.
pub const HYPERCALL: u32 = 0x4000_0001;
/// MSR: the index of the virtual processor.
pub const VP_INDEX: u32 = 0x4000_0002;
/// MSR: where this processor's VP assist page lies.
pub const VP_ASSIST_PAGE: u32 = 0x4000_0073;
/// MSR: whether CPUID may show an invariant TSC.
pub const TSC_INVARIANT_CONTROL: u32 = 0x4000_0118;

/// Of an MSR that places a page: it is there.
pub const ENABLED: u64 = 1 << 0;
/// Of [`HYPERCALL`]: it cannot be changed any more.
pub const LOCKED: u64 = 1 << 1;

/// An open-source system that nobody knows.
pub const SOME_SYSTEM: u64 = 1 << 63 | 0x7e << 56;

/// HvCallFlushVirtualAddressSpace.
pub const FLUSH_SPACE: u64 = 0x0002;
/// HvCallFlushVirtualAddressList.
pub const FLUSH_LIST: u64 = 0x0003;
/// HvCallFlushVirtualAddressSpaceEx.
pub const FLUSH_SPACE_EX: u64 = 0x0013;
/// HvCallFlushVirtualAddressListEx.
pub const FLUSH_LIST_EX: u64 = 0x0014;

/// Input value: the input is in registers.
pub const FAST: u64 = 1 << 16;

/// Input value: so many quad words of variable header.
#[must_use]
pub const fn variable_header(words: u64) -> u64 {
    words << 17
}

/// Input value, and result: so many elements of a list.
#[must_use]
pub const fn reps(count: u64) -> u64 {
    count << 32
}

/// Quad words of input in RDX, R8 and XMM0 to XMM5.
pub const FAST_WORDS: usize = 14;

/// Says who we are, and places the hypercall page.
#[track_caller]
pub fn enable(page: u64) {
    msr::set(GUEST_OS_ID, SOME_SYSTEM);
    msr::set(HYPERCALL, page | ENABLED);
}

/// Calls through the page, with the input at `input`; gives RAX.
#[must_use]
pub fn call(page: u64, value: u64, input: u64) -> u64 {
    let result;
    // SAFETY: the page was placed there by who calls, and its code changes RAX alone.
    unsafe {
        asm!("call {}", in(reg) page, in("rcx") value, in("rdx") input, in("r8") 0_u64, lateout("rax") result);
    }
    result
}

/// Calls through the page, with the input in registers; gives RAX. [`use_xmm`] was called.
#[must_use]
pub fn call_fast(page: u64, value: u64, words: &[u64; FAST_WORDS]) -> u64 {
    let result;
    // SAFETY: as for `call`; Rust code of this target uses no XMM registers.
    unsafe {
        asm!(
            "movups xmm0, [{words} + 16]",
            "movups xmm1, [{words} + 32]",
            "movups xmm2, [{words} + 48]",
            "movups xmm3, [{words} + 64]",
            "movups xmm4, [{words} + 80]",
            "movups xmm5, [{words} + 96]",
            "call {page}",
            words = in(reg) words.as_ptr(), page = in(reg) page, in("rcx") value | FAST, in("rdx") words[0],
            in("r8") words[1], lateout("rax") result,
        );
    }
    result
}

/// Has this CPU take instructions that use XMM registers.
pub fn use_xmm() {
    crate::verdict::expect_eq(
        "CR4 takes OSFXSR",
        control::write_cr4(control::cr4() | control::CR4_OSFXSR),
        Ok(()),
    );
}

/// VMCALL itself, not by the page; gives RAX, or what it raised.
pub fn vmcall(value: u64, input: u64) -> Result<u64, Exception> {
    let mut result = 0_u64;
    // SAFETY: it changes RAX alone.
    let outcome =
        unsafe { attempt!("vmcall", in("rcx") value, in("rdx") input, in("r8") 0_u64, inout("rax") result) };
    outcome.map(|()| result)
}
