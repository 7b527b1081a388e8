// SPDX-License-Identifier: MIT OR Apache-2.0
//! The VP assist page, by which a nested hypervisor names its enlightened VMCS, and the partition assist page.

use crate::PAGE_SIZE;
use crate::layout::assert_layout;
use crate::open_set::open_set;
use bitfield_struct::bitfield;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// The page that [`VP_ASSIST_PAGE`](crate::msr::VP_ASSIST_PAGE) places, one per virtual processor
/// (TLFS, `HV_VP_ASSIST_PAGE`). Both sides write it.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
pub struct VpAssistPage {
    /// Lets the guest spare the exit of an EOI.
    pub apic_assist: ApicAssist,
    /// Reserved.
    pub reserved_04: u32,
    /// How a virtual trust level was entered, and what it returns with.
    pub vtl_control: VtlControl,
    /// What the guest's own guest may do at this hypervisor.
    pub nested_enlightenments_control: NestedEnlightenmentsControl,
    /// Other than 0: VM entry uses `current_nested_vmcs`, not a VMCS that VMPTRLD loaded.
    pub enlighten_vm_entry: u8,
    /// Reserved.
    pub reserved_29: [u8; 7],
    /// Guest-physical address of the enlightened VMCS that VMLAUNCH and VMRESUME use.
    pub current_nested_vmcs: u64,
    /// Set where the synthetic time-unhalted timer has fired.
    pub synthetic_time_unhalted_timer_expired: u8,
    /// Reserved.
    pub reserved_39: [u8; 7],
    /// The virtualization fault that the processor took last.
    pub virtualization_fault_information: VirtualizationFaultInformation,
    /// Reserved here; some hypervisors keep intercept messages in it.
    pub reserved_50: [u64; 502],
}

assert_layout!(VpAssistPage, 4096, {
    apic_assist: 0x00,
    reserved_04: 0x04,
    vtl_control: 0x08,
    nested_enlightenments_control: 0x20,
    enlighten_vm_entry: 0x28,
    reserved_29: 0x29,
    current_nested_vmcs: 0x30,
    synthetic_time_unhalted_timer_expired: 0x38,
    reserved_39: 0x39,
    virtualization_fault_information: 0x40,
    reserved_50: 0x50,
});
const _: () = assert!(align_of::<VpAssistPage>() == PAGE_SIZE);

/// The first word of the VP assist page (TLFS, "EOI Assist").
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ApicAssist {
    /// The interrupt in service needs no EOI. The guest clears this atomically, and does the EOI where it was clear.
    pub no_eoi_required: bool,
    #[bits(31)]
    __: u32,
}

/// Why a virtual trust level was entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct VtlEntryReason(pub u32);

open_set! {
    VtlEntryReason(u32);
    /// A call from a lower level.
    VTL_CALL = 1, "VTL call";
    /// An interrupt for this level.
    INTERRUPT = 2, "interrupt";
    /// An intercept that comes with a message.
    INTERCEPT = 3, "intercept";
}

/// Between the hypervisor and a virtual trust level (TLFS, `HV_VP_VTL_CONTROL`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VtlControl {
    /// Why the level was entered.
    pub entry_reason: VtlEntryReason,
    /// Bit 0: a virtual interrupt is pending for a lower level.
    pub vina_status: u8,
    /// Reserved.
    pub reserved: [u8; 3],
    /// RAX on return from the level.
    pub return_rax: u64,
    /// RCX on return from the level.
    pub return_rcx: u64,
}

assert_layout!(VtlControl, 24, { entry_reason: 0, vina_status: 4, reserved: 5, return_rax: 8, return_rcx: 16 });

/// What a nested hypervisor lets its current guest do at L0 (TLFS, `HV_NESTED_ENLIGHTENMENTS_CONTROL`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NestedEnlightenmentsControl {
    /// Which enlightenments.
    pub features: NestedFeatures,
    /// Which hypercalls beyond the flushes.
    pub hypercall_controls: NestedHypercallControls,
}

assert_layout!(NestedEnlightenmentsControl, 8, { features: 0, hypercall_controls: 4 });

/// The first half of [`NestedEnlightenmentsControl`].
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct NestedFeatures {
    /// L0 handles the guest's flush hypercalls, where the enlightened VMCS says so too.
    pub direct_hypercall: bool,
    /// Virtualization exceptions count as page faults.
    pub virtualization_exception: bool,
    #[bits(30)]
    __: u32,
}

/// The second half of [`NestedEnlightenmentsControl`].
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct NestedHypercallControls {
    /// L0 handles inter-partition communication as well.
    pub inter_partition_communication: bool,
    #[bits(31)]
    __: u32,
}

/// Code and parameters of a virtualization fault; 16-aligned (TLFS, `HV_VIRTUALIZATION_FAULT_INFORMATION`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VirtualizationFaultInformation {
    /// The first parameter.
    pub parameter_0: u16,
    /// Reserved.
    pub reserved: u16,
    /// What kind of fault it is.
    pub code: u32,
    /// The second parameter.
    pub parameter_1: u64,
}

assert_layout!(VirtualizationFaultInformation, 16, { parameter_0: 0, reserved: 2, code: 4, parameter_1: 8 });

/// A page per VM, named in each of its enlightened VMCSs, that direct virtual flush needs
/// (TLFS, "Partition Assist Page"). Zero it before use.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
pub struct PartitionAssistPage {
    /// Other than 0: after a direct flush L0 exits to L1 with [`TRAP_AFTER_FLUSH`] instead of returning to L2.
    pub tlb_lock_count: u32,
    /// Reserved.
    pub reserved: [u32; 1023],
}

assert_layout!(PartitionAssistPage, 4096, { tlb_lock_count: 0, reserved: 4 });
const _: () = assert!(align_of::<PartitionAssistPage>() == PAGE_SIZE);

/// The synthetic VM-exit reason that says: a direct flush was done while the TLB lock count was not zero.
pub const TRAP_AFTER_FLUSH: u32 = 0x1000_0031;
