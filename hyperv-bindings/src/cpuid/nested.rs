// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUID leaves 0x40000009 and 0x4000000A: what is offered to a guest that is a hypervisor itself.

use super::cpuid_leaf;
use crate::layout::assert_layout;
use bitfield_struct::bitfield;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// Leaf 0x40000009: what a nested *root* partition may use of the hypervisor under its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NestedHypervisorFeatures {
    /// EAX: access to the nested MSRs at 0x40001xxx.
    pub privileges: NestedMsrPrivileges,
    /// EBX and ECX, reserved.
    pub reserved: [u32; 2],
    /// EDX.
    pub hypercalls: NestedHypercallFeatures,
}

assert_layout!(NestedHypervisorFeatures, 16, { privileges: 0, reserved: 4, hypercalls: 12 });
cpuid_leaf!(NestedHypervisorFeatures, 0x4000_0009);

/// Leaf 0x40000009 EAX: like the privileges in leaf 0x40000003, but for one bit that lies elsewhere.
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct NestedMsrPrivileges {
    #[bits(2)]
    __: u8,
    /// The nested SynIC MSRs.
    pub synic: bool,
    __: bool,
    /// The nested APIC MSRs.
    pub apic_msrs: bool,
    /// The nested hypercall MSRs.
    pub hypercall_msrs: bool,
    /// [`NESTED_VP_INDEX`](crate::msr::NESTED_VP_INDEX).
    pub vp_index: bool,
    #[bits(5)]
    __: u8,
    /// The re-enlightenment MSRs. Bit 12 here, bit 13 in leaf 0x40000003.
    pub reenlightenment: bool,
    #[bits(19)]
    __: u32,
}

/// Leaf 0x40000009 EDX.
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct NestedHypercallFeatures {
    #[bits(4)]
    __: u8,
    /// Hypercall input in XMM registers.
    pub xmm_hypercall_input: bool,
    #[bits(10)]
    __: u16,
    /// Hypercall output in XMM registers.
    pub xmm_hypercall_output: bool,
    __: bool,
    /// SINTs can be polled.
    pub sint_polling: bool,
    #[bits(14)]
    __: u16,
}

/// Leaf 0x4000000A: which nested enlightenments there are.
///
/// Not there on every hypervisor: ask only where [`max_leaf`](super::VendorAndMaxLeaf::max_leaf) reaches it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NestedVirtualization {
    /// EAX.
    pub features: NestedVirtualizationFeatures,
    /// EBX.
    pub vmcs: NestedVmcsFeatures,
    /// ECX and EDX, reserved.
    pub reserved: [u32; 2],
}

assert_layout!(NestedVirtualization, 16, { features: 0, vmcs: 4, reserved: 8 });
cpuid_leaf!(NestedVirtualization, 0x4000_000A);

/// Leaf 0x4000000A EAX.
///
/// A bit says what is advertised. [`guest_physical_flush`](Self::guest_physical_flush) is advertised by some
/// hypervisors that then refuse the calls, so it has to be probed.
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct NestedVirtualizationFeatures {
    /// The lowest version of the enlightened VMCS that is understood. 0 where there is none.
    pub lowest_evmcs_version: u8,
    /// The highest version of the enlightened VMCS that is understood. 0 where there is none.
    pub highest_evmcs_version: u8,
    __: bool,
    /// A nested guest's flush hypercalls can go straight to this hypervisor.
    pub direct_virtual_flush: bool,
    /// Calls 0x00AF and 0x00B0, on Intel.
    pub guest_physical_flush: bool,
    /// The enlightened MSR bitmap.
    pub enlightened_msr_bitmap: bool,
    /// Virtualization exceptions can be combined with the page-fault exception class.
    pub combined_virtualization_exceptions: bool,
    /// The VMCS field GUEST_IA32_DEBUGCTL may be other than zero.
    pub guest_debugctl: bool,
    /// AMD only: flushing an ASID spares nested translations, which calls 0x00AF and 0x00B0 then flush.
    pub enlightened_npt_tlb: bool,
    #[bits(9)]
    __: u16,
}

impl NestedVirtualizationFeatures {
    /// Whether an enlightened VMCS of this version is understood.
    #[must_use]
    pub const fn supports_evmcs_version(self, version: u8) -> bool {
        self.lowest_evmcs_version() <= version && version <= self.highest_evmcs_version()
    }
}

/// Leaf 0x4000000A EBX: exceptions to the rule that a VMCS field is there if the CPU has it.
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct NestedVmcsFeatures {
    /// The enlightened VMCS has both IA32_PERF_GLOBAL_CTRL fields.
    pub perf_global_ctrl: bool,
    #[bits(31)]
    __: u32,
}
