// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exceptions that exit are raised again. What touches DR6 runs in the guest programs only: that takes privilege 0.

mod again;

use super::*;
use crate::irqchip::DeliveryMode;
use crate::irqchip::Destination;
use crate::irqchip::Message;
use crate::irqchip::Trigger;
use crate::vcpu::model::Model;

fn alignment_check() -> EventInformation {
    let kind = event::HARDWARE_EXCEPTION;
    EventInformation::new()
        .with_vector(ALIGNMENT_CHECK)
        .with_kind(kind)
        .with_error_code(true)
        .with_valid(true)
}

/// A model that has exited with an alignment check.
fn exited() -> Model {
    let mut model = Model::long_64();
    model.tell(field::VM_EXIT_INTERRUPTION_INFORMATION, alignment_check().into_bits());
    model.tell(field::VM_EXIT_INTERRUPTION_ERROR_CODE, 0);
    model
}

fn take_interrupt(model: &mut Model, vector: u8) {
    let _ = model.state.apic.mmio_write(0xf0, 0x1ff, 0);
    let message = Message {
        destination: Destination::Everyone,
        delivery: DeliveryMode::Fixed,
        vector,
        trigger: Trigger::Edge,
    };
    model.guest().accept(message).expect("an interrupt ends nothing");
    model.state.apic.acknowledge(vector);
}

#[test]
fn events_are_told_apart_by_whose_they_are() {
    let mut model = exited();
    assert_eq!(whose(&model.guest()), Whose::Guest(alignment_check()));
    let nmi = EventInformation::new().with_vector(2).with_kind(event::NMI).with_valid(true);
    model.tell(field::VM_EXIT_INTERRUPTION_INFORMATION, nmi.into_bits());
    assert_eq!(whose(&model.guest()), Whose::Nmi);
    let machine_check = alignment_check().with_vector(MACHINE_CHECK);
    model.tell(field::VM_EXIT_INTERRUPTION_INFORMATION, machine_check.into_bits());
    assert_eq!(whose(&model.guest()), Whose::MachineCheck);
}

#[test]
fn an_alignment_check_is_raised_again_with_its_error_code() {
    let mut model = exited();
    reflect(&mut model.guest(), alignment_check());
    model.guest().deliver_events();
    assert_eq!(model.read(field::VM_ENTRY_INTERRUPTION_INFORMATION), 0x8000_0b11);
    assert_eq!(model.read(field::VM_ENTRY_EXCEPTION_ERROR_CODE), 0);
}

#[test]
fn an_interrupt_whose_delivery_was_cut_short_comes_again() {
    let mut model = exited();
    take_interrupt(&mut model, 0x51);
    assert_eq!(model.state.apic.pending(), None);
    let cut_short = EventInformation::new().with_vector(0x51).with_valid(true);
    model.tell(field::IDT_VECTORING_INFORMATION, cut_short.into_bits());
    reflect(&mut model.guest(), alignment_check());
    assert_eq!(model.state.apic.pending(), Some(0x51));
}

#[test]
fn an_nmi_whose_delivery_was_cut_short_waits_and_no_longer_blocks() {
    let mut model = exited();
    model.write(field::GUEST_INTERRUPTIBILITY_STATE, BLOCKED_BY_NMI);
    let cut_short = EventInformation::new().with_vector(2).with_kind(event::NMI).with_valid(true);
    model.tell(field::IDT_VECTORING_INFORMATION, cut_short.into_bits());
    reflect(&mut model.guest(), alignment_check());
    assert!(model.state.nmi);
    assert_eq!(model.read(field::GUEST_INTERRUPTIBILITY_STATE), 0);
}

/// SDM vol. 3, "Information for VM Exits Due to Vectored Events".
#[test]
fn an_iret_that_faults_leaves_nmis_blocked() {
    let mut model = exited();
    reflect(&mut model.guest(), alignment_check().with_nmi_unblocking(true));
    assert_eq!(model.read(field::GUEST_INTERRUPTIBILITY_STATE), BLOCKED_BY_NMI);
}
