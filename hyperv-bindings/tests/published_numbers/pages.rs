// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shared pages: each field is written through its type and found at its published offset, in bytes.

use hyperv_bindings::PAGE_SIZE;
use hyperv_bindings::assist_page::*;
use hyperv_bindings::reference_tsc::ReferenceTscPage;
use hyperv_bindings::reference_tsc::TscSequence;
use hyperv_bindings::stimer::TimerExpired;
use hyperv_bindings::synic::*;
use zerocopy::FromZeros;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

/// What is other than zero in a page, as (offset, byte).
fn written(page: &(impl IntoBytes + Immutable)) -> Vec<(usize, u8)> {
    assert_eq!(page.as_bytes().len(), 4096);
    page.as_bytes().iter().copied().enumerate().filter(|(_, byte)| *byte != 0).collect()
}

#[test]
fn page_size() {
    assert_eq!(PAGE_SIZE, 4096);
}

#[test]
fn vp_assist_page() {
    let mut page = VpAssistPage::new_zeroed();
    page.apic_assist.set_no_eoi_required(true);
    page.vtl_control.entry_reason = VtlEntryReason::INTERCEPT;
    page.vtl_control.vina_status = 1;
    page.vtl_control.return_rax = 4;
    page.vtl_control.return_rcx = 5;
    page.nested_enlightenments_control.features = NestedFeatures::from_bits(3);
    page.nested_enlightenments_control.hypercall_controls = NestedHypercallControls::from_bits(1);
    page.enlighten_vm_entry = 1;
    page.current_nested_vmcs = 0x7700;
    page.synthetic_time_unhalted_timer_expired = 1;
    page.virtualization_fault_information.parameter_0 = 6;
    page.virtualization_fault_information.code = 7;
    page.virtualization_fault_information.parameter_1 = 8;
    let published = [
        (0x00, 1),
        (0x08, 3),
        (0x0C, 1),
        (0x10, 4),
        (0x18, 5),
        (0x20, 3),
        (0x24, 1),
        (0x28, 1),
        (0x31, 0x77),
        (0x38, 1),
        (0x40, 6),
        (0x44, 7),
        (0x48, 8),
    ];
    assert_eq!(written(&page), published);
}

#[test]
fn nested_enlightenments_control() {
    assert_eq!(ApicAssist::new().with_no_eoi_required(true).into_bits(), 1 << 0);
    assert_eq!(NestedFeatures::new().with_direct_hypercall(true).into_bits(), 1 << 0);
    assert_eq!(NestedFeatures::new().with_virtualization_exception(true).into_bits(), 1 << 1);
    assert_eq!(NestedHypercallControls::new().with_inter_partition_communication(true).into_bits(), 1 << 0);
    let reasons = [VtlEntryReason::VTL_CALL, VtlEntryReason::INTERRUPT, VtlEntryReason::INTERCEPT];
    assert_eq!(reasons.map(VtlEntryReason::into_bits), [1, 2, 3]);
}

#[test]
fn partition_assist_page() {
    let mut page = PartitionAssistPage::new_zeroed();
    page.tlb_lock_count = 0x0A00_0009;
    assert_eq!(written(&page), [(0, 9), (3, 0x0A)]);
    assert_eq!(TRAP_AFTER_FLUSH, 0x1000_0031);
}

#[test]
fn reference_tsc_page() {
    let mut page = ReferenceTscPage::new_zeroed();
    page.sequence = TscSequence(1);
    page.scale = 2;
    page.offset = i64::MIN;
    assert_eq!(written(&page), [(0, 1), (8, 2), (23, 0x80)]);
    assert_eq!(TscSequence::INVALID.into_bits(), 0);
}

#[test]
fn message_page() {
    let mut page = MessagePage::new_zeroed();
    let message = &mut page.slots[15];
    message.message_type = MessageType::TIMER_EXPIRED;
    message.payload_size = 24;
    message.flags.set_message_pending(true);
    message.origin = 7;
    message.payload_buffer[0] = 8;
    message.payload_buffer[239] = 9;
    let slot = 15 * 256;
    let published = [(0, 0x10), (3, 0x80), (4, 24), (5, 1), (8, 7), (16, 8), (255, 9)]
        .map(|(offset, byte)| (slot + offset, byte));
    assert_eq!(written(&page), published);
    assert_eq!((INTERRUPT_SOURCES, MAX_PAYLOAD, EVENT_FLAGS), (16, 240, 2048));
}

#[test]
fn message_types() {
    let pins = [
        (MessageType::NONE, 0),
        (MessageType::UNMAPPED_GPA, 0x8000_0000),
        (MessageType::GPA_INTERCEPT, 0x8000_0001),
        (MessageType::TIMER_EXPIRED, 0x8000_0010),
        (MessageType::INVALID_VP_REGISTER_VALUE, 0x8000_0020),
        (MessageType::UNRECOVERABLE_EXCEPTION, 0x8000_0021),
        (MessageType::UNSUPPORTED_FEATURE, 0x8000_0022),
    ];
    for (message_type, published) in pins {
        assert_eq!(message_type.into_bits(), published, "{message_type}");
    }
}

#[test]
fn event_flags_page() {
    let mut page = EventFlagsPage::new_zeroed();
    page.slots[2].0[3] = 0x10;
    assert_eq!(written(&page), [(2 * 256 + 3, 0x10)]);
    assert!(page.slots[2].is_set(28));
}

#[test]
fn timer_message_payload() {
    let payload = TimerExpired { timer_index: 1, reserved: 0, expiration_time: 2, delivery_time: 3 };
    let bytes = payload.as_bytes();
    assert_eq!((bytes.len(), bytes[0], bytes[8], bytes[16]), (24, 1, 2, 3));
}
