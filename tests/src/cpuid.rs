// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUID (SDM volume 2, CPUID).

// UNSAFETY: the full 64-bit registers are wanted, which the intrinsic does not give.
#![expect(unsafe_code)]

use core::arch::asm;

/// What CPUID leaves in EAX, EBX, ECX and EDX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
}

/// All 64 bits of RAX, RBX, RCX and RDX after CPUID, which had these 64 bits in RAX and RCX, and ones in RBX and RDX.
#[must_use]
pub fn registers(rax: u64, rcx: u64) -> [u64; 4] {
    let (a, b, c, d);
    // SAFETY: CPUID changes these registers only; RBX, which the compiler keeps, is put back.
    unsafe {
        asm!(
            "xchg {b}, rbx",
            "cpuid",
            "xchg {b}, rbx",
            b = inout(reg) u64::MAX => b,
            inout("rax") rax => a,
            inout("rcx") rcx => c,
            inout("rdx") u64::MAX => d,
            options(nomem, nostack, preserves_flags),
        );
    }
    [a, b, c, d]
}

/// A leaf with sub-leaf `subleaf`.
#[must_use]
pub fn subleaf(leaf: u32, subleaf: u32) -> Leaf {
    let [eax, ebx, ecx, edx] = registers(leaf.into(), subleaf.into()).map(|register| register as u32);
    Leaf { eax, ebx, ecx, edx }
}

/// A leaf that has no sub-leaves.
#[must_use]
pub fn leaf(leaf: u32) -> Leaf {
    subleaf(leaf, 0)
}

/// The highest basic leaf.
#[must_use]
pub fn highest_basic() -> u32 {
    leaf(0).eax
}

/// Who the hypervisor says that it is.
#[must_use]
pub fn hypervisor() -> [u8; 12] {
    let Leaf { ebx, ecx, edx, .. } = leaf(0x4000_0000);
    let mut name = [0; 12];
    for (bytes, register) in name.chunks_exact_mut(4).zip([ebx, ecx, edx]) {
        bytes.copy_from_slice(&register.to_le_bytes());
    }
    name
}
