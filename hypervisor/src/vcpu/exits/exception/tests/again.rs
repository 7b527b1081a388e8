// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events whose delivery an exit cut short that is not the guest's affair, kind by kind (SDM vol. 3, "Information for VM Exits
//! That Occur During Event Delivery").

use super::*;
use crate::architecture::rflags;

const SOFTWARE_INTERRUPT: u8 = 4;
const PRIVILEGED_SOFTWARE_EXCEPTION: u8 = 5;
const SOFTWARE_EXCEPTION: u8 = 6;

const INTERRUPTS_ON: u64 = rflags::FIXED | 1 << 9;

/// What the VMCS says in places that a test does not fill, so that it is seen where it is taken.
const RUBBISH: u32 = 0x5a5a;

fn event_of(kind: u8, vector: u8) -> EventInformation {
    EventInformation::new().with_kind(kind).with_vector(vector).with_valid(true)
}

/// A guest that takes interrupts, at an instruction of three bytes. The delivery of `event` was cut short.
fn cut_short(event: EventInformation, error_code: u32) -> Model {
    let mut model = Model::long_64();
    model.write(field::GUEST_RFLAGS, INTERRUPTS_ON);
    model.write(field::VM_ENTRY_EXCEPTION_ERROR_CODE, RUBBISH);
    model.write(field::VM_ENTRY_INSTRUCTION_LENGTH, RUBBISH);
    model.tell(field::IDT_VECTORING_INFORMATION, event.into_bits());
    model.tell(field::IDT_VECTORING_ERROR_CODE, error_code);
    model.tell(field::VM_EXIT_INSTRUCTION_LENGTH, 3);
    model
}

/// What the next entry injects.
fn injected(model: &mut Model) -> EventInformation {
    model.guest().deliver_events();
    model.read(field::VM_ENTRY_INTERRUPTION_INFORMATION).into()
}

/// The event is injected as it was; RIP stays, so that the instruction it belongs to is not skipped.
#[track_caller]
fn comes_again(model: &mut Model, event: EventInformation) {
    let rip = model.read(field::GUEST_RIP);
    model.state.attention = false;
    deliver_again(&mut model.guest(), false);
    assert!(model.state.attention);
    assert_eq!(injected(model), event);
    assert_eq!(model.read(field::GUEST_RIP), rip);
    assert_eq!((model.state.exception, model.state.nmi), (None, false));
}

fn is_resumed(model: &mut Model) -> bool {
    model.read(field::GUEST_RFLAGS) & rflags::RF != 0
}

#[test]
fn without_an_event_nothing_is_delivered_again() {
    let event = event_of(event::HARDWARE_EXCEPTION, 14).with_valid(false);
    let mut model = cut_short(event, 7);
    let _ = model.guest().vmcs.note_exit();
    deliver_again(&mut model.guest(), false);
    assert!(!model.state.attention && model.state.exception.is_none() && !model.state.nmi);
    assert_eq!(model.clean_fields(), 0xffff, "no field was written");
}

#[test]
fn an_external_interrupt_goes_back_to_the_local_apic_and_comes_again() {
    let event = event_of(event::EXTERNAL_INTERRUPT, 0x51);
    let mut model = cut_short(event, 0);
    take_interrupt(&mut model, 0x51);
    comes_again(&mut model, event);
    assert_eq!(model.state.apic.pending(), None, "it is in service again");
    assert!(!is_resumed(&mut model));
}

/// It was in service, so it was the first; what came meanwhile may be before it.
#[test]
fn a_higher_interrupt_that_came_meanwhile_comes_first() {
    let event = event_of(event::EXTERNAL_INTERRUPT, 0x51);
    let mut model = cut_short(event, 0);
    take_interrupt(&mut model, 0x51);
    let higher = Message {
        destination: Destination::Everyone,
        delivery: DeliveryMode::Fixed,
        vector: 0x81,
        trigger: Trigger::Edge,
    };
    model.guest().accept(higher).expect("an interrupt ends nothing");
    deliver_again(&mut model.guest(), false);
    assert_eq!(injected(&mut model), event_of(event::EXTERNAL_INTERRUPT, 0x81));
    let _ = model.state.apic.mmio_write(0xb0, 0, 0);
    assert_eq!(injected(&mut model), event);
}

#[test]
fn an_interrupt_that_is_not_in_service_is_not_made_up() {
    let mut model = cut_short(event_of(event::EXTERNAL_INTERRUPT, 0x51), 0);
    let _ = model.state.apic.mmio_write(0xf0, 0x1ff, 0);
    deliver_again(&mut model.guest(), false);
    assert!(!injected(&mut model).valid());
}

#[test]
fn an_nmi_comes_again_and_is_no_longer_blocked_meanwhile() {
    let event = event_of(event::NMI, 2);
    let mut model = cut_short(event, 0);
    model.write(field::GUEST_INTERRUPTIBILITY_STATE, BLOCKED_BY_NMI);
    comes_again(&mut model, event);
    assert_eq!(model.read(field::GUEST_INTERRUPTIBILITY_STATE), 0, "entry blocks them with the injection");
    assert!(!is_resumed(&mut model));
}

#[test]
fn a_fault_comes_again_with_its_error_code_and_rf() {
    for (vector, error_code) in [(10, 0x48), (11, 0), (13, 0x123), (14, 7), (17, 0)] {
        let event = event_of(event::HARDWARE_EXCEPTION, vector).with_error_code(true);
        let mut model = cut_short(event, error_code);
        comes_again(&mut model, event);
        assert_eq!(model.read(field::VM_ENTRY_EXCEPTION_ERROR_CODE), error_code);
        assert!(is_resumed(&mut model));
    }
}

/// CR2 was written before the delivery began, and no exit changes it.
#[test]
fn a_page_fault_that_comes_again_finds_cr2_as_it_was() {
    let event = event_of(event::HARDWARE_EXCEPTION, 14).with_error_code(true);
    let mut model = cut_short(event, 7);
    let before = format!("{:?}", model.state.processor);
    comes_again(&mut model, event);
    assert_eq!(format!("{:?}", model.state.processor), before);
}

#[test]
fn a_fault_without_an_error_code_comes_again_without_one() {
    for vector in [0, 5, 6, 7, 16, 19] {
        let event = event_of(event::HARDWARE_EXCEPTION, vector);
        let mut model = cut_short(event, 7);
        comes_again(&mut model, event);
        assert_eq!(model.read(field::VM_ENTRY_EXCEPTION_ERROR_CODE), RUBBISH);
        assert!(is_resumed(&mut model));
    }
}

/// SDM vol. 3, "VM-Entry Interruption-Information Field": in real mode, none is delivered.
#[test]
fn in_real_mode_no_error_code_is_delivered() {
    let event = event_of(event::HARDWARE_EXCEPTION, 13).with_error_code(true);
    let mut model = cut_short(event, 7);
    model.write(field::GUEST_CR0, 0x30);
    comes_again(&mut model, event.with_error_code(false));
}

/// Some are traps: RF of a breakpoint on the next instruction would have it pass.
#[test]
fn a_debug_exception_comes_again_without_rf() {
    let event = event_of(event::HARDWARE_EXCEPTION, DEBUG);
    let mut model = cut_short(event, 0);
    comes_again(&mut model, event);
    assert!(!is_resumed(&mut model));
}

/// INT n, INT1, INT3 and INTO: what is pushed is the address behind them, which entry computes from the length.
#[test]
fn what_an_instruction_raised_comes_again_with_the_instructions_length_and_without_rf() {
    for (kind, vector) in [
        (SOFTWARE_INTERRUPT, 0x80),
        (SOFTWARE_INTERRUPT, 14),
        (PRIVILEGED_SOFTWARE_EXCEPTION, 1),
        (SOFTWARE_EXCEPTION, 3),
        (SOFTWARE_EXCEPTION, 4),
    ] {
        let event = event_of(kind, vector);
        let mut model = cut_short(event, 7);
        comes_again(&mut model, event);
        assert_eq!(model.read(field::VM_ENTRY_INSTRUCTION_LENGTH), 3);
        assert_eq!(model.read(field::VM_ENTRY_EXCEPTION_ERROR_CODE), RUBBISH);
        assert!(!is_resumed(&mut model), "{kind} {vector}");
    }
}

/// Bit 12 means something else on the way in, where it has to be zero, as have bits 30:13.
#[test]
fn bits_that_entry_does_not_take_are_left_out() {
    let event = event_of(event::HARDWARE_EXCEPTION, 6);
    let mut model = cut_short((event.into_bits() | 0x7fff_f000).into(), 0);
    comes_again(&mut model, event);
}

#[test]
fn an_nmi_that_came_meanwhile_waits_until_the_exception_is_delivered() {
    let event = event_of(event::HARDWARE_EXCEPTION, 6);
    let mut model = cut_short(event, 0);
    model.state.nmi = true;
    deliver_again(&mut model.guest(), false);
    assert_eq!(injected(&mut model), event);
    assert!(model.state.nmi);
}

/// SDM vol. 3, "Exit Qualification for EPT Violations": bit 12 means nothing if an event was cut short.
#[test]
fn an_iret_that_was_cut_short_blocks_nmis_again_unless_it_was_an_event() {
    let mut model = cut_short(EventInformation::new(), 0);
    deliver_again(&mut model.guest(), true);
    assert_eq!(model.read(field::GUEST_INTERRUPTIBILITY_STATE), BLOCKED_BY_NMI);
    assert!(!injected(&mut model).valid());
    let mut model = cut_short(event_of(event::HARDWARE_EXCEPTION, 6), 0);
    deliver_again(&mut model.guest(), true);
    assert_eq!(model.read(field::GUEST_INTERRUPTIBILITY_STATE), 0);
}
