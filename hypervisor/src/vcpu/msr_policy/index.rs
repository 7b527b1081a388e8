// SPDX-License-Identifier: MIT OR Apache-2.0
//! The MSRs that the policy knows, by their architectural names (SDM Vol. 4, 2.1).

use core::fmt;
use enlightenments::offer::registers::SYNTHETIC;

/// The index of an MSR: ECX of RDMSR and WRMSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MsrIndex(pub u32);

impl MsrIndex {
    /// IA32_TIME_STAMP_COUNTER.
    pub const TIME_STAMP_COUNTER: Self = Self(0x10);
    /// IA32_PLATFORM_ID.
    pub const PLATFORM_ID: Self = Self(0x17);
    /// IA32_APIC_BASE.
    pub const APIC_BASE: Self = Self(0x1B);
    /// IA32_TSC_ADJUST.
    pub const TSC_ADJUST: Self = Self(0x3B);
    /// IA32_BIOS_SIGN_ID.
    pub const BIOS_SIGN_ID: Self = Self(0x8B);
    /// IA32_SYSENTER_CS.
    pub const SYSENTER_CS: Self = Self(0x174);
    /// IA32_SYSENTER_ESP.
    pub const SYSENTER_ESP: Self = Self(0x175);
    /// IA32_SYSENTER_EIP.
    pub const SYSENTER_EIP: Self = Self(0x176);
    /// IA32_MCG_CAP.
    pub const MCG_CAP: Self = Self(0x179);
    /// IA32_MISC_ENABLE.
    pub const MISC_ENABLE: Self = Self(0x1A0);
    /// IA32_DEBUGCTL.
    pub const DEBUGCTL: Self = Self(0x1D9);
    /// IA32_PAT.
    pub const PAT: Self = Self(0x277);
    /// IA32_TSC_DEADLINE.
    pub const TSC_DEADLINE: Self = Self(0x6E0);
    /// The first of the range that belongs to the local APIC in x2APIC mode.
    pub const X2APIC_FIRST: Self = Self(0x800);
    /// The task priority there.
    pub const X2APIC_TASK_PRIORITY: Self = Self(0x808);
    /// The end of an interrupt.
    pub const X2APIC_END_OF_INTERRUPT: Self = Self(0x80B);
    /// An interrupt to itself.
    pub const X2APIC_SELF_IPI: Self = Self(0x83F);
    /// The last of that range.
    pub const X2APIC_LAST: Self = Self(0x8FF);
    /// The first of those of Hyper-V's interface.
    pub const SYNTHETIC_FIRST: Self = Self(*SYNTHETIC.start());
    /// The last of them.
    pub const SYNTHETIC_LAST: Self = Self(*SYNTHETIC.end());
    /// IA32_EFER.
    pub const EFER: Self = Self(0xC000_0080);
    /// IA32_STAR.
    pub const STAR: Self = Self(0xC000_0081);
    /// IA32_LSTAR.
    pub const LSTAR: Self = Self(0xC000_0082);
    /// IA32_CSTAR.
    pub const CSTAR: Self = Self(0xC000_0083);
    /// IA32_FMASK.
    pub const FMASK: Self = Self(0xC000_0084);
    /// IA32_FS_BASE.
    pub const FS_BASE: Self = Self(0xC000_0100);
    /// IA32_GS_BASE.
    pub const GS_BASE: Self = Self(0xC000_0101);
    /// IA32_KERNEL_GS_BASE.
    pub const KERNEL_GS_BASE: Self = Self(0xC000_0102);
    /// IA32_TSC_AUX.
    pub const TSC_AUX: Self = Self(0xC000_0103);
}

impl fmt::Display for MsrIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MSR {:#x}", self.0)
    }
}
