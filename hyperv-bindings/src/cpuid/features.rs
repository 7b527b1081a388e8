// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUID leaf 0x40000003: which MSRs and hypercalls this partition may use, and what else is there.

use super::cpuid_leaf;
use crate::layout::assert_layout;
use bitfield_struct::bitfield;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// Leaf 0x40000003: the partition's privileges and the features that are not privileges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Features {
    /// EAX and EBX. Not a `u64`, since a leaf is four registers and aligned as such.
    privileges: [u32; 2],
    /// ECX.
    pub power: PowerFeatures,
    /// EDX.
    pub miscellaneous: MiscellaneousFeatures,
}

assert_layout!(Features, 16, { privileges: 0, power: 8, miscellaneous: 12 });
cpuid_leaf!(Features, 0x4000_0003);

impl Features {
    /// What the partition may do.
    #[must_use]
    pub fn privileges(&self) -> PartitionPrivileges {
        PartitionPrivileges::from_bits(zerocopy::transmute!(self.privileges))
    }

    /// The same leaf with other privileges.
    #[must_use]
    pub fn with_privileges(self, privileges: PartitionPrivileges) -> Self {
        Self { privileges: zerocopy::transmute!(privileges.into_bits()), ..self }
    }
}

/// EAX (bits 31:0) and EBX (63:32): what a partition may use (TLFS, `HV_PARTITION_PRIVILEGE_MASK`).
///
/// `tsc_invariant_controls` is not in the published mask, though Hyper-V and KVM both set it.
#[bitfield(u64)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PartitionPrivileges {
    /// May read [`VP_RUNTIME`](crate::msr::VP_RUNTIME).
    pub vp_runtime: bool,
    /// May read [`TIME_REF_COUNT`](crate::msr::TIME_REF_COUNT).
    pub time_ref_count: bool,
    /// May use the SynIC's MSRs, SCONTROL to EOM and SINT0 to SINT15.
    pub synic: bool,
    /// May use the synthetic timers' MSRs.
    pub synthetic_timers: bool,
    /// May use the APIC's synthetic MSRs (EOI, ICR, TPR) and the VP assist page.
    pub apic_msrs: bool,
    /// May use GUEST_OS_ID and HYPERCALL, that is, make hypercalls.
    pub hypercall_msrs: bool,
    /// May read [`VP_INDEX`](crate::msr::VP_INDEX).
    pub vp_index: bool,
    /// May reset the system through [`RESET`](crate::msr::RESET).
    pub reset: bool,
    /// May map its statistics pages by MSR.
    pub statistics_msrs: bool,
    /// May use the reference TSC page.
    pub reference_tsc: bool,
    /// May enter the guest idle state.
    pub guest_idle: bool,
    /// May read the TSC's and the APIC timer's frequency, where
    /// [`frequency_msrs`](MiscellaneousFeatures::frequency_msrs) says that the MSRs are there.
    pub frequency_msrs: bool,
    /// May use the debugging MSRs.
    pub debug_msrs: bool,
    /// May use the re-enlightenment and TSC emulation MSRs. Bit 13 here, bit 12 in leaf 0x40000009.
    pub reenlightenment: bool,
    __: bool,
    /// May use [`TSC_INVARIANT_CONTROL`](crate::msr::TSC_INVARIANT_CONTROL).
    pub tsc_invariant_controls: bool,
    #[bits(16)]
    __: u16,
    /// May create partitions, and make the calls that act on children.
    pub create_partitions: bool,
    /// May ask for its own partition identifier.
    pub access_partition_id: bool,
    /// May deposit and withdraw memory.
    pub access_memory_pool: bool,
    __: bool,
    /// May post messages.
    pub post_messages: bool,
    /// May signal events.
    pub signal_events: bool,
    /// May create ports.
    pub create_port: bool,
    /// May connect ports.
    pub connect_port: bool,
    /// May map statistics pages by hypercall.
    pub access_statistics: bool,
    #[bits(2)]
    __: u8,
    /// May use the debugging hypercalls.
    pub debugging: bool,
    /// May manage CPUs.
    pub cpu_management: bool,
    #[bits(3)]
    __: u8,
    /// May use Virtual Secure Mode.
    pub access_vsm: bool,
    /// May read and write VP registers by hypercall.
    pub access_vp_registers: bool,
    #[bits(2)]
    __: u8,
    /// May use the extended hypercalls, codes from 0x8000.
    pub extended_hypercalls: bool,
    /// May start a virtual processor by hypercall.
    pub start_virtual_processor: bool,
    /// Is an isolated partition.
    pub isolation: bool,
    #[bits(9)]
    __: u16,
}

/// ECX: power management and what else found no room in EDX.
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PowerFeatures {
    #[bits(5)]
    __: u8,
    /// MPERF counts at a constant rate.
    pub invariant_mperf: bool,
    /// Supervisor shadow stacks are available.
    pub supervisor_shadow_stack: bool,
    /// The architectural PMU is available.
    pub architectural_pmu: bool,
    /// Exception traps can be intercepted.
    pub exception_trap_intercept: bool,
    #[bits(23)]
    __: u32,
}

/// EDX: features that are there for whoever has the privilege.
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MiscellaneousFeatures {
    __: bool,
    /// Guest debugging.
    pub guest_debugging: bool,
    /// Performance monitors.
    pub performance_monitors: bool,
    /// Physical CPUs may come and go, with events that say so.
    pub cpu_dynamic_partitioning: bool,
    /// Hypercall input may be passed in XMM registers; #UD where it is done without this bit.
    pub xmm_hypercall_input: bool,
    /// The virtual guest idle state.
    pub guest_idle_state: bool,
    /// The hypervisor's sleep state.
    pub hypervisor_sleep_state: bool,
    /// NUMA distances can be asked for.
    pub numa_distance_query: bool,
    /// The frequency MSRs are there. The privilege of the same name is needed as well.
    pub frequency_msrs: bool,
    /// Machine checks can be injected.
    pub synthetic_machine_check: bool,
    /// The crash MSRs are there.
    pub crash_msrs: bool,
    /// The debugging MSRs are there.
    pub debug_msrs: bool,
    /// Non-privileged instruction execution prevention.
    pub npiep: bool,
    /// The hypervisor can be disabled.
    pub disable_hypervisor: bool,
    /// Lists of virtual address ranges may use the extended encoding.
    pub extended_gva_ranges: bool,
    /// Hypercall output may be returned in XMM registers.
    pub xmm_hypercall_output: bool,
    __: bool,
    /// SINTs can be polled.
    pub sint_polling: bool,
    /// The hypercall MSR can be locked.
    pub hypercall_msr_lock: bool,
    /// Synthetic timers may assert an interrupt directly, without a message.
    pub direct_synthetic_timers: bool,
    /// The PAT register is available to VSM.
    pub vsm_pat_register: bool,
    /// The BNDCFGS register is available to VSM.
    pub vsm_bndcfgs_register: bool,
    __: bool,
    /// The synthetic time-unhalted timer.
    pub time_unhalted_timer: bool,
    #[bits(2)]
    __: u8,
    /// Last branch records.
    pub last_branch_record: bool,
    #[bits(5)]
    __: u8,
}
