// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who gets which frames.

use super::addresses::PER_PLACE;
use super::counters::Counters;
use super::counters::Traffic;
use super::frames::Frames;
use super::port::Port;
use super::*;
use crate::devices::ethernet::Mac;
use crate::devices::virtio::doorbell::Doorbell;
use crate::vm::model::ModelNeighbours;
use crate::vm::model::machine;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;

const EVERYBODY: Mac = Mac([0xFF; 6]);

fn mac(number: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, number])
}

/// A frame whose contents begin with `number`.
fn frame(destination: Mac, source: Mac, number: u64, bytes: usize) -> Vec<u8> {
    let mut frame = [&destination.0[..], &source.0, &[0x08, 0x00], &number.to_le_bytes()].concat();
    frame.resize(bytes, number as u8);
    frame
}

/// A port that listens, of the switch "lan".
fn port(switches: &Switches) -> Port {
    let port = switches.port("lan", "test").expect("there are free ports");
    port.listen();
    port
}

/// What waits at a port, all of which its machine gets.
fn received(port: &Port) -> Vec<Vec<u8>> {
    let mut frames = Frames::default();
    port.take(&mut frames);
    let mut received = Vec::new();
    while let Some(frame) = frames.first() {
        port.count_received(Traffic { packets: 1, bytes: frame.len() as u64 });
        received.push(frame.to_vec());
        frames.pop();
    }
    received
}

#[test]
fn a_frame_goes_to_everybody_until_its_destination_has_been_seen() {
    let switches = Switches::new();
    let [a, b, c] = [(); 3].map(|()| port(&switches));
    let question = frame(mac(2), mac(1), 0, 60);
    assert_eq!(a.send(&question), 2);
    assert_eq!([&a, &b, &c].map(received), [vec![], vec![question.clone()], vec![question.clone()]]);

    let answer = frame(mac(1), mac(2), 1, 1514);
    assert_eq!(b.send(&answer), 1);
    assert_eq!([&a, &b, &c].map(received), [vec![answer], vec![], vec![]]);
    assert_eq!(a.send(&question), 1);
    assert_eq!([&a, &b, &c].map(received), [vec![], vec![question], vec![]]);
}

#[test]
fn broadcast_and_multicast_go_to_everybody_else_even_when_somebody_claims_the_address() {
    let switches = Switches::new();
    let [a, b, c] = [(); 3].map(|()| port(&switches));
    for group in [EVERYBODY, Mac([0x33, 0x33, 0, 0, 0, 1])] {
        let claim = frame(mac(1), group, 0, 60);
        b.send(&claim);
        drop([&a, &c].map(received));
        let call = frame(group, mac(1), 1, 60);
        a.send(&call);
        assert_eq!([&a, &b, &c].map(received), [vec![], vec![call.clone()], vec![call]]);
    }
}

#[test]
fn a_frame_whose_destination_is_at_the_senders_port_goes_nowhere() {
    let switches = Switches::new();
    let [a, b] = [(); 2].map(|()| port(&switches));
    a.send(&frame(EVERYBODY, mac(2), 0, 60));
    drop(received(&b));
    assert_eq!(a.send(&frame(mac(2), mac(1), 1, 60)), 0);
    assert!(received(&a).is_empty() && received(&b).is_empty());
}

#[test]
fn an_address_that_moves_is_found_where_it_was_seen_last() {
    let switches = Switches::new();
    let [a, b, c] = [(); 3].map(|()| port(&switches));
    for mover in [&b, &c, &b] {
        mover.send(&frame(EVERYBODY, mac(9), 0, 60));
        drop([&a, &b, &c].map(received));
        a.send(&frame(mac(9), mac(1), 1, 60));
        assert_eq!(received(mover).len(), 1);
        assert!([&a, &b, &c].iter().all(|port| received(port).is_empty()));
    }
}

#[test]
fn a_machine_that_makes_up_addresses_does_not_make_others_unknown() {
    let switches = Switches::new();
    let [a, b, c] = [(); 3].map(|()| port(&switches));
    b.send(&frame(EVERYBODY, mac(2), 0, 60));
    for number in 0..100 * PER_PLACE as u32 {
        let [_, x, y, z] = number.to_be_bytes();
        c.send(&frame(EVERYBODY, Mac([2, 0, 0, x, y, z]), 0, 60));
    }
    drop([&a, &b, &c].map(received));
    assert_eq!(a.send(&frame(mac(2), mac(1), 1, 60)), 1);
    assert_eq!(received(&b).len(), 1);
}

#[test]
fn switches_are_apart() {
    let switches = Switches::new();
    let a = port(&switches);
    let other = switches.port("other", "test").expect("there are free ports");
    other.listen();
    assert_eq!(a.send(&frame(EVERYBODY, mac(1), 0, 60)), 0);
    assert!(received(&other).is_empty());
}

#[test]
fn who_is_unplugged_leaves_its_place_and_its_addresses() {
    let switches = Switches::new();
    let a = port(&switches);
    for _ in 0..2 * MOST_PORTS {
        let b = port(&switches);
        b.send(&frame(EVERYBODY, mac(2), 0, 60));
        drop(received(&a));
        assert_eq!(a.send(&frame(mac(2), mac(1), 1, 60)), 1);
    }
    let c = port(&switches);
    assert_eq!(a.send(&frame(mac(2), mac(1), 1, 60)), 1, "unknown again, so to everybody: c alone");
    assert_eq!(received(&c).len(), 1);
    assert_eq!(switches.report().len(), 2);
}

#[test]
fn more_ports_than_there_are_places_are_refused() {
    let switches = Switches::new();
    let mut ports: Vec<_> = (0..MOST_PORTS).map(|_| port(&switches)).collect();
    assert_eq!(switches.port("lan", "test").err(), Some(NoPort));
    ports.pop();
    drop(switches.port("lan", "test").expect("a place is free again"));
}

#[test]
fn lengths_that_no_frame_has_are_refused_and_counted() {
    let switches = Switches::new();
    let [a, b] = [(); 2].map(|()| port(&switches));
    let long = frame(EVERYBODY, mac(1), 0, 1515);
    let mut tagged = frame(EVERYBODY, mac(1), 0, 1519);
    tagged[12..14].copy_from_slice(&[0x81, 0x00]);
    for refused in [&[][..], &long[..13], &long, &tagged] {
        assert_eq!(a.send(refused), 0);
    }
    assert_eq!(a.counters(), Counters { refused: 4, ..Counters::default() });
    for taken in [&long[..14], &long[..1514], &tagged[..1518]] {
        assert_eq!(a.send(taken), 1);
    }
    assert_eq!(a.counters().sent, Traffic { packets: 3, bytes: 14 + 1514 + 1518 });
    assert_eq!(received(&b).len(), 3);
}

#[test]
fn who_does_not_take_frames_loses_them_and_nobody_waits() {
    let switches = Switches::new();
    let [a, b] = [(); 2].map(|()| port(&switches));
    for number in 0..1000 {
        a.send(&frame(EVERYBODY, mac(1), number, 1514));
    }
    let kept = received(&b);
    let expected = (0..kept.len() as u64).map(|number| frame(EVERYBODY, mac(1), number, 1514));
    assert!(expected.eq(kept.iter().cloned()), "the first ones, in order");
    assert_eq!(
        b.counters().received,
        Traffic { packets: kept.len() as u64, bytes: 1514 * kept.len() as u64 }
    );
    assert_eq!(b.counters().dropped, 1000 - kept.len() as u64);
}

#[test]
fn who_does_not_listen_gets_nothing_of_before() {
    let switches = Switches::new();
    let a = port(&switches);
    let b = switches.port("lan", "test").expect("there are free ports");
    a.send(&frame(EVERYBODY, mac(1), 0, 60));
    b.listen();
    a.send(&frame(EVERYBODY, mac(1), 1, 60));
    b.deafen();
    a.send(&frame(EVERYBODY, mac(1), 2, 60));
    b.listen();
    a.send(&frame(EVERYBODY, mac(1), 3, 60));
    assert_eq!(received(&b), [frame(EVERYBODY, mac(1), 3, 60)]);
    assert_eq!(b.counters().dropped, 3);
}

#[test]
fn a_doorbell_is_rung_once_when_the_first_of_several_frames_comes() {
    let switches = Switches::new();
    let [a, b] = [(); 2].map(|()| port(&switches));
    let neighbours = ModelNeighbours::new();
    let doorbell = Doorbell::new(machine(1, neighbours).posts);
    b.connect(doorbell.clone());
    for _ in 0..2 {
        for number in 0..3 {
            a.send(&frame(EVERYBODY, mac(1), number, 60));
            assert_eq!(doorbell.answer(), number == 0);
        }
        assert_eq!(received(&b).len(), 3);
    }
    b.deafen();
    a.send(&frame(EVERYBODY, mac(1), 0, 60));
    assert!(!doorbell.answer(), "what is dropped rings nobody");
}

#[test]
fn reports_name_switch_and_owner() {
    let switches = Switches::new();
    let [_a, _b] = ["a", "b"].map(|owner| switches.port("lan", owner));
    let _c = switches.port("other", "c");
    let names = switches.report().into_iter().map(|port| (port.switch, port.owner));
    let expected = [("lan", "a"), ("lan", "b"), ("other", "c")];
    assert!(names.eq(expected.map(|(switch, owner)| (switch.into(), owner.into()))));
}

const PORTS: usize = 4;

/// What somebody does.
#[derive(Clone, Debug)]
enum Step {
    Send { from: usize, to: Option<u8>, source: u8, bytes: usize },
    Receive { at: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let to = prop::option::weighted(0.8, 0..6_u8);
    prop_oneof![
        8 => (0..PORTS, to, 0..6_u8, 22..1600_usize)
            .prop_map(|(from, to, source, bytes)| Step::Send { from, to, source, bytes }),
        1 => (0..PORTS).prop_map(|at| Step::Receive { at }),
    ]
}

proptest! {
    #[test]
    fn frames_arrive_unchanged_and_in_order_once_and_never_at_their_sender_or_are_counted(
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let switches = Switches::new();
        let ports = [(); PORTS].map(|()| port(&switches));
        let (mut seen, mut expected) = (BTreeMap::new(), [(); PORTS].map(|()| Vec::new()));
        let mut got = [(); PORTS].map(|()| Vec::new());
        for (step, number) in steps.into_iter().zip(0_u64..) {
            match step {
                Step::Send { from, to, source, bytes } => {
                    let sent = frame(to.map_or(EVERYBODY, mac), mac(source), number, bytes);
                    let copies = ports[from].send(&sent);
                    if bytes > 1514 {
                        prop_assert_eq!(copies, 0);
                        continue;
                    }
                    seen.insert(source, from);
                    let known = to.and_then(|to| seen.get(&to).copied());
                    let whom: Vec<_> = (0..PORTS).filter(|&at| at != from && known.is_none_or(|it| it == at)).collect();
                    prop_assert_eq!(copies, whom.len());
                    whom.into_iter().for_each(|at| expected[at].push(sent.clone()));
                }
                Step::Receive { at } => got[at].extend(received(&ports[at])),
            }
        }
        for ((port, mut got), expected) in ports.iter().zip(got).zip(expected) {
            got.extend(received(port));
            prop_assert_eq!(port.counters().received.packets, got.len() as u64);
            prop_assert_eq!(port.counters().received.packets + port.counters().dropped, expected.len() as u64);
            let mut rest = expected.iter();
            prop_assert!(got.iter().all(|frame| rest.any(|other| other == frame)), "a frame came that nobody sent, or late");
        }
    }
}

#[test]
fn machines_that_flood_each_other_all_make_progress_and_every_frame_is_accounted_for() {
    const FRAMES: u64 = 20_000;
    let switches = Switches::new();
    let ports = [(); 3].map(|()| port(&switches));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let receivers = ports.each_ref().map(|port| {
            let over = &over;
            scope.spawn(move || {
                let mut last = BTreeMap::new();
                while !over.load(Ordering::Acquire) {
                    for frame in received(port) {
                        let number = u64::from_le_bytes(*frame[14..].first_chunk().expect("it has a number"));
                        let before = last.insert(frame[6..12].to_vec(), number);
                        assert!(before.is_none_or(|before| before < number), "in order, and once");
                    }
                    thread::yield_now();
                }
            })
        });
        let senders = [0, 1, 2].map(|me: u8| {
            let port = &ports[usize::from(me)];
            scope.spawn(move || {
                for number in 0..FRAMES {
                    let to = if number % 3 == 0 { EVERYBODY } else { mac((me + 1) % 3) };
                    port.send(&frame(to, mac(me), number, 64 + number as usize % 1024));
                }
            })
        });
        for sender in senders {
            sender.join().expect("a sender comes to its end");
        }
        over.store(true, Ordering::Release);
        for receiver in receivers {
            receiver.join().expect("what arrived was right");
        }
    });
    let counters = ports.each_ref().map(|port| {
        drop(received(port));
        port.counters()
    });
    let given = counters.map(|counters| counters.received.packets + counters.dropped).iter().sum::<u64>();
    let least = 3 * (FRAMES + FRAMES.div_ceil(3));
    assert!(given >= least && given <= least + 3 * FRAMES, "{given} copies of at least {least}");
    assert!(counters.iter().all(|counters| counters.sent.packets == FRAMES && counters.received.packets > 0));
}
