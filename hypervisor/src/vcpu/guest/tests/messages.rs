// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes from one vCPU to another, and to itself: by way of mailboxes, to whom a local APIC listens now.

use super::*;
use crate::irqchip::DeliveryMode;
use crate::irqchip::Destination;
use crate::irqchip::Message;
use crate::irqchip::Trigger;
use crate::vm::model::cpu;
use crate::vmx::exit::ExitReason;

// Offsets in the page of the local APIC.
const TASK_PRIORITY: u64 = 0x80;
const END_OF_INTERRUPT: u64 = 0xb0;
const LOGICAL_DESTINATION: u64 = 0xd0;

/// In the I/O APIC: the UART's pin, and where its redirection entry is.
const PIN: u32 = 4;
const REDIRECTION: u32 = 0x10 + 2 * PIN;
const LEVEL: u32 = 1 << 15;

const VECTOR: u8 = 0x40;

fn message(destination: Destination, delivery: DeliveryMode) -> Message {
    Message { destination, delivery, vector: VECTOR, trigger: Trigger::Edge }
}

/// In a model whose local APIC is enabled by software; it has taken the mail that followed.
fn sent(destination: Destination, delivery: DeliveryMode) -> (Model, Result<(), End>) {
    let mut model = enabled();
    model.guest().carry_out(Effect::Send(message(destination, delivery)));
    let result = model.takes_mail();
    (model, result)
}

/// The bootstrap processor, its local APIC enabled by software.
fn enabled() -> Model {
    let mut model = Model::long_64();
    model.enable_apic();
    model
}

/// Two vCPUs of one machine, both with local APICs that are enabled by software.
fn two() -> [Model; 2] {
    let first = enabled();
    let mut second = first.sibling(1);
    second.enable_apic();
    [first, second]
}

/// The vector that a vCPU has after it has taken its mail.
#[track_caller]
fn arrived(model: &mut Model) -> Option<u8> {
    assert_eq!(model.takes_mail(), Ok(()));
    let vector = model.state.apic.pending();
    if let Some(vector) = vector {
        model.state.apic.acknowledge(vector);
        model.write_apic(END_OF_INTERRUPT, 0);
    }
    vector
}

/// Which of the two gets a message for the one that is less busy.
#[track_caller]
fn less_busy([first, second]: &mut [Model; 2]) -> usize {
    let to_either = message(Destination::Everyone, DeliveryMode::LowestPriority);
    first.machine.posts.send(to_either, None);
    match (arrived(first), arrived(second)) {
        (Some(VECTOR), None) => 0,
        (None, Some(VECTOR)) => 1,
        other => panic!("{other:?}"),
    }
}

/// MOV CR8, RAX.
#[track_caller]
fn sets_cr8(model: &mut Model, value: u64) {
    const CR8: u64 = 8;
    model.frame.registers.rax = value;
    model.tell(field::EXIT_QUALIFICATION, CR8);
    model.executes(ExitReason::CONTROL_REGISTER);
}

#[test]
fn what_the_guest_sends_to_itself_arrives() {
    for destination in [Destination::Everyone, Destination::Physical(0)] {
        let (model, result) = sent(destination, DeliveryMode::Fixed);
        assert_eq!((result, model.state.apic.pending()), (Ok(()), Some(VECTOR)));
        let (model, result) = sent(destination, DeliveryMode::Nmi);
        assert_eq!((result, model.state.nmi), (Ok(()), true));
        assert_eq!(sent(destination, DeliveryMode::Init).1, Err(End::Init));
    }
}

/// SDM vol. 3, "Interrupt Command Register (ICR)", "All excluding self": firmware sends INIT this way to look for other processors.
#[test]
fn what_the_guest_sends_to_everyone_else_does_not_come_back() {
    for destination in [Destination::EveryoneElse, Destination::Physical(1)] {
        let (model, result) = sent(destination, DeliveryMode::Fixed);
        assert_eq!((result, model.state.apic.pending()), (Ok(()), None));
        let (model, result) = sent(destination, DeliveryMode::Nmi);
        assert_eq!((result, model.state.nmi), (Ok(()), false));
        assert_eq!(sent(destination, DeliveryMode::Init).1, Ok(()));
    }
}

#[test]
fn what_a_guest_sends_reaches_the_other_vcpu_and_the_cpu_that_has_it() {
    for destination in [Destination::EveryoneElse, Destination::Physical(1)] {
        let [mut first, mut second] = two();
        second.state.attention = false;
        second.guest().carry_out(Effect::None);
        first.guest().carry_out(Effect::Send(message(destination, DeliveryMode::Fixed)));
        assert_eq!(first.neighbours.take().notified, [cpu(1)]);
        assert_eq!(arrived(&mut second), Some(VECTOR));
        assert!(second.state.attention);
        assert_eq!(arrived(&mut first), None);
    }
}

#[test]
fn a_changed_timer_is_armed_before_the_next_entry() {
    let mut model = Model::long_64();
    model.guest().carry_out(Effect::TimerChanged);
    assert!(model.state.timer_changed && model.state.attention);
}

#[test]
fn whatever_a_guest_does_to_its_apic_has_events_looked_at() {
    for effect in [
        Effect::None,
        Effect::EndOfInterrupt { vector: VECTOR },
        Effect::Send(message(Destination::Everyone, DeliveryMode::Smi)),
    ] {
        let mut model = Model::long_64();
        assert!(!model.state.attention);
        model.guest().carry_out(effect);
        assert!(model.state.attention && !model.state.timer_changed);
    }
}

/// The UART holds its line, and its pin leads to the second vCPU: with each end of interrupt there, the next one comes, also
/// when the first vCPU runs where the pin is unmasked.
#[test]
fn an_end_of_interrupt_reaches_the_io_apic_and_what_follows_is_posted() {
    let [first, mut second] = two();
    let machine = &first.machine;
    for (select, value) in [(REDIRECTION + 1, 1 << 24), (REDIRECTION, LEVEL | u32::from(VECTOR))] {
        assert!(machine.write_io_apic(0, select).is_empty());
        assert!(machine.write_io_apic(0x10, value).is_empty());
    }
    machine.write_port(0x3fc, 1, 8, || 0);
    machine.write_port(0x3f9, 1, 2, || 0);
    for _ in 0..3 {
        assert_eq!(first.neighbours.take().notified, [cpu(1)]);
        // With the end of interrupt.
        assert_eq!(arrived(&mut second), Some(VECTOR));
    }
    assert_eq!(second.takes_mail(), Ok(()));
    second.state.apic.acknowledge(VECTOR);
    machine.write_port(0x3f9, 1, 0, || 0);
    let _ = first.neighbours.take();
    second.write_apic(END_OF_INTERRUPT, 0);
    assert!(machine.posts.are_empty() && first.neighbours.take().notified.is_empty());
}

/// SDM vol. 3, "Local APIC State After It Has Been Software Disabled".
#[test]
fn an_apic_is_sent_vectors_once_it_is_enabled() {
    let mut first = Model::long_64();
    let mut second = first.sibling(1);
    let to_second = Effect::Send(message(Destination::Physical(1), DeliveryMode::Fixed));
    first.guest().carry_out(to_second);
    assert!(first.machine.posts.are_empty());
    second.enable_apic();
    first.guest().carry_out(to_second);
    assert_eq!(arrived(&mut second), Some(VECTOR));
}

#[test]
fn a_logical_destination_counts_from_the_write_on() {
    let [mut first, mut second] = two();
    let logical = Effect::Send(message(Destination::Logical(4), DeliveryMode::Fixed));
    first.guest().carry_out(logical);
    assert!(first.machine.posts.are_empty());
    second.write_apic(LOGICAL_DESTINATION, 4 << 24);
    first.guest().carry_out(logical);
    assert_eq!(arrived(&mut second), Some(VECTOR));
    assert_eq!(arrived(&mut first), None);
}

#[test]
fn the_priority_of_a_task_counts_from_the_write_on() {
    let mut both = two();
    for busy in [0, 1] {
        both[busy].write_apic(TASK_PRIORITY, 0x30);
        assert_eq!(less_busy(&mut both), 1 - busy);
        both[busy].write_apic(TASK_PRIORITY, 0);
    }
}

#[test]
fn so_does_a_priority_that_is_written_to_cr8() {
    let mut both = two();
    for busy in [0, 1] {
        sets_cr8(&mut both[busy], 3);
        assert_eq!(less_busy(&mut both), 1 - busy);
        sets_cr8(&mut both[busy], 0);
    }
}

/// While a vCPU serves a level-triggered interrupt it is busy; with the end of interrupt it no longer is.
#[test]
fn the_end_of_an_interrupt_makes_a_vcpu_less_busy() {
    let mut both = two();
    let [first, second] = &mut both;
    let level = Message { trigger: Trigger::Level, ..message(Destination::Physical(0), DeliveryMode::Fixed) };
    first.machine.posts.send(level, None);
    assert_eq!(first.takes_mail(), Ok(()));
    first.state.apic.acknowledge(VECTOR);
    first.guest().carry_out(Effect::None);
    second.write_apic(TASK_PRIORITY, 0x20);
    first.write_apic(END_OF_INTERRUPT, 0);
    assert_eq!(less_busy(&mut both), 0);
}

/// SDM vol. 3, "Local APIC State After It Receives an INIT-Deassert IPI": it is disabled by software.
#[test]
fn after_init_a_vcpu_is_sent_no_vectors() {
    let [mut first, mut second] = two();
    first.guest().carry_out(Effect::Send(message(Destination::Physical(1), DeliveryMode::Init)));
    assert_eq!(second.takes_mail(), Ok(()));
    assert_eq!(second.state.activity, Activity::WaitForSipi);
    let _ = first.neighbours.take();
    first.guest().carry_out(Effect::Send(message(Destination::Physical(1), DeliveryMode::Fixed)));
    assert!(first.machine.posts.are_empty() && first.neighbours.take().notified.is_empty());
    // A start-up IPI carries no vector for the APIC.
    first.guest().carry_out(Effect::Send(message(Destination::Physical(1), DeliveryMode::StartUp)));
    assert_eq!(second.takes_mail(), Ok(()));
    assert_eq!(second.state.activity, Activity::Running);
}

#[test]
fn taking_mail_where_none_is_changes_nothing() {
    let [mut first, _] = two();
    let before = format!("{:?}", first.state);
    assert_eq!(first.takes_mail(), Ok(()));
    assert_eq!(format!("{:?}", first.state), before);
}
