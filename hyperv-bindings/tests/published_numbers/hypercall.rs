// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercalls: codes, status codes, the two values in registers, and inputs byte by byte.

use hyperv_bindings::hypercall::*;
use proptest::prelude::*;
use zerocopy::FromZeros;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

/// The input as the quad words that the hypervisor finds in memory, or in RDX and R8 for a fast call.
fn quad_words(input: &(impl IntoBytes + Immutable)) -> Vec<u64> {
    let words = input.as_bytes().chunks_exact(8);
    assert!(words.remainder().is_empty());
    words.map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
}

#[test]
fn call_codes() {
    let pins = [
        (CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE, 0x0002),
        (CallCode::FLUSH_VIRTUAL_ADDRESS_LIST, 0x0003),
        (CallCode::NOTIFY_LONG_SPIN_WAIT, 0x0008),
        (CallCode::SEND_SYNTHETIC_CLUSTER_IPI, 0x000B),
        (CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE_EX, 0x0013),
        (CallCode::FLUSH_VIRTUAL_ADDRESS_LIST_EX, 0x0014),
        (CallCode::SEND_SYNTHETIC_CLUSTER_IPI_EX, 0x0015),
        (CallCode::FLUSH_GUEST_PHYSICAL_ADDRESS_SPACE, 0x00AF),
        (CallCode::FLUSH_GUEST_PHYSICAL_ADDRESS_LIST, 0x00B0),
    ];
    for (code, published) in pins {
        assert_eq!(code.into_bits(), published, "{code}");
    }
}

#[test]
fn status_codes() {
    let pins = [
        (Status::SUCCESS, 0x00),
        (Status::INVALID_HYPERCALL_CODE, 0x02),
        (Status::INVALID_HYPERCALL_INPUT, 0x03),
        (Status::INVALID_ALIGNMENT, 0x04),
        (Status::INVALID_PARAMETER, 0x05),
        (Status::ACCESS_DENIED, 0x06),
        (Status::INVALID_PARTITION_STATE, 0x07),
        (Status::OPERATION_DENIED, 0x08),
        (Status::INSUFFICIENT_MEMORY, 0x0B),
        (Status::INVALID_PARTITION_ID, 0x0D),
        (Status::INVALID_VP_INDEX, 0x0E),
        (Status::INVALID_PORT_ID, 0x11),
        (Status::INVALID_CONNECTION_ID, 0x12),
        (Status::INSUFFICIENT_BUFFERS, 0x13),
        (Status::INVALID_VP_STATE, 0x15),
        (Status::NOT_ALLOWED_WITH_NESTED_VIRT_ACTIVE, 0x72),
        (Status::TIMEOUT, 0x78),
        (Status::CALL_PENDING, 0x79),
    ];
    for (status, published) in pins {
        assert_eq!(status.into_bits(), published, "{status}");
    }
}

#[test]
fn status_is_printed_with_its_meaning_or_as_unknown() {
    assert_eq!(Status(2).to_string(), "invalid hypercall code (0x2)");
    assert_eq!(Status(0xBEEF).to_string(), "unknown (0xbeef)");
}

proptest! {
    #[test]
    fn any_status_and_any_call_code_survive(bits: u16) {
        prop_assert_eq!(ResultValue::from_bits(u64::from(bits)).status(), Status(bits));
        prop_assert_eq!(ResultValue::new().with_status(Status(bits)).into_bits(), u64::from(bits));
        prop_assert_eq!(InputValue::from_bits(u64::from(bits)).code(), CallCode(bits));
        prop_assert_eq!(InputValue::new().with_code(CallCode(bits)).into_bits(), u64::from(bits));
    }

    #[test]
    fn any_input_value_survives(bits: u64) {
        prop_assert_eq!(InputValue::from_bits(bits).into_bits(), bits);
    }
}

#[test]
fn input_value() {
    let input = InputValue::new;
    assert_eq!(input().with_code(CallCode(0xFFFF)).into_bits(), 0xFFFF);
    assert_eq!(input().with_fast(true).into_bits(), 1 << 16);
    assert_eq!(input().with_variable_header_size(0x3FF).into_bits(), 0x3FF << 17);
    assert_eq!(input().with_nested(true).into_bits(), 1 << 31);
    assert_eq!(input().with_rep_count(0xFFF).into_bits(), 0xFFF << 32);
    assert_eq!(input().with_rep_start(0xFFF).into_bits(), 0xFFF << 48);
    assert_eq!(InputValue::RESERVED, 0xF << 27 | 0xF << 44 | 0xF << 60);
}

#[test]
fn result_value_ignores_bits_31_16_and_63_44() {
    let result = ResultValue::from_bits(0xFFFF_F1FE_FFFF_0003);
    assert_eq!((result.status(), result.reps_completed()), (Status::INVALID_HYPERCALL_INPUT, 0x1FE));
    assert_eq!(ResultValue::new().with_reps_completed(0xFFF).into_bits(), 0xFFF << 32);
}

#[test]
fn flush_flags() {
    assert_eq!(FlushFlags::new().with_all_processors(true).into_bits(), 1 << 0);
    assert_eq!(FlushFlags::new().with_all_virtual_address_spaces(true).into_bits(), 1 << 1);
    assert_eq!(FlushFlags::new().with_non_global_mappings_only(true).into_bits(), 1 << 2);
    assert_eq!(FlushFlags::new().with_extended_range_format(true).into_bits(), 1 << 3);
}

#[test]
fn flush_virtual_address_inputs() {
    let flags = FlushFlags::from_bits(5);
    let input = FlushVirtualAddress { address_space: 1, flags, processor_mask: 9 };
    assert_eq!(quad_words(&input), [1, 5, 9]);

    let processor_set = VpSetHeader { format: VpSetFormat::ALL, valid_banks_mask: 7 };
    let input = FlushVirtualAddressEx { address_space: 3, flags, processor_set };
    assert_eq!(quad_words(&input), [3, 5, 1, 7]);
}

#[test]
fn vp_set_formats() {
    assert_eq!([VpSetFormat::SPARSE, VpSetFormat::ALL].map(VpSetFormat::into_bits), [0, 1]);
    assert_eq!((VPS_PER_BANK, MAX_BANKS), (64, 64));
}

#[test]
fn cluster_ipi_inputs() {
    let target_vtl = InputVtl::new().with_target_vtl(0xF).with_use_target_vtl(true);
    assert_eq!(InputVtl::new().with_target_vtl(0xF).into_bits(), 0xF);
    assert_eq!(InputVtl::new().with_use_target_vtl(true).into_bits(), 1 << 4);

    let input = SendSyntheticClusterIpi { vector: 0xEC, target_vtl, padding: [0; 3], processor_mask: 6 };
    assert_eq!(quad_words(&input), [0x0000_001F_0000_00EC, 6]);

    let processor_set = VpSetHeader { format: VpSetFormat::SPARSE, valid_banks_mask: 5 };
    let input = SendSyntheticClusterIpiEx { vector: 0xEC, target_vtl, padding: [0; 3], processor_set };
    assert_eq!(quad_words(&input), [0x0000_001F_0000_00EC, 0, 5]);
    assert_eq!(CLUSTER_IPI_VECTORS, 0x10..=0xFF);
}

#[test]
fn flush_guest_physical_address_inputs() {
    let space = FlushGuestPhysicalAddress { address_space: 0x1000, flags: 0 };
    assert_eq!(quad_words(&space), [0x1000, 0]);

    let mut list = FlushGuestPhysicalAddressList::new_zeroed();
    list.space = space;
    list.ranges[0] = PageRange::new(PageSpan { first_page: 0x123, pages: 1 }).unwrap();
    list.ranges[509] = PageRange::new(PageSpan { first_page: 0x456, pages: 2048 }).unwrap();
    let words = quad_words(&list);
    assert_eq!(words.len(), 512);
    assert_eq!((words[0], words[1], words[2], words[511]), (0x1000, 0, 0x12_3000, 0x45_67FF));
}

#[test]
fn limits() {
    assert_eq!(MAX_GUEST_PHYSICAL_RANGES, 510);
    assert_eq!(MAX_PAGES_PER_RANGE, 2048);
    assert_eq!(MAX_VIRTUAL_RANGES, 509);
    assert_eq!(MAX_BANKS_AND_VIRTUAL_RANGES, 508);
}
