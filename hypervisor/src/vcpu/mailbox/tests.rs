// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is posted arrives: in any order, from many at once.

#[cfg(feature = "loom")]
mod loom;

use super::*;
use crate::vcpu::model::Model;
use crate::vcpu::state::Activity;
use evmcs::field;
use proptest::prelude::*;
use proptest::sample::select;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::thread;

fn message(delivery: DeliveryMode, vector: u8, trigger: Trigger) -> Message {
    Message { destination: Destination::Everyone, delivery, vector, trigger }
}

fn edge(vector: u8) -> Message {
    message(DeliveryMode::Fixed, vector, Trigger::Edge)
}

const NON_MASKABLE: Message = Message {
    destination: Destination::Everyone,
    delivery: DeliveryMode::Nmi,
    vector: 0,
    trigger: Trigger::Edge,
};
const INIT_IPI: Message = Message { delivery: DeliveryMode::Init, ..NON_MASKABLE };

fn start_up(page: u8) -> Message {
    message(DeliveryMode::StartUp, page, Trigger::Edge)
}

/// An application processor that runs, its local APIC enabled by software.
fn running() -> Model {
    let mut model = Model::after_reset(1);
    model.guest().start_up(0x10);
    let _ = model.state.apic.mmio_write(0xf0, 0x1ff, 0);
    model
}

/// Posts them, and hands them to the vCPU.
fn deliver(model: &mut Model, messages: &[Message]) -> Result<(), End> {
    let mailbox = Mailbox::default();
    for &message in messages {
        let _ = mailbox.post(message);
    }
    let result = mailbox.drain(&mut model.guest());
    assert!(mailbox.is_empty());
    result
}

#[test]
fn who_finds_it_empty_has_to_notify_and_those_after_need_not() {
    let mailbox = Mailbox::default();
    assert!(mailbox.is_empty());
    assert!(mailbox.post(edge(0x40)));
    assert!(!mailbox.is_empty());
    assert!(!mailbox.post(edge(0x40)));
    for message in [edge(0x41), NON_MASKABLE, INIT_IPI, start_up(1)] {
        assert!(!mailbox.post(message));
    }
    assert!(!mailbox.stop());
    assert_eq!(mailbox.drain(&mut running().guest()), Err(End::Stopped));
    for message in
        [NON_MASKABLE, INIT_IPI, start_up(1), message(DeliveryMode::LowestPriority, 0x40, Trigger::Level)]
    {
        assert!(Mailbox::default().post(message), "{message:?}");
    }
    assert!(Mailbox::default().stop());
}

#[test]
fn a_nudge_has_the_vcpu_notified_and_changes_nothing_of_it() {
    let (mailbox, mut model) = (Mailbox::default(), running());
    let before = observed(&mut model);
    assert!(mailbox.nudge());
    assert!(!mailbox.nudge() && !mailbox.is_empty());
    assert_eq!(mailbox.drain(&mut model.guest()), Ok(()));
    assert!(mailbox.is_empty());
    assert_eq!(observed(&mut model), before);
    assert!(mailbox.nudge(), "and again");
}

#[test]
fn what_nobody_takes_is_not_posted() {
    let mailbox = Mailbox::default();
    for delivery in [DeliveryMode::Smi, DeliveryMode::ExtInt] {
        assert!(!mailbox.post(message(delivery, 0x40, Trigger::Edge)));
    }
    assert!(mailbox.is_empty());
}

#[test]
fn every_vector_arrives_with_its_trigger() {
    for trigger in [Trigger::Edge, Trigger::Level] {
        for vector in 16..=u8::MAX {
            let mut model = running();
            assert_eq!(deliver(&mut model, &[message(DeliveryMode::Fixed, vector, trigger)]), Ok(()));
            assert_eq!(model.state.apic.pending(), Some(vector));
            let shown = model.state.apic.mmio_read(0x180 + u64::from(vector / 32) * 16, 0);
            assert_eq!(shown >> (vector % 32) & 1 != 0, trigger == Trigger::Level);
            assert!(model.state.attention);
        }
    }
}

#[test]
fn a_level_triggered_vector_stays_one_that_an_edge_comes_with() {
    for messages in [[Trigger::Edge, Trigger::Level], [Trigger::Level, Trigger::Edge]] {
        let mut model = running();
        let messages = messages.map(|trigger| message(DeliveryMode::Fixed, 0x40, trigger));
        assert_eq!(deliver(&mut model, &messages), Ok(()));
        assert_eq!(model.state.apic.mmio_read(0x180 + 2 * 16, 0), 1);
    }
}

#[test]
fn an_nmi_arrives() {
    let mut model = running();
    assert_eq!(deliver(&mut model, &[NON_MASKABLE, NON_MASKABLE]), Ok(()));
    assert!(model.state.nmi && model.state.attention);
}

/// Where it starts, if it runs.
fn started(model: &mut Model) -> Option<u16> {
    let running = model.state.activity == Activity::Running;
    running.then(|| model.read(field::GUEST_CS_SELECTOR) >> 8)
}

/// SDM vol. 3, "MP Initialization Protocol": kernels send INIT, then a start-up IPI twice.
#[test]
fn of_init_and_start_up_ipis_what_comes_last_and_first_counts() {
    let cases: [(&[Message], Option<u16>); 7] = [
        (&[INIT_IPI, start_up(0x21), start_up(0x22)], Some(0x21)),
        (&[start_up(0x20), INIT_IPI, start_up(0x21)], Some(0x21)),
        (&[start_up(0x20), INIT_IPI], None),
        (&[INIT_IPI, start_up(0x21), INIT_IPI, start_up(0x22)], Some(0x22)),
        (&[INIT_IPI], None),
        (&[INIT_IPI, INIT_IPI], None),
        // To one that runs already, at page 10H.
        (&[start_up(0x20)], Some(0x10)),
    ];
    for (messages, expected) in cases {
        let mut model = running();
        assert_eq!(deliver(&mut model, messages), Ok(()));
        assert_eq!(started(&mut model), expected, "{messages:?}");
    }
}

#[test]
fn init_drops_what_came_before_it_and_an_nmi_after_it_waits() {
    let mut model = running();
    assert_eq!(deliver(&mut model, &[edge(0x40), NON_MASKABLE, INIT_IPI]), Ok(()));
    assert_eq!((model.state.apic.pending(), model.state.nmi), (None, false));
    assert_eq!(deliver(&mut model, &[INIT_IPI, NON_MASKABLE, edge(0x40), start_up(0x20)]), Ok(()));
    assert_eq!((model.state.apic.pending(), model.state.nmi), (None, true));
    assert_eq!(started(&mut model), Some(0x20));
}

#[test]
fn a_vcpu_that_is_told_to_stop_does_nothing_else() {
    let (mailbox, mut model) = (Mailbox::default(), running());
    let _ = (mailbox.post(INIT_IPI), mailbox.stop());
    assert_eq!(mailbox.drain(&mut model.guest()), Err(End::Stopped));
    assert_eq!(started(&mut model), Some(0x10));
}

fn any_message() -> impl Strategy<Value = Message> {
    let deliveries = vec![
        DeliveryMode::Fixed,
        DeliveryMode::Fixed,
        DeliveryMode::LowestPriority,
        DeliveryMode::Smi,
        DeliveryMode::Nmi,
        DeliveryMode::Init,
        DeliveryMode::StartUp,
        DeliveryMode::StartUp,
        DeliveryMode::ExtInt,
    ];
    let triggers = select(vec![Trigger::Edge, Trigger::Level]);
    (select(deliveries), any::<u8>(), triggers)
        .prop_map(|(delivery, vector, trigger)| message(delivery, vector, trigger))
}

/// What others can see of it.
fn observed(model: &mut Model) -> String {
    let place = (
        model.read(field::GUEST_CS_SELECTOR),
        model.read(field::GUEST_CS_BASE),
        model.read(field::GUEST_RIP),
        model.read(field::CR0_READ_SHADOW),
    );
    let requested: Vec<u32> = (0..8).map(|word| model.state.apic.mmio_read(0x200 + word * 16, 0)).collect();
    format!("{place:x?} {:?} {} {requested:x?}", model.state.activity, model.state.nmi)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whether a vCPU takes messages one by one or all at once, it ends up the same.
    #[test]
    fn mail_comes_to_the_same_as_messages_one_by_one(
        runs in any::<bool>(),
        messages in prop::collection::vec(any_message(), 0..12),
        drains in prop::collection::vec(any::<bool>(), 12),
    ) {
        let new = || if runs { running() } else { Model::after_reset(1) };
        let (mut at_once, mut one_by_one, mailbox) = (new(), new(), Mailbox::default());
        for (message, drain) in messages.into_iter().zip(drains) {
            let _ = mailbox.post(message);
            prop_assert_eq!(one_by_one.guest().accept(message), Ok(()));
            if drain {
                prop_assert_eq!(mailbox.drain(&mut at_once.guest()), Ok(()));
            }
        }
        prop_assert_eq!(mailbox.drain(&mut at_once.guest()), Ok(()));
        prop_assert_eq!(observed(&mut at_once), observed(&mut one_by_one));
    }
}

/// How often each sender posts.
const ROUNDS: u32 = if cfg!(miri) { 40 } else { 20_000 };

/// Each sender posts vectors of its own, the next one only when the last has arrived: a lost one would hang it. The owner
/// looks only when it was notified.
#[test]
fn nothing_is_lost_between_threads() {
    const SENDERS: u8 = 3;
    let (mailbox, notified) = (Mailbox::default(), AtomicBool::new(false));
    let arrived: Vec<AtomicU32> = (0..SENDERS).map(|_| AtomicU32::new(0)).collect();
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (mailbox, notified, arrived) = (&mailbox, &notified, &arrived[usize::from(sender)]);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    // In words of their own, and in one that all share.
                    let vector = if round % 2 == 0 { 64 * sender + 16 } else { 240 + sender };
                    if mailbox.post(edge(vector)) {
                        notified.store(true, Ordering::SeqCst);
                    }
                    while arrived.load(Ordering::Acquire) <= round {
                        thread::yield_now();
                    }
                }
            });
        }
        let mut left = u32::from(SENDERS) * ROUNDS;
        while left > 0 {
            if !notified.swap(false, Ordering::SeqCst) {
                thread::yield_now();
                continue;
            }
            for message in mailbox.take().interrupts() {
                let sender = if message.vector >= 240 { message.vector - 240 } else { message.vector / 64 };
                arrived[usize::from(sender)].fetch_add(1, Ordering::Release);
                left -= 1;
            }
        }
    });
    assert!(mailbox.is_empty());
}
