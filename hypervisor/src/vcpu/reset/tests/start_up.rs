// SPDX-License-Identifier: MIT OR Apache-2.0
//! INIT and start-up IPIs in any order: who waits, and where who starts.

use super::*;
use crate::irqchip::DeliveryMode;
use crate::irqchip::Destination;
use crate::irqchip::Message;
use crate::irqchip::Trigger;
use crate::vmx::exit::ExitReason;

fn message(delivery: DeliveryMode, vector: u8) -> Message {
    Message { destination: Destination::Everyone, delivery, vector, trigger: Trigger::Edge }
}

fn take(model: &mut Model, delivery: DeliveryMode, vector: u8) -> Result<(), End> {
    model.guest().accept(message(delivery, vector))
}

fn start(model: &mut Model) -> (u16, u64, u64) {
    (model.read(field::GUEST_CS_SELECTOR), model.read(field::GUEST_CS_BASE), model.read(field::GUEST_RIP))
}

#[test]
fn a_start_up_ipi_starts_a_vcpu_that_waits_for_it_at_its_page() {
    let mut model = Model::after_reset(1);
    assert!(!model.guest().is_awake());
    assert_eq!(take(&mut model, DeliveryMode::StartUp, 0x9a), Ok(()));
    assert_eq!(start(&mut model), (0x9a00, 0x9_a000, 0));
    assert!(model.state.attention && model.guest().is_awake());
    // All else is as INIT has left it.
    let mut expected = after_reset();
    expected.extend([(0x802, 0x9a00), (0x6808, 0x9_a000), (0x681e, 0)]);
    assert_fields(&model, &expected);
}

#[test]
fn a_second_start_up_ipi_is_ignored() {
    let mut model = Model::after_reset(1);
    assert_eq!(take(&mut model, DeliveryMode::StartUp, 0x9a), Ok(()));
    model.write(field::GUEST_RIP, 0x123);
    assert_eq!(take(&mut model, DeliveryMode::StartUp, 0x10), Ok(()));
    assert_eq!(start(&mut model), (0x9a00, 0x9_a000, 0x123));
}

#[test]
fn a_start_up_ipi_to_one_that_runs_or_has_halted_is_ignored() {
    for activity in [Activity::Running, Activity::Halted] {
        let mut model = Model::long_64();
        model.state.activity = activity;
        let before = start(&mut model);
        assert_eq!(take(&mut model, DeliveryMode::StartUp, 0x10), Ok(()));
        assert_eq!((start(&mut model), model.state.activity), (before, activity));
    }
}

#[test]
fn init_to_one_that_runs_or_has_halted_resets_it_to_wait() {
    for activity in [Activity::Running, Activity::Halted] {
        let mut model = used(1);
        model.state.activity = activity;
        assert_eq!(take(&mut model, DeliveryMode::Init, 0), Ok(()));
        assert_eq!(model.state.activity, Activity::WaitForSipi);
        assert_fields(&model, &after_init(0x10));
        assert_eq!(take(&mut model, DeliveryMode::StartUp, 0x10), Ok(()));
        assert!(model.guest().is_awake());
    }
}

#[test]
fn init_to_one_that_waits_leaves_it_waiting() {
    let mut model = Model::after_reset(1);
    assert_eq!(take(&mut model, DeliveryMode::Init, 0), Ok(()));
    assert_eq!(take(&mut model, DeliveryMode::Init, 0), Ok(()));
    assert_eq!(model.state.activity, Activity::WaitForSipi);
    assert_eq!(take(&mut model, DeliveryMode::StartUp, 0x10), Ok(()));
    assert_eq!(start(&mut model), (0x1000, 0x1_0000, 0));
}

#[test]
fn one_that_waits_for_a_start_up_ipi_is_woken_by_nothing_else() {
    let mut model = Model::after_reset(1);
    for delivery in [DeliveryMode::Nmi, DeliveryMode::Fixed, DeliveryMode::Smi, DeliveryMode::ExtInt] {
        assert_eq!(take(&mut model, delivery, 0x40), Ok(()));
        assert!(!model.guest().is_awake());
    }
    // Software has yet to enable its APIC; an NMI is held until it runs.
    assert_eq!((model.state.apic.pending(), model.state.nmi), (None, true));
}

/// There is no firmware at the reset vector.
#[test]
fn init_to_the_bootstrap_processor_ends_the_machine() {
    let mut model = used(0);
    assert_eq!(take(&mut model, DeliveryMode::Init, 0), Err(End::Init));
    assert_eq!(model.state.activity, Activity::Running);
}

#[test]
fn hlt_after_start_up_waits_as_ever() {
    let mut model = Model::after_reset(1);
    assert_eq!(take(&mut model, DeliveryMode::StartUp, 0x10), Ok(()));
    model.executes(ExitReason::HLT);
    assert_eq!(model.state.activity, Activity::Halted);
    assert!(!model.guest().is_awake());
    assert_eq!(take(&mut model, DeliveryMode::Nmi, 0), Ok(()));
    assert!(model.guest().is_awake());
    assert_eq!(model.state.activity, Activity::Running);
}
