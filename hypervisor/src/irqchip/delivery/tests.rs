// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each way of addressing, and all of them against a slow reference.

use super::*;
use crate::irqchip::Trigger;
use crate::irqchip::local_apic::LocalApic;
use core::num::NonZeroU32;
use proptest::prelude::*;
use proptest::sample::select;

// Offsets in the page and values of IA32_APIC_BASE, spelled out once more.
const TPR: u64 = 0x80;
const LDR: u64 = 0xD0;
const DFR: u64 = 0xE0;
const SVR: u64 = 0xF0;
const BASE_DISABLED: u64 = 0xFEE0_0000;
const BASE_X2APIC: u64 = 0xFEE0_0C00;

fn message(destination: Destination, delivery: DeliveryMode) -> Message {
    Message { destination, delivery, vector: 0x40, trigger: Trigger::Edge }
}

fn fixed(destination: Destination) -> Message {
    message(destination, DeliveryMode::Fixed)
}

/// In xAPIC mode, flat, with a logical bit each for the first eight; enabled by software.
fn flat(id: u32) -> LocalApic {
    let mut apic = LocalApic::new(id, id == 0, NonZeroU32::MIN);
    let _ = apic.mmio_write(SVR, 0x1FF, 0);
    let _ = apic.mmio_write(LDR, 1_u32.checked_shl(24 + id).unwrap_or(0), 0);
    apic
}

fn x2apic(id: u32) -> LocalApic {
    let mut apic = flat(id);
    let _ = apic.set_base(BASE_X2APIC | u64::from(id == 0) << 8).unwrap();
    apic
}

/// Who of four gets it.
fn of_four(message: Message, sender: Option<usize>) -> Vec<usize> {
    recipients(message, sender, (0..4).map(|id| flat(id).address())).collect()
}

#[test]
fn everyone_is_all_and_the_sender_too() {
    assert_eq!(of_four(fixed(Destination::Everyone), Some(1)), [0, 1, 2, 3]);
    assert_eq!(of_four(fixed(Destination::Everyone), None), [0, 1, 2, 3]);
}

#[test]
fn everyone_else_leaves_out_the_sender_alone() {
    assert_eq!(of_four(fixed(Destination::EveryoneElse), Some(1)), [0, 2, 3]);
}

#[test]
fn a_physical_destination_is_one_and_the_sender_may_mean_itself() {
    assert_eq!(of_four(fixed(Destination::Physical(2)), Some(1)), [2]);
    assert_eq!(of_four(fixed(Destination::Physical(1)), Some(1)), [1]);
    assert_eq!(of_four(fixed(Destination::Physical(4)), Some(1)), [0; 0]);
}

#[test]
fn a_flat_logical_destination_is_a_set() {
    assert_eq!(of_four(fixed(Destination::Logical(0b1010)), Some(1)), [1, 3]);
}

#[test]
fn an_x2apic_logical_destination_is_a_set_in_a_cluster_of_16() {
    let addresses = || (0..64).map(|id| x2apic(id).address());
    let to = |logical| recipients(fixed(Destination::Logical(logical)), None, addresses());
    assert_eq!(to(0x0002_8001).collect::<Vec<_>>(), [32, 47]);
    assert_eq!(to(0x0003_FFFF).bits(), 0xFFFF << 48);
    assert_eq!(to(0x0004_FFFF).bits(), 0);
}

#[test]
fn init_and_start_up_reach_an_apic_that_software_has_disabled_and_vectors_do_not() {
    let waiting = LocalApic::new(1, false, NonZeroU32::MIN).address();
    let all = || [flat(0).address(), waiting];
    for delivery in [DeliveryMode::Init, DeliveryMode::StartUp, DeliveryMode::Nmi] {
        assert_eq!(recipients(message(Destination::EveryoneElse, delivery), Some(0), all()).bits(), 2);
    }
    assert_eq!(recipients(fixed(Destination::Everyone), Some(0), all()).bits(), 1);
    let lowest = message(Destination::Everyone, DeliveryMode::LowestPriority);
    assert_eq!(recipients(lowest, None, all()).bits(), 1);
}

#[test]
fn system_management_and_the_8259a_are_nobodys() {
    for delivery in [DeliveryMode::Smi, DeliveryMode::ExtInt] {
        assert_eq!(of_four(message(Destination::Everyone, delivery), None), [0; 0]);
    }
}

#[test]
fn lowest_priority_goes_to_the_one_whose_class_is_lowest() {
    let lowest = message(Destination::Logical(0b1111), DeliveryMode::LowestPriority);
    let with_priorities = |priorities: [u32; 4]| {
        let addresses = (0..4).zip(priorities).map(|(id, priority)| {
            let mut apic = flat(id);
            let _ = apic.mmio_write(TPR, priority, 0);
            apic.address()
        });
        recipients(lowest, None, addresses).collect::<Vec<_>>()
    };
    assert_eq!(with_priorities([0x30, 0x20, 0x10, 0x40]), [2]);
    assert_eq!(with_priorities([0x30, 0x20, 0x40, 0x30]), [1]);
}

#[test]
fn equals_of_lowest_priority_take_turns_by_vector() {
    let mut hits = [0; 4];
    for vector in 0x20..0x60 {
        let lowest = Message { vector, ..message(Destination::Everyone, DeliveryMode::LowestPriority) };
        let [one] = of_four(lowest, None)[..] else { panic!("exactly one") };
        hits[one] += 1;
    }
    assert_eq!(hits, [16; 4]);
}

#[test]
fn the_65th_vcpu_gets_nothing() {
    let all = recipients(fixed(Destination::Everyone), None, (0..70).map(|id| x2apic(id).address()));
    assert_eq!((all.bits(), all.count()), (u64::MAX, 64));
}

/// What a guest has done to a local APIC.
#[derive(Clone, Copy, Debug)]
struct Used {
    id: u32,
    x2apic: bool,
    disabled: bool,
    spurious: u32,
    logical: u32,
    format: u32,
    task_priority: u32,
}

fn used() -> impl Strategy<Value = Used> {
    let formats = select(vec![u32::MAX, 0x0FFF_FFFF, 0x5FFF_FFFF]);
    (0_u32..80, any::<bool>(), 0_u8..8, any::<bool>(), any::<u8>(), formats, 0_u32..64).prop_map(
        |(id, x2apic, disabled, enabled, logical, format, task_priority)| Used {
            id,
            x2apic,
            disabled: disabled == 0,
            spurious: if enabled { 0x1FF } else { 0xFF },
            logical: u32::from(logical) << 24,
            format,
            task_priority,
        },
    )
}

fn made(used: Used) -> LocalApic {
    let mut apic = LocalApic::new(used.id, false, NonZeroU32::MIN);
    for (register, value) in
        [(SVR, used.spurious), (LDR, used.logical), (DFR, used.format), (TPR, used.task_priority)]
    {
        let _ = apic.mmio_write(register, value, 0);
    }
    if used.disabled {
        let _ = apic.set_base(BASE_DISABLED).unwrap();
    } else if used.x2apic {
        let _ = apic.set_base(BASE_X2APIC).unwrap();
    }
    apic
}

/// The manual's rule for one APIC, word by word.
fn matches(used: Used, destination: Destination, itself: bool) -> bool {
    let logical_id = used.logical >> 24;
    match destination {
        _ if used.disabled => false,
        Destination::Everyone => true,
        Destination::EveryoneElse => !itself,
        Destination::Physical(id) => id == used.id,
        Destination::Logical(mda) if used.x2apic => {
            mda >> 16 == used.id / 16 && mda & 0xFFFF & (1 << (used.id % 16)) != 0
        }
        Destination::Logical(mda) => match used.format {
            u32::MAX => mda & logical_id != 0,
            0x0FFF_FFFF => mda == 0xFF || mda / 16 == logical_id / 16 && mda & logical_id & 0xF != 0,
            _ => false,
        },
    }
}

fn destination() -> impl Strategy<Value = Destination> {
    prop_oneof![
        Just(Destination::Everyone),
        Just(Destination::EveryoneElse),
        (0_u32..80).prop_map(Destination::Physical),
        (0_u32..0x100).prop_map(Destination::Logical),
        (0_u32..6, any::<u16>())
            .prop_map(|(cluster, set)| Destination::Logical(cluster << 16 | u32::from(set))),
    ]
}

proptest! {
    #[test]
    fn agrees_with_the_manual_read_apic_by_apic(
        machine in prop::collection::vec(used(), 1..70),
        destination in destination(),
        delivery in (0_u8..8).prop_filter_map("reserved", DeliveryMode::from_bits),
        vector in any::<u8>(),
        sender in prop::option::of(0_usize..70),
    ) {
        let message = Message { destination, delivery, vector, trigger: Trigger::Edge };
        let got = recipients(message, sender, machine.iter().map(|&used| made(used).address()));
        let enabled = |used: Used| !delivery.carries_vector() || used.spurious & 0x100 != 0;
        let expected: Vec<usize> = (0..machine.len().min(64))
            .filter(|&index| enabled(machine[index]) && matches(machine[index], destination, sender == Some(index)))
            .collect();
        match delivery {
            DeliveryMode::Smi | DeliveryMode::ExtInt => prop_assert_eq!(got.bits(), 0),
            DeliveryMode::LowestPriority => {
                // PPR's class, which is TPR's where nothing is in service.
                let class = |index: usize| machine[index].task_priority >> 4;
                prop_assert_eq!(got.count(), usize::from(!expected.is_empty()));
                for one in got {
                    prop_assert!(expected.contains(&one));
                    prop_assert!(expected.iter().all(|&other| class(one) <= class(other)));
                }
            }
            _ => prop_assert_eq!(got.collect::<Vec<_>>(), expected),
        }
    }

    #[test]
    fn an_address_survives_its_word(used in used()) {
        let address = made(used).address();
        prop_assert_eq!(Address::from(u64::from(address)), address);
    }
}

#[test]
fn nothing_addresses_a_word_that_nobody_has_written() {
    let destinations = [Destination::Everyone, Destination::Physical(0), Destination::Logical(0xFF)];
    assert!(destinations.iter().all(|&destination| !Address::from(0_u64).is_addressed_by(destination)));
}
