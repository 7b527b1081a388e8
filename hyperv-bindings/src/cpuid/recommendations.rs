// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUID leaf 0x40000004: what the hypervisor advises its guest to do.

use super::cpuid_leaf;
use crate::layout::assert_layout;
use bitfield_struct::bitfield;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// Leaf 0x40000004: hints. They say what is worth doing; the privileges in leaf 0x40000003 say what is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Recommendations {
    /// EAX.
    pub behaviour: RecommendedBehaviour,
    /// EBX: how often to try a spinlock before [`NOTIFY_LONG_SPIN_WAIT`]; see [`Self::NEVER_NOTIFY`].
    ///
    /// [`NOTIFY_LONG_SPIN_WAIT`]: crate::hypercall::CallCode::NOTIFY_LONG_SPIN_WAIT
    pub spin_retries: u32,
    /// ECX.
    pub physical_address: PhysicalAddressWidth,
    /// EDX, reserved.
    pub reserved: u32,
}

assert_layout!(Recommendations, 16, { behaviour: 0, spin_retries: 4, physical_address: 8, reserved: 12 });
cpuid_leaf!(Recommendations, 0x4000_0004);

impl Recommendations {
    /// The value of `spin_retries` that means: do not notify at all.
    pub const NEVER_NOTIFY: u32 = 0xFFFF_FFFF;
}

/// EAX: one bit per piece of advice.
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RecommendedBehaviour {
    /// Switch address spaces by hypercall.
    pub address_space_switch_hypercall: bool,
    /// Flush the own TLB by hypercall.
    pub local_flush_hypercall: bool,
    /// Flush other processors' TLBs by hypercall.
    pub remote_flush_hypercall: bool,
    /// Use the APIC's synthetic MSRs rather than its page.
    pub apic_msrs: bool,
    /// Reset through [`RESET`](crate::msr::RESET).
    pub reset_msr: bool,
    /// Do not rely on interrupts in time: no watchdogs.
    pub relaxed_timing: bool,
    /// Use DMA remapping (deprecated).
    pub dma_remapping: bool,
    /// Use interrupt remapping (deprecated).
    pub interrupt_remapping: bool,
    __: bool,
    /// Do not use AutoEOI.
    pub deprecate_auto_eoi: bool,
    /// Send IPIs by hypercall.
    pub cluster_ipi_hypercall: bool,
    /// Use the calls that take a VP set ("Ex").
    pub vp_set_hypercalls: bool,
    /// The hypervisor runs nested in a Hyper-V partition itself.
    pub hypervisor_is_nested: bool,
    /// Use INT for system calls that need mode-based execute control.
    pub int_for_mbec_system_calls: bool,
    /// A nested hypervisor should use enlightened VMCSs; which version, leaf 0x4000000A says.
    pub enlightened_vmcs: bool,
    /// Take the time line's bias from the root partition.
    pub synced_timeline: bool,
    /// The core scheduler is asked for.
    pub core_scheduler_requested: bool,
    /// Flush the whole own TLB by CR4.PGE rather than by hypercall.
    pub direct_local_flush_entire: bool,
    /// Virtual processors share no core but as reported hyper-threads.
    pub no_non_architectural_core_sharing: bool,
    /// Use the APIC in x2APIC mode.
    pub x2apic: bool,
    #[bits(12)]
    __: u16,
}

/// ECX: how wide a physical address is on the machine itself.
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PhysicalAddressWidth {
    /// Bits implemented, or 0 where that is not told.
    #[bits(7)]
    pub bits: u8,
    #[bits(25)]
    __: u32,
}
