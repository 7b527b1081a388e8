// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who gets a message, and which CPU has to look.

use super::*;
use crate::irqchip::DeliveryMode;
use crate::irqchip::Destination;
use crate::irqchip::Trigger;
use crate::irqchip::local_apic::LocalApic;
use crate::vcpu::end::End;
use crate::vcpu::model::Model;
use crate::vm::model;
use crate::vm::model::ModelNeighbours;
use crate::vm::model::VCPUS;
use crate::vm::model::cpu;
use core::num::NonZeroU32;
use proptest::prelude::*;
use std::sync::Arc;
use std::thread;

fn apic(id: u32) -> LocalApic {
    let mut apic = LocalApic::new(id, id == 0, NonZeroU32::MIN);
    let _ = apic.mmio_write(0xf0, 0x1ff, 0);
    apic
}

/// For vCPUs whose local APICs are enabled by software, each on a CPU of its own.
fn posts(neighbours: &'static ModelNeighbours) -> Arc<Posts> {
    model::posts((0..VCPUS).map(|id| apic(id).address()), neighbours)
}

fn message(destination: Destination, delivery: DeliveryMode) -> Message {
    Message { destination, delivery, vector: 0x40, trigger: Trigger::Edge }
}

fn fixed(destination: Destination) -> Message {
    message(destination, DeliveryMode::Fixed)
}

/// The vCPUs for which something was left; they take it.
fn take_all(posts: &Posts) -> Vec<usize> {
    let with_mail = (0..posts.count()).filter(|&vcpu| !posts.of(vcpu).mailbox.is_empty()).collect();
    for vcpu in 0..posts.count() {
        let _ = posts.of(vcpu).mailbox.drain(&mut Model::after_reset(1).guest());
    }
    assert!(posts.are_empty());
    with_mail
}

#[test]
fn a_message_is_left_for_whom_it_addresses_and_that_ones_cpu_is_notified() {
    let neighbours = ModelNeighbours::new();
    let posts = posts(neighbours);
    for vcpu in 0..VCPUS {
        posts.send(fixed(Destination::Physical(vcpu)), None);
        assert!(!posts.are_empty());
        assert_eq!(neighbours.take().notified, [cpu(vcpu as usize)]);
        assert_eq!(take_all(&posts), [vcpu as usize]);
    }
}

#[test]
fn a_cpu_is_notified_exactly_when_the_mailbox_was_empty() {
    let neighbours = ModelNeighbours::new();
    let posts = posts(neighbours);
    for _ in 0..3 {
        posts.send(fixed(Destination::Physical(2)), None);
        assert_eq!(neighbours.take().notified, [cpu(2)]);
        posts.send(fixed(Destination::Physical(2)), None);
        posts.send(message(Destination::Physical(2), DeliveryMode::Nmi), None);
        assert_eq!(neighbours.take().notified, []);
        assert_eq!(take_all(&posts), [2]);
    }
}

#[test]
fn a_message_for_everyone_else_is_not_left_for_its_sender() {
    let neighbours = ModelNeighbours::new();
    let posts = posts(neighbours);
    for sender in 0..posts.count() {
        posts.send(message(Destination::EveryoneElse, DeliveryMode::Nmi), Some(sender));
        let others: Vec<usize> = (0..posts.count()).filter(|&vcpu| vcpu != sender).collect();
        assert_eq!(neighbours.take().notified, others.iter().map(|&vcpu| cpu(vcpu)).collect::<Vec<_>>());
        assert_eq!(take_all(&posts), others);
    }
    posts.send(fixed(Destination::Everyone), Some(0));
    assert_eq!(take_all(&posts), [0, 1, 2, 3]);
}

#[test]
fn a_nudge_reaches_every_vcpu_and_each_cpu_is_notified_once_until_it_has_looked() {
    let neighbours = ModelNeighbours::new();
    let posts = posts(neighbours);
    posts.nudge_all();
    let all: Vec<_> = (0..posts.count()).map(cpu).collect();
    assert_eq!(neighbours.take().notified, all);
    assert!((0..posts.count()).all(|vcpu| !posts.of(vcpu).mailbox.is_empty()));
    posts.nudge_all();
    assert_eq!(neighbours.take().notified, []);
    let _ = take_all(&posts);
    assert!(posts.are_empty());
    posts.nudge_all();
    assert_eq!(neighbours.take().notified, all);
}

#[test]
fn what_addresses_nobody_is_left_nowhere_and_nobody_is_notified() {
    let neighbours = ModelNeighbours::new();
    let posts = posts(neighbours);
    posts.send(fixed(Destination::Physical(VCPUS)), None);
    posts.send(message(Destination::Everyone, DeliveryMode::Smi), None);
    posts.send(message(Destination::Everyone, DeliveryMode::ExtInt), None);
    assert!(posts.are_empty());
    assert_eq!(neighbours.take().notified, []);
}

#[test]
fn a_local_apic_is_addressed_as_it_says_last() {
    let posts = posts(ModelNeighbours::new());
    let mut second = apic(1);
    let _ = second.mmio_write(0xd0, 4 << 24, 0);
    posts.send(fixed(Destination::Logical(4)), None);
    assert!(posts.are_empty());
    posts.of(1).set_address(second.address());
    posts.send(fixed(Destination::Logical(4)), None);
    assert_eq!(take_all(&posts), [1]);
    second.init();
    posts.of(1).set_address(second.address());
    posts.send(fixed(Destination::Everyone), None);
    assert_eq!(take_all(&posts), [0, 2, 3], "after INIT an APIC takes no vectors");
}

#[test]
fn a_vcpu_is_notified_of_where_it_is_at_home() {
    let neighbours = ModelNeighbours::new();
    let posts = posts(neighbours);
    for home in [3, 0, 63, 2] {
        posts.of(1).set_home(cpu(home));
        posts.send(fixed(Destination::Physical(1)), None);
        assert_eq!(neighbours.take().notified, [cpu(home)]);
        assert_eq!(take_all(&posts), [1]);
    }
    // What was there before it moved, its new CPU finds without being told.
    posts.send(fixed(Destination::Physical(1)), None);
    posts.of(1).set_home(cpu(1));
    assert!(!posts.of(1).mailbox.is_empty());
    assert_eq!(neighbours.take().notified, [cpu(2)]);
}

/// One that is held takes no mail: that some is there already does not mean that its CPU is about to look.
#[test]
fn all_are_told_to_stop_or_to_go_on_even_if_they_have_mail() {
    let neighbours = ModelNeighbours::new();
    let posts = posts(neighbours);
    posts.send(fixed(Destination::Physical(1)), None);
    assert_eq!(neighbours.take().notified, [cpu(1)]);
    for act in [Posts::rouse_all, Posts::stop_all] {
        act(&posts);
        assert_eq!(neighbours.take().notified, [0, 1, 2, 3].map(cpu));
    }
    for vcpu in 0..posts.count() {
        let mut model = Model::after_reset(1);
        assert_eq!(posts.of(vcpu).mailbox.drain(&mut model.guest()), Err(End::Stopped));
    }
}

fn any_message() -> impl Strategy<Value = Message> {
    let deliveries = prop::sample::select(vec![
        DeliveryMode::Fixed,
        DeliveryMode::LowestPriority,
        DeliveryMode::Smi,
        DeliveryMode::Nmi,
        DeliveryMode::Init,
        DeliveryMode::StartUp,
    ]);
    let destinations = prop_oneof![
        (0..VCPUS + 1).prop_map(Destination::Physical),
        any::<u32>().prop_map(Destination::Logical),
        Just(Destination::Everyone),
        Just(Destination::EveryoneElse),
    ];
    (destinations, deliveries).prop_map(|(destination, delivery)| message(destination, delivery))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Who has mail was notified since it last looked, and nobody else was.
    #[test]
    fn who_has_mail_was_notified_once(
        messages in prop::collection::vec(
            (any_message(), prop::option::of(0..VCPUS as usize), any::<bool>()), 1..20
        ),
    ) {
        let neighbours = ModelNeighbours::new();
        let posts = posts(neighbours);
        let mut notified = Vec::new();
        for (message, sender, look) in messages {
            posts.send(message, sender);
            notified.extend(neighbours.take().notified);
            notified.sort();
            let with_mail = |vcpu: &usize| !posts.of(*vcpu).mailbox.is_empty();
            let expected: Vec<CpuNumber> = (0..posts.count()).filter(with_mail).map(cpu).collect();
            prop_assert_eq!(&notified, &expected);
            if look {
                take_all(&posts);
                notified.clear();
            }
        }
    }
}

/// A vCPU goes round the CPUs while others send to it. A CPU that takes it in looks into its mailbox, as one does that is
/// notified and has it: so each message is found, by whoever has it then.
#[test]
fn nothing_is_lost_while_a_vcpu_moves() {
    const ROUNDS: u32 = if cfg!(miri) { 30 } else { 3_000 };
    let neighbours = ModelNeighbours::new();
    let posts = &posts(neighbours);
    thread::scope(|scope| {
        let sender = scope.spawn(move || {
            for _ in 0..ROUNDS {
                posts.send(fixed(Destination::Physical(1)), Some(0));
                // Until it has arrived.
                while !posts.of(1).mailbox.is_empty() {
                    thread::yield_now();
                }
            }
        });
        let mut vcpu = Model::after_reset(1);
        let mut look = || posts.of(1).mailbox.drain(&mut vcpu.guest()).expect("nobody stops it");
        for home in (0..model::CPUS).cycle() {
            posts.of(1).set_home(cpu(home));
            look();
            for _ in 0..3 {
                if neighbours.take().notified.contains(&cpu(home)) {
                    look();
                }
                thread::yield_now();
            }
            if sender.is_finished() {
                break;
            }
        }
    });
}
