// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUID leaves 0x40000005 and 0x40000006: how large a partition may be, and which hardware the hypervisor uses.

use super::cpuid_leaf;
use crate::layout::assert_layout;
use bitfield_struct::bitfield;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// Leaf 0x40000005: limits. A zero means that the hypervisor does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ImplementationLimits {
    /// EAX: virtual processors in a partition.
    pub max_virtual_processors: u32,
    /// EBX: logical processors in the machine.
    pub max_logical_processors: u32,
    /// ECX: physical interrupt vectors for remapping.
    pub max_interrupt_vectors: u32,
    /// EDX, reserved.
    pub reserved: u32,
}

assert_layout!(ImplementationLimits, 16, {
    max_virtual_processors: 0,
    max_logical_processors: 4,
    max_interrupt_vectors: 8,
    reserved: 12,
});
cpuid_leaf!(ImplementationLimits, 0x4000_0005);

/// Leaf 0x40000006: hardware features that the hypervisor found and uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HardwareFeatures {
    /// EAX.
    pub in_use: HardwareInUse,
    /// EBX to EDX, reserved.
    pub reserved: [u32; 3],
}

assert_layout!(HardwareFeatures, 16, { in_use: 0, reserved: 4 });
cpuid_leaf!(HardwareFeatures, 0x4000_0006);

/// Leaf 0x40000006 EAX.
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct HardwareInUse {
    /// APIC overlay assist.
    pub apic_overlay_assist: bool,
    /// MSR bitmaps.
    pub msr_bitmaps: bool,
    /// Architectural performance counters.
    pub performance_counters: bool,
    /// Second-level address translation.
    pub second_level_address_translation: bool,
    /// DMA remapping.
    pub dma_remapping: bool,
    /// Interrupt remapping.
    pub interrupt_remapping: bool,
    /// A memory patrol scrubber is present.
    pub memory_patrol_scrubber: bool,
    /// DMA protection.
    pub dma_protection: bool,
    /// The HPET is asked for.
    pub hpet_requested: bool,
    /// Synthetic timers do not survive deep sleep.
    pub synthetic_timers_volatile: bool,
    /// How many hypervisors lie under this guest's own; 0 where it is not nested.
    #[bits(4)]
    pub hypervisor_level: u8,
    /// Interrupts need physical destination mode.
    pub physical_destination_mode: bool,
    /// VMFUNC switches alias maps.
    pub vmfunc_alias_map_switch: bool,
    /// The hardware can zero memory.
    pub memory_zeroing: bool,
    /// Unrestricted guest.
    pub unrestricted_guest: bool,
    /// Resource allocation (RDT-A).
    pub resource_allocation: bool,
    /// Resource monitoring (RDT-M).
    pub resource_monitoring: bool,
    /// A virtual PMU for guests.
    pub guest_pmu: bool,
    /// Virtual last branch records for guests.
    pub guest_lbr: bool,
    /// Virtual Processor Trace for guests.
    pub guest_processor_trace: bool,
    /// APIC emulation.
    pub apic_emulation: bool,
    #[bits(8)]
    __: u8,
}
