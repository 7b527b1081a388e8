// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUID leaves: numbers, signatures, and every named bit.

use core::arch::x86_64::CpuidResult;
use hyperv_bindings::cpuid::*;

fn registers(eax: u32, ebx: u32, ecx: u32, edx: u32) -> CpuidResult {
    CpuidResult { eax, ebx, ecx, edx }
}

#[test]
fn leaf_numbers() {
    let leaves = [
        VendorAndMaxLeaf::LEAF,
        Interface::LEAF,
        Version::LEAF,
        Features::LEAF,
        Recommendations::LEAF,
        ImplementationLimits::LEAF,
        HardwareFeatures::LEAF,
        NestedHypervisorFeatures::LEAF,
        NestedVirtualization::LEAF,
    ];
    let published = [
        0x4000_0000,
        0x4000_0001,
        0x4000_0002,
        0x4000_0003,
        0x4000_0004,
        0x4000_0005,
        0x4000_0006,
        0x4000_0009,
        0x4000_000A,
    ];
    assert_eq!(leaves, published);
    assert_eq!(HYPERVISOR_PRESENT, 0x8000_0000);
}

#[test]
fn signatures() {
    let leaf = registers(0x4000_000B, 0x7263_694D, 0x666F_736F, 0x7648_2074);
    let vendor = VendorAndMaxLeaf::from_cpuid(leaf);
    assert_eq!((vendor.max_leaf, vendor.vendor), (0x4000_000B, Vendor::MICROSOFT));
    assert_eq!(vendor.into_cpuid(), leaf);

    let interface = Interface::from_cpuid(registers(0x3123_7648, 0, 0, 0));
    assert_eq!(interface.signature, InterfaceSignature::HV1);
    assert_eq!(&interface.signature.into_bits().to_le_bytes(), b"Hv#1");
}

#[test]
fn vendor_is_printed_unpadded_and_escaped() {
    assert_eq!(Vendor::KVM.to_string(), "KVMKVMKVM");
    assert_eq!(Vendor::MICROSOFT.to_string(), "Microsoft Hv");
    assert_eq!(Vendor(*b"\x1B[2J\xFF\0\0\0\0\0\0x").to_string(), r"\x1b[2J\xff\x00\x00\x00\x00\x00\x00x");
    assert_eq!(Vendor([0; 12]).to_string(), "");
}

#[test]
fn version_lies_in_halves_and_bytes() {
    let leaf = registers(20348, 0x000A_0000, 7, 0x0300_0005);
    let version = Version::from_cpuid(leaf);
    assert_eq!((version.major, version.minor, version.build, version.service_pack), (10, 0, 20348, 7));
    assert_eq!((version.service.branch(), version.service.number()), (3, 5));
    assert_eq!(version.into_cpuid(), leaf);
}

#[test]
fn privileges_are_eax_then_ebx() {
    let privileges = PartitionPrivileges::new;
    let bits = [
        (privileges().with_vp_runtime(true), 0),
        (privileges().with_time_ref_count(true), 1),
        (privileges().with_synic(true), 2),
        (privileges().with_synthetic_timers(true), 3),
        (privileges().with_apic_msrs(true), 4),
        (privileges().with_hypercall_msrs(true), 5),
        (privileges().with_vp_index(true), 6),
        (privileges().with_reset(true), 7),
        (privileges().with_statistics_msrs(true), 8),
        (privileges().with_reference_tsc(true), 9),
        (privileges().with_guest_idle(true), 10),
        (privileges().with_frequency_msrs(true), 11),
        (privileges().with_debug_msrs(true), 12),
        (privileges().with_reenlightenment(true), 13),
        (privileges().with_tsc_invariant_controls(true), 15),
        (privileges().with_create_partitions(true), 32),
        (privileges().with_access_partition_id(true), 33),
        (privileges().with_access_memory_pool(true), 34),
        (privileges().with_post_messages(true), 32 + 4),
        (privileges().with_signal_events(true), 32 + 5),
        (privileges().with_create_port(true), 32 + 6),
        (privileges().with_connect_port(true), 32 + 7),
        (privileges().with_access_statistics(true), 32 + 8),
        (privileges().with_debugging(true), 32 + 11),
        (privileges().with_cpu_management(true), 32 + 12),
        (privileges().with_access_vsm(true), 32 + 16),
        (privileges().with_access_vp_registers(true), 32 + 17),
        (privileges().with_extended_hypercalls(true), 32 + 20),
        (privileges().with_start_virtual_processor(true), 32 + 21),
        (privileges().with_isolation(true), 32 + 22),
    ];
    for (privilege, bit) in bits {
        let leaf = Features::default().with_privileges(privilege).into_cpuid();
        assert_eq!(u64::from(leaf.ebx) << 32 | u64::from(leaf.eax), 1_u64 << bit, "{privilege:?}");
        assert_eq!(Features::from_cpuid(leaf).privileges(), privilege);
    }
}

#[test]
fn features_beside_privileges() {
    let power = PowerFeatures::new;
    assert_eq!(power().with_invariant_mperf(true).into_bits(), 1 << 5);
    assert_eq!(power().with_supervisor_shadow_stack(true).into_bits(), 1 << 6);
    assert_eq!(power().with_architectural_pmu(true).into_bits(), 1 << 7);
    assert_eq!(power().with_exception_trap_intercept(true).into_bits(), 1 << 8);

    let features = MiscellaneousFeatures::new;
    let bits = [
        (features().with_guest_debugging(true), 1),
        (features().with_performance_monitors(true), 2),
        (features().with_cpu_dynamic_partitioning(true), 3),
        (features().with_xmm_hypercall_input(true), 4),
        (features().with_guest_idle_state(true), 5),
        (features().with_hypervisor_sleep_state(true), 6),
        (features().with_numa_distance_query(true), 7),
        (features().with_frequency_msrs(true), 8),
        (features().with_synthetic_machine_check(true), 9),
        (features().with_crash_msrs(true), 10),
        (features().with_debug_msrs(true), 11),
        (features().with_npiep(true), 12),
        (features().with_disable_hypervisor(true), 13),
        (features().with_extended_gva_ranges(true), 14),
        (features().with_xmm_hypercall_output(true), 15),
        (features().with_sint_polling(true), 17),
        (features().with_hypercall_msr_lock(true), 18),
        (features().with_direct_synthetic_timers(true), 19),
        (features().with_vsm_pat_register(true), 20),
        (features().with_vsm_bndcfgs_register(true), 21),
        (features().with_time_unhalted_timer(true), 23),
        (features().with_last_branch_record(true), 26),
    ];
    for (feature, bit) in bits {
        assert_eq!(feature.into_bits(), 1_u32 << bit, "{feature:?}");
    }

    let leaf = registers(1, 2, 3, 4);
    let decoded = Features::from_cpuid(leaf);
    assert_eq!((decoded.power.into_bits(), decoded.miscellaneous.into_bits()), (3, 4));
    assert_eq!(decoded.into_cpuid(), leaf);
}

#[test]
fn recommendations() {
    let behaviour = RecommendedBehaviour::new;
    let bits = [
        (behaviour().with_address_space_switch_hypercall(true), 0),
        (behaviour().with_local_flush_hypercall(true), 1),
        (behaviour().with_remote_flush_hypercall(true), 2),
        (behaviour().with_apic_msrs(true), 3),
        (behaviour().with_reset_msr(true), 4),
        (behaviour().with_relaxed_timing(true), 5),
        (behaviour().with_dma_remapping(true), 6),
        (behaviour().with_interrupt_remapping(true), 7),
        (behaviour().with_deprecate_auto_eoi(true), 9),
        (behaviour().with_cluster_ipi_hypercall(true), 10),
        (behaviour().with_vp_set_hypercalls(true), 11),
        (behaviour().with_hypervisor_is_nested(true), 12),
        (behaviour().with_int_for_mbec_system_calls(true), 13),
        (behaviour().with_enlightened_vmcs(true), 14),
        (behaviour().with_synced_timeline(true), 15),
        (behaviour().with_core_scheduler_requested(true), 16),
        (behaviour().with_direct_local_flush_entire(true), 17),
        (behaviour().with_no_non_architectural_core_sharing(true), 18),
        (behaviour().with_x2apic(true), 19),
    ];
    for (advice, bit) in bits {
        assert_eq!(advice.into_bits(), 1_u32 << bit, "{advice:?}");
    }

    let leaf = Recommendations::from_cpuid(registers(0xA_4E24, 0xFFF, 0x80 | 46, 0));
    assert!(leaf.behaviour.enlightened_vmcs() && leaf.behaviour.x2apic() && !leaf.behaviour.apic_msrs());
    assert_eq!((leaf.spin_retries, leaf.physical_address.bits()), (0xFFF, 46));
    assert_eq!(leaf.into_cpuid(), registers(0xA_4E24, 0xFFF, 0x80 | 46, 0));
    assert_eq!(Recommendations::NEVER_NOTIFY, 0xFFFF_FFFF);
}

#[test]
fn limits_and_hardware() {
    let limits = ImplementationLimits::from_cpuid(registers(240, 1024, 0x5B20, 0));
    assert_eq!(
        (limits.max_virtual_processors, limits.max_logical_processors, limits.max_interrupt_vectors),
        (240, 1024, 0x5B20)
    );

    let in_use = HardwareInUse::new;
    let bits = [
        (in_use().with_apic_overlay_assist(true), 0),
        (in_use().with_msr_bitmaps(true), 1),
        (in_use().with_performance_counters(true), 2),
        (in_use().with_second_level_address_translation(true), 3),
        (in_use().with_dma_remapping(true), 4),
        (in_use().with_interrupt_remapping(true), 5),
        (in_use().with_memory_patrol_scrubber(true), 6),
        (in_use().with_dma_protection(true), 7),
        (in_use().with_hpet_requested(true), 8),
        (in_use().with_synthetic_timers_volatile(true), 9),
        (in_use().with_hypervisor_level(1), 10),
        (in_use().with_hypervisor_level(8), 13),
        (in_use().with_physical_destination_mode(true), 14),
        (in_use().with_vmfunc_alias_map_switch(true), 15),
        (in_use().with_memory_zeroing(true), 16),
        (in_use().with_unrestricted_guest(true), 17),
        (in_use().with_resource_allocation(true), 18),
        (in_use().with_resource_monitoring(true), 19),
        (in_use().with_guest_pmu(true), 20),
        (in_use().with_guest_lbr(true), 21),
        (in_use().with_guest_processor_trace(true), 22),
        (in_use().with_apic_emulation(true), 23),
    ];
    for (feature, bit) in bits {
        assert_eq!(feature.into_bits(), 1_u32 << bit, "{feature:?}");
    }
}

#[test]
fn nested_root_features() {
    let privileges = NestedMsrPrivileges::new;
    assert_eq!(privileges().with_synic(true).into_bits(), 1 << 2);
    assert_eq!(privileges().with_apic_msrs(true).into_bits(), 1 << 4);
    assert_eq!(privileges().with_hypercall_msrs(true).into_bits(), 1 << 5);
    assert_eq!(privileges().with_vp_index(true).into_bits(), 1 << 6);

    let leaf = NestedHypervisorFeatures::from_cpuid(registers(0, 0, 0, 1 << 4 | 1 << 15 | 1 << 17));
    let expected = NestedHypercallFeatures::new()
        .with_xmm_hypercall_input(true)
        .with_xmm_hypercall_output(true)
        .with_sint_polling(true);
    assert_eq!(leaf.hypercalls, expected);
}

#[test]
fn reenlightenment_is_bit_13_in_leaf_3_and_bit_12_in_leaf_9() {
    assert_eq!(PartitionPrivileges::new().with_reenlightenment(true).into_bits(), 1 << 13);
    assert_eq!(NestedMsrPrivileges::new().with_reenlightenment(true).into_bits(), 1 << 12);
}

#[test]
fn nested_virtualization_features() {
    let features = NestedVirtualizationFeatures::new;
    let bits = [
        (features().with_direct_virtual_flush(true), 17),
        (features().with_guest_physical_flush(true), 18),
        (features().with_enlightened_msr_bitmap(true), 19),
        (features().with_combined_virtualization_exceptions(true), 20),
        (features().with_guest_debugctl(true), 21),
        (features().with_enlightened_npt_tlb(true), 22),
    ];
    for (feature, bit) in bits {
        assert_eq!(feature.into_bits(), 1_u32 << bit, "{feature:?}");
    }
    assert_eq!(NestedVmcsFeatures::new().with_perf_global_ctrl(true).into_bits(), 1 << 0);

    let leaf = NestedVirtualization::from_cpuid(registers(0x003E_0101, 1, 0, 0));
    assert!(leaf.features.guest_physical_flush() && !leaf.features.enlightened_npt_tlb());
    assert!(leaf.vmcs.perf_global_ctrl());
    assert_eq!(leaf.into_cpuid(), registers(0x003E_0101, 1, 0, 0));
}

#[test]
fn evmcs_versions_are_lowest_in_7_0_and_highest_in_15_8() {
    let features = NestedVirtualizationFeatures::from_bits(0x0201);
    assert_eq!((features.lowest_evmcs_version(), features.highest_evmcs_version()), (1, 2));

    let accepted = [0x0101, 0x0201, 0x0100, 0xFF00, 0xFF01];
    let refused = [0x0000, 0x0302, 0x0202, 0x0102, 0x0001, 0x00FF];
    let supports_1 = |eax: &u32| NestedVirtualizationFeatures::from_bits(*eax).supports_evmcs_version(1);
    assert!(accepted.iter().all(supports_1));
    assert!(!refused.iter().any(supports_1));
}
