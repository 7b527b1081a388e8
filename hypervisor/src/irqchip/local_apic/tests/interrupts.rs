// SPDX-License-Identifier: MIT OR Apache-2.0
//! Acceptance, priority, service and EOI.

use super::*;
use crate::irqchip::local_apic::Delivery;
use crate::irqchip::local_apic::LocalSource;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

#[test]
fn accepted_interrupt_goes_to_irr_and_when_taken_to_isr() {
    // "Interrupt Acceptance for Fixed Interrupts".
    let mut apic = xapic(0);
    assert_eq!(apic.accept(fixed(0x41, Trigger::Edge)), Delivery::Interrupt);
    assert!(shows(&mut apic, IRR, 0x41) && !shows(&mut apic, ISR, 0x41));
    assert_eq!(apic.pending(), Some(0x41));
    apic.acknowledge(0x41);
    assert!(!shows(&mut apic, IRR, 0x41) && shows(&mut apic, ISR, 0x41));
    assert_eq!(apic.pending(), None);
}

#[test]
fn second_request_is_kept_while_the_first_is_in_service() {
    // "Interrupt Acceptance for Fixed Interrupts": one in the IRR and one in the ISR.
    let mut apic = xapic(0);
    let _ = apic.accept(fixed(0x41, Trigger::Edge));
    apic.acknowledge(0x41);
    let _ = apic.accept(fixed(0x41, Trigger::Edge));
    assert_eq!(apic.pending(), None);
    let _ = apic.mmio_write(EOI, 0, 0);
    assert_eq!(apic.pending(), Some(0x41));
}

#[test]
fn only_a_higher_class_interrupts_a_handler() {
    // "Task and Processor Priorities".
    let mut apic = xapic(0);
    let _ = apic.accept(fixed(0x41, Trigger::Edge));
    apic.acknowledge(0x41);
    assert_eq!(apic.mmio_read(PPR, 0), 0x40);
    let _ = apic.accept(fixed(0x4F, Trigger::Edge));
    assert_eq!(apic.pending(), None);
    let _ = apic.accept(fixed(0x50, Trigger::Edge));
    assert_eq!(apic.pending(), Some(0x50));
}

#[test]
fn task_priority_holds_back_its_class_and_those_below() {
    // "Task and Processor Priorities".
    let mut apic = xapic(0);
    let _ = apic.accept(fixed(0x5F, Trigger::Edge));
    let _ = apic.mmio_write(TPR, 0x50, 0);
    assert_eq!(apic.pending(), None);
    let _ = apic.mmio_write(TPR, 0x4F, 0);
    assert_eq!(apic.mmio_read(PPR, 0), 0x4F);
    assert_eq!(apic.pending(), Some(0x5F));
}

#[test]
fn cr8_is_the_class_of_the_task_priority() {
    // "Interaction of Task Priorities between CR8 and APIC".
    let mut apic = xapic(0);
    assert_eq!(apic.set_cr8(0xA), Ok(()));
    assert_eq!(apic.mmio_read(TPR, 0), 0xA0);
    let _ = apic.mmio_write(TPR, 0x37, 0);
    assert_eq!(apic.cr8(), 3);
    assert!(apic.set_cr8(0x10).is_err());
    assert!(apic.set_cr8(1 << 63).is_err());
    assert_eq!(apic.cr8(), 3);
}

#[test]
fn eoi_of_a_level_triggered_interrupt_is_broadcast() {
    // "Signaling Interrupt Servicing Completion".
    let mut apic = xapic(0);
    for (trigger, effect) in
        [(Trigger::Level, Effect::EndOfInterrupt { vector: 0x60 }), (Trigger::Edge, Effect::None)]
    {
        let _ = apic.accept(fixed(0x60, trigger));
        assert_eq!(shows(&mut apic, TMR, 0x60), trigger == Trigger::Level);
        apic.acknowledge(0x60);
        assert_eq!(apic.mmio_write(EOI, 0, 0), effect);
    }
}

#[test]
fn eoi_broadcast_can_be_suppressed() {
    // "Spurious-Interrupt Vector Register", bit 12, which bit 24 of the version register announces.
    let mut apic = xapic(0);
    assert_ne!(apic.mmio_read(VERSION, 0) & 1 << 24, 0);
    let _ = apic.mmio_write(SVR, 0x11FF, 0);
    let _ = apic.accept(fixed(0x60, Trigger::Level));
    apic.acknowledge(0x60);
    assert_eq!(apic.mmio_write(EOI, 0, 0), Effect::None);
    assert!(!shows(&mut apic, ISR, 0x60));
}

#[test]
fn eoi_with_nothing_in_service_does_nothing() {
    let mut apic = xapic(0);
    let _ = apic.accept(fixed(0x60, Trigger::Level));
    assert_eq!(apic.mmio_write(EOI, 0, 0), Effect::None);
    assert_eq!(apic.pending(), Some(0x60));
}

#[test]
fn illegal_vector_is_noted_and_not_delivered() {
    // "Valid Interrupt Vectors"; "Error Handling".
    let mut apic = xapic(0);
    let _ = apic.mmio_write(LVT_ERROR, 0xFE, 0);
    assert_eq!(apic.accept(fixed(15, Trigger::Edge)), Delivery::Ignored);
    assert_eq!(apic.pending(), Some(0xFE));
    assert_eq!(apic.mmio_read(ESR, 0), 0);
    assert_eq!(errors(&mut apic), 1 << 6);
    assert_eq!(errors(&mut apic), 0);
}

#[test]
fn error_interrupt_fires_once_until_the_error_status_is_written() {
    // "Error Handling": the write rearms it.
    let mut apic = xapic(0);
    let _ = apic.mmio_write(LVT_ERROR, 0xFE, 0);
    let _ = apic.accept(fixed(1, Trigger::Edge));
    apic.acknowledge(0xFE);
    let _ = apic.mmio_write(EOI, 0, 0);
    let _ = apic.accept(fixed(2, Trigger::Edge));
    assert_eq!(apic.pending(), None);
    let _ = apic.mmio_write(ESR, 0, 0);
    let _ = apic.accept(fixed(3, Trigger::Edge));
    assert_eq!(apic.pending(), Some(0xFE));
}

#[test]
fn error_vector_that_is_itself_illegal_ends_in_the_error_status() {
    let mut apic = xapic(0);
    let _ = apic.mmio_write(LVT_ERROR, 3, 0);
    let _ = apic.mmio_write(ICR_LOW, 1 << 18 | 5, 0);
    assert_eq!(apic.pending(), None);
    assert_eq!(errors(&mut apic), 1 << 6 | 1 << 5);
}

#[test]
fn register_that_does_not_exist_is_noted() {
    // "Error Handling", "Illegal Register Address".
    let mut apic = xapic(0);
    for access in [0x00, 0x40, 0x2F0, 0x3F0, 0x400, 0xFF0, 0x84] {
        assert_eq!(apic.mmio_read(access, 0), 0);
        assert_eq!(errors(&mut apic), 1 << 7, "read at {access:#x}");
        assert_eq!(apic.mmio_write(access, 0, 0), Effect::None);
        assert_eq!(errors(&mut apic), 1 << 7, "write at {access:#x}");
    }
    for access in [0x90, 0xC0, EOI, ID, PPR, IRR + 0x70] {
        assert!(apic.mmio_read(access, 0) <= 0xFF);
        assert_eq!(errors(&mut apic), 0, "read at {access:#x}");
    }
}

#[test]
fn pins_deliver_as_their_local_vectors_say() {
    // "Local Vector Table".
    let mut apic = xapic(0);
    assert_eq!(apic.signal(LocalSource::Lint0), Delivery::Ignored);
    let _ = apic.mmio_write(LVT_LINT0, 7 << 8, 0);
    let _ = apic.mmio_write(LVT_LINT1, 4 << 8, 0);
    assert_eq!(apic.signal(LocalSource::Lint0), Delivery::ExtInt);
    assert_eq!(apic.signal(LocalSource::Lint1), Delivery::Nmi);
    let _ = apic.mmio_write(LVT_LINT0, 0x77, 0);
    assert_eq!(apic.signal(LocalSource::Lint0), Delivery::Interrupt);
    assert_eq!(apic.pending(), Some(0x77));
}

#[test]
fn performance_counter_entry_masks_itself() {
    // "Local Vector Table", on the performance counters' entry.
    let mut apic = xapic(0);
    let _ = apic.mmio_write(LVT_PERFORMANCE, 4 << 8, 0);
    assert_eq!(apic.signal(LocalSource::Performance), Delivery::Nmi);
    assert_eq!(apic.mmio_read(LVT_PERFORMANCE, 0), MASKED | 4 << 8);
    assert_eq!(apic.signal(LocalSource::Performance), Delivery::Ignored);
}

#[test]
fn messages_without_a_vector_go_to_the_cpu() {
    // "Local APIC State After It Has Been Software Disabled": NMI, INIT, SMI and start-up are taken all the
    // same.
    let mut apic = at_reset(0);
    let mut to_cpu = |delivery| apic.accept(Message { delivery, ..fixed(0x9A, Trigger::Edge) });
    assert_eq!(to_cpu(DeliveryMode::Nmi), Delivery::Nmi);
    assert_eq!(to_cpu(DeliveryMode::Smi), Delivery::Smi);
    assert_eq!(to_cpu(DeliveryMode::Init), Delivery::Init);
    assert_eq!(to_cpu(DeliveryMode::StartUp), Delivery::StartUp { page: 0x9A });
    assert_eq!(to_cpu(DeliveryMode::ExtInt), Delivery::ExtInt);
    assert_eq!(to_cpu(DeliveryMode::Fixed), Delivery::Ignored);
    assert_eq!(to_cpu(DeliveryMode::LowestPriority), Delivery::Ignored);
}

/// The same, told without bits: what is requested and how, what is in service.
#[derive(Default)]
struct Model {
    requested: BTreeSet<u8>,
    in_service: BTreeSet<u8>,
    by_level: BTreeMap<u8, bool>,
    task_priority: u8,
}

impl Model {
    fn pending(&self) -> Option<u8> {
        let class = |vector: &u8| vector / 16;
        let busy = self.in_service.iter().map(class).max().unwrap_or(0).max(self.task_priority / 16);
        self.requested.iter().copied().filter(|vector| class(vector) > busy).max()
    }

    fn end_of_interrupt(&mut self) -> Effect {
        match self.in_service.pop_last() {
            Some(vector) if self.by_level[&vector] => Effect::EndOfInterrupt { vector },
            _ => Effect::None,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Request(u8, bool),
    Take,
    EndOfInterrupt,
    SetTaskPriority(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (16_u8.., any::<bool>()).prop_map(|(vector, level)| Step::Request(vector, level)),
        4 => Just(Step::Take),
        3 => Just(Step::EndOfInterrupt),
        1 => any::<u8>().prop_map(Step::SetTaskPriority),
        1 => Just(Step::SetTaskPriority(0)),
    ]
}

proptest! {
    #[test]
    fn interrupts_are_taken_in_the_order_of_a_naive_model(steps in prop::collection::vec(step(), 0..300)) {
        let mut apic = xapic(0);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Request(vector, level) => {
                    let trigger = if level { Trigger::Level } else { Trigger::Edge };
                    prop_assert_eq!(apic.accept(fixed(vector, trigger)), Delivery::Interrupt);
                    model.requested.insert(vector);
                    model.by_level.insert(vector, level);
                }
                Step::Take => {
                    if let Some(vector) = apic.pending() {
                        apic.acknowledge(vector);
                        model.requested.remove(&vector);
                        model.in_service.insert(vector);
                    }
                }
                Step::EndOfInterrupt => {
                    prop_assert_eq!(apic.mmio_write(EOI, 0, 0), model.end_of_interrupt());
                }
                Step::SetTaskPriority(priority) => {
                    let _ = apic.mmio_write(TPR, u32::from(priority), 0);
                    model.task_priority = priority;
                }
            }
            prop_assert_eq!(apic.pending(), model.pending());
        }
    }
}

#[test]
fn firmware_leaves_the_bootstrap_processor_in_virtual_wire_mode() {
    // MultiProcessor Specification 1.4, "Virtual Wire Mode".
    let mut apic = at_reset(0);
    assert!(!apic.passes_external_interrupts());
    apic.enter_virtual_wire_mode();
    assert_eq!(
        [SVR, LVT_LINT0, LVT_LINT1].map(|register| apic.mmio_read(register, 0)),
        [0x1FF, 0x700, 0x400]
    );
    assert!(apic.passes_external_interrupts());
    assert_eq!(apic.signal(LocalSource::Lint1), Delivery::Nmi);
    // Who disables it by software masks the pin.
    let _ = apic.mmio_write(SVR, 0xFF, 0);
    assert!(!apic.passes_external_interrupts());
}
