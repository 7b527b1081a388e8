// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the data sheet promises of an I/O APIC.

use super::IoApic;
use super::Messages;
use super::PINS;
use crate::irqchip::DeliveryMode;
use crate::irqchip::Destination;
use crate::irqchip::Message;
use crate::irqchip::Trigger;
use proptest::prelude::*;
use std::collections::BTreeSet;

const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;
const REMOTE_IRR: u32 = 1 << 14;

fn write(io_apic: &mut IoApic, register: u8, value: u32) -> Messages {
    assert!(io_apic.mmio_write(0x00, u32::from(register)).is_empty());
    io_apic.mmio_write(0x10, value)
}

fn read(io_apic: &mut IoApic, register: u8) -> u32 {
    assert!(io_apic.mmio_write(0x00, u32::from(register)).is_empty());
    io_apic.mmio_read(0x10)
}

fn low(pin: usize) -> u8 {
    0x10 + 2 * pin as u8
}

fn high(pin: usize) -> u8 {
    low(pin) + 1
}

/// Fixed, to the local APIC with ID 0.
fn fixed(vector: u8, trigger: Trigger) -> Message {
    Message { destination: Destination::Physical(0), delivery: DeliveryMode::Fixed, vector, trigger }
}

fn sent(message: Message) -> Messages {
    Messages::from_iter([message])
}

#[test]
fn reset_leaves_what_the_data_sheet_says() {
    // "IOAPIC Registers"; version 0x20 has an EOI register.
    let mut io_apic = IoApic::new();
    assert_eq!(read(&mut io_apic, 0), 0);
    assert_eq!(read(&mut io_apic, 1), 0x0017_0020);
    assert_eq!(read(&mut io_apic, 2), 0);
    for pin in 0..PINS {
        assert_eq!(read(&mut io_apic, low(pin)), MASKED);
        assert_eq!(read(&mut io_apic, high(pin)), 0);
    }
}

#[test]
fn registers_keep_their_writable_bits_only() {
    let mut io_apic = IoApic::new();
    for register in 0..=u8::MAX {
        assert!(write(&mut io_apic, register, u32::MAX).is_empty());
    }
    for register in 0..=u8::MAX {
        let kept = match register {
            0 | 2 => 0x0F00_0000,
            1 => 0x0017_0020,
            0x10..0x40 if register % 2 == 0 => 0x0001_AFFF,
            0x10..0x40 => 0xFF00_0000,
            _ => 0,
        };
        assert_eq!(read(&mut io_apic, register), kept, "register {register:#x}");
    }
    assert_eq!(io_apic.mmio_read(0x00), 0xFF);
    assert_eq!(io_apic.mmio_read(0x20), 0);
}

#[test]
fn entry_decides_destination_and_delivery() {
    // "I/O Redirection Table Registers".
    let mut io_apic = IoApic::new();
    let mut message = |entry: u32, destination: u32| {
        let _ = io_apic.set_line(3, false);
        assert!(write(&mut io_apic, high(3), destination << 24).is_empty());
        assert!(write(&mut io_apic, low(3), entry).is_empty());
        io_apic.set_line(3, true)
    };
    let edge = fixed(0x33, Trigger::Edge);
    assert_eq!(message(0x33, 7), Some(Message { destination: Destination::Physical(7), ..edge }));
    assert_eq!(message(0x33, 0xFF), Some(Message { destination: Destination::Everyone, ..edge }));
    assert_eq!(message(0x833, 0xFF), Some(Message { destination: Destination::Logical(0xFF), ..edge }));
    assert_eq!(message(0x133, 0), Some(Message { delivery: DeliveryMode::LowestPriority, ..edge }));
    assert_eq!(message(0x433, 0), Some(Message { delivery: DeliveryMode::Nmi, ..edge }));
    assert_eq!(message(0x733, 0), Some(Message { delivery: DeliveryMode::ExtInt, ..edge }));
    // Level triggered, but there is no EOI of an NMI to wait for.
    assert_eq!(message(LEVEL | 0x433, 0), Some(Message { delivery: DeliveryMode::Nmi, ..edge }));
    // Reserved modes, an illegal vector.
    assert_eq!(message(0x333, 0), None);
    assert_eq!(message(0x633, 0), None);
    assert_eq!(message(0x00F, 0), None);
}

#[test]
fn edge_sends_once_for_each_rise() {
    let mut io_apic = IoApic::new();
    let _ = write(&mut io_apic, low(4), 0x34);
    for _ in 0..3 {
        assert_eq!(io_apic.set_line(4, true), Some(fixed(0x34, Trigger::Edge)));
        assert_eq!(io_apic.set_line(4, true), None);
        assert_eq!(io_apic.set_line(4, false), None);
    }
    assert_eq!(read(&mut io_apic, low(4)) & REMOTE_IRR, 0);
}

#[test]
fn edge_on_a_masked_pin_is_not_kept() {
    // "I/O Redirection Table Registers", bit 16.
    let mut io_apic = IoApic::new();
    let _ = write(&mut io_apic, low(4), MASKED | 0x34);
    assert_eq!(io_apic.set_line(4, true), None);
    assert!(write(&mut io_apic, low(4), 0x34).is_empty());
    assert_eq!(io_apic.set_line(4, true), None);
}

#[test]
fn level_waits_for_its_eoi_and_comes_again_while_asserted() {
    // "I/O Redirection Table Registers", bit 14.
    let level = fixed(0x39, Trigger::Level);
    let mut io_apic = IoApic::new();
    let _ = write(&mut io_apic, low(9), LEVEL | 0x39);
    assert_eq!(io_apic.set_line(9, true), Some(level));
    assert_ne!(read(&mut io_apic, low(9)) & REMOTE_IRR, 0);
    assert_eq!(io_apic.set_line(9, false), None);
    assert_eq!(io_apic.set_line(9, true), None);
    assert!(io_apic.end_of_interrupt(0x38).is_empty());
    assert_eq!(io_apic.end_of_interrupt(0x39), sent(level));
    assert_eq!(io_apic.set_line(9, false), None);
    assert!(io_apic.end_of_interrupt(0x39).is_empty());
    assert_eq!(read(&mut io_apic, low(9)) & REMOTE_IRR, 0);
    assert!(io_apic.end_of_interrupt(0x39).is_empty());
}

#[test]
fn eoi_register_does_what_the_broadcast_does() {
    let level = fixed(0x39, Trigger::Level);
    let mut io_apic = IoApic::new();
    let _ = write(&mut io_apic, low(9), LEVEL | 0x39);
    let _ = io_apic.set_line(9, true);
    assert_eq!(io_apic.mmio_write(0x40, 0x39), sent(level));
}

#[test]
fn eoi_reaches_every_pin_that_shares_the_vector() {
    let mut io_apic = IoApic::new();
    for pin in 0..PINS {
        let _ = write(&mut io_apic, low(pin), LEVEL | 0x50);
        let _ = io_apic.set_line(pin, true);
    }
    assert_eq!(io_apic.end_of_interrupt(0x50).len(), PINS);
}

#[test]
fn unmasked_pin_sends_if_its_line_is_asserted() {
    let level = fixed(0x39, Trigger::Level);
    let mut io_apic = IoApic::new();
    let _ = write(&mut io_apic, low(9), MASKED | LEVEL | 0x39);
    assert_eq!(io_apic.set_line(9, true), None);
    assert_eq!(write(&mut io_apic, low(9), LEVEL | 0x39), sent(level));
    // Masked and unmasked again while it is in service: not twice.
    let _ = write(&mut io_apic, low(9), MASKED | LEVEL | 0x39);
    assert!(write(&mut io_apic, low(9), LEVEL | 0x39).is_empty());
}

#[test]
fn pin_made_edge_triggered_waits_no_more() {
    let level = fixed(0x39, Trigger::Level);
    let mut io_apic = IoApic::new();
    let _ = write(&mut io_apic, low(9), LEVEL | 0x39);
    let _ = io_apic.set_line(9, true);
    let _ = write(&mut io_apic, low(9), MASKED | 0x39);
    assert_eq!(read(&mut io_apic, low(9)) & REMOTE_IRR, 0);
    assert_eq!(write(&mut io_apic, low(9), LEVEL | 0x39), sent(level));
}

#[derive(Clone, Debug)]
enum Step {
    SetLine(usize, bool),
    EndOfInterrupt(usize),
    Program { pin: usize, masked: bool, level: bool },
}

fn step() -> impl Strategy<Value = Step> {
    // Few pins, so that steps meet; the outermost among them.
    let pin = || prop::sample::select(vec![0, 1, 9, PINS - 1]);
    prop_oneof![
        4 => (pin(), any::<bool>()).prop_map(|(pin, asserted)| Step::SetLine(pin, asserted)),
        2 => pin().prop_map(Step::EndOfInterrupt),
        3 => (pin(), any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(pin, masked, level)| Step::Program { pin, masked, level }),
    ]
}

/// Each pin has a vector of its own.
fn vector_of(pin: usize) -> u8 {
    0x30 + pin as u8
}

#[derive(Clone, Copy, Default)]
struct Pin {
    asserted: bool,
    unmasked: bool,
    level: bool,
}

proptest! {
    #[test]
    fn level_interrupts_are_neither_lost_nor_sent_twice_and_edges_are_told_once(
        steps in prop::collection::vec(step(), 0..300),
    ) {
        let mut io_apic = IoApic::new();
        let mut pins = [Pin::default(); PINS];
        let mut in_service = BTreeSet::new();
        for step in steps {
            let mut edge = None;
            let messages = match step {
                Step::SetLine(pin, asserted) => {
                    let state = &mut pins[pin];
                    let rises = asserted && !state.asserted;
                    edge = (rises && state.unmasked && !state.level).then_some(vector_of(pin));
                    state.asserted = asserted;
                    io_apic.set_line(pin, asserted).into_iter().collect()
                }
                Step::EndOfInterrupt(pin) => {
                    in_service.remove(&vector_of(pin));
                    io_apic.end_of_interrupt(vector_of(pin))
                }
                Step::Program { pin, masked, level } => {
                    pins[pin] = Pin { unmasked: !masked, level, ..pins[pin] };
                    if !level {
                        in_service.remove(&vector_of(pin));
                    }
                    let bits = if masked { MASKED } else { 0 } | if level { LEVEL } else { 0 };
                    write(&mut io_apic, low(pin), bits | u32::from(vector_of(pin)))
                }
            };
            for message in messages {
                let state = pins[usize::from(message.vector - vector_of(0))];
                prop_assert!(state.unmasked && state.asserted, "sent without reason");
                match message.trigger {
                    Trigger::Level => prop_assert!(in_service.insert(message.vector), "sent twice"),
                    Trigger::Edge => prop_assert_eq!(edge.take(), Some(message.vector)),
                }
            }
            prop_assert_eq!(edge, None, "an edge was lost");
            for (pin, state) in pins.iter().enumerate() {
                let due = state.level && state.unmasked && state.asserted;
                prop_assert!(!due || in_service.contains(&vector_of(pin)), "pin {} was lost", pin);
            }
        }
    }

    #[test]
    fn any_sequence_of_accesses_is_survived(
        accesses in prop::collection::vec((0_u64..0x60, any::<u32>(), 0..PINS, any::<bool>()), 0..300),
    ) {
        let mut io_apic = IoApic::new();
        for (offset, value, pin, asserted) in accesses {
            // The three registers more often than what is between them.
            let offset = if offset < 0x50 { offset & !0xF } else { offset };
            let _ = io_apic.mmio_write(offset, value);
            let _ = io_apic.mmio_read(offset);
            let _ = io_apic.mmio_write(u64::from(value), value);
            let _ = io_apic.set_line(pin, asserted);
        }
    }
}
