// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bits of control registers, IA32_EFER and RFLAGS, as numbers: a guest's registers hold any bits, not only those with names.

/// CR0 (SDM vol. 3, "Control Registers").
#[expect(missing_docs, reason = "the names are the manual's")]
pub mod cr0 {
    pub const PE: u64 = 1 << 0;
    pub const ET: u64 = 1 << 4;
    pub const NE: u64 = 1 << 5;
    pub const WP: u64 = 1 << 16;
    pub const NW: u64 = 1 << 29;
    pub const CD: u64 = 1 << 30;
    pub const PG: u64 = 1 << 31;
    /// Those that a processor has.
    pub const DEFINED: u64 = 0xe005_003f;
}

/// CR4 (SDM vol. 3, "Control Registers").
#[expect(missing_docs, reason = "the names are the manual's")]
pub mod cr4 {
    pub const PSE: u64 = 1 << 4;
    pub const PAE: u64 = 1 << 5;
    pub const MCE: u64 = 1 << 6;
    pub const PGE: u64 = 1 << 7;
    pub const UMIP: u64 = 1 << 11;
    pub const LA57: u64 = 1 << 12;
    pub const VMXE: u64 = 1 << 13;
    pub const FSGSBASE: u64 = 1 << 16;
    pub const PCIDE: u64 = 1 << 17;
    pub const OSXSAVE: u64 = 1 << 18;
    pub const SMEP: u64 = 1 << 20;
    pub const SMAP: u64 = 1 << 21;
    /// VME, PVI, TSD, DE, PSE, PAE, MCE, PGE, PCE, OSFXSR, OSXMMEXCPT: every processor with VMX has them.
    pub const BASIC: u64 = 0x7ff;
}

/// IA32_EFER (SDM vol. 3, "Extended Feature Enable Register").
#[expect(missing_docs, reason = "the names are the manual's")]
pub mod efer {
    pub const SCE: u64 = 1 << 0;
    pub const LME: u64 = 1 << 8;
    pub const LMA: u64 = 1 << 10;
    pub const NXE: u64 = 1 << 11;
}

/// RFLAGS (SDM vol. 1, "EFLAGS Register").
#[expect(missing_docs, reason = "the names are the manual's")]
pub mod rflags {
    /// The bit that is always set.
    pub const FIXED: u64 = 1 << 1;
    pub const TF: u64 = 1 << 8;
    pub const IF: u64 = 1 << 9;
    pub const DF: u64 = 1 << 10;
    pub const RF: u64 = 1 << 16;
    pub const AC: u64 = 1 << 18;
}
