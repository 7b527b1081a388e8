// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines that send to each other through their drivers: what arrives is what was sent, or counted.

use super::*;
use proptest::prelude::*;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;

/// How many machines there are.
const MACHINES: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// A machine sends a frame, whose packet is cut into buffers there.
    Send { from: usize, to: Option<u8>, bytes: usize, cuts: Vec<usize> },
    /// A machine's driver makes buffers available of that shape.
    Refill { at: usize, shape: Vec<usize>, count: usize },
    /// A machine's driver takes what there is.
    Take { at: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let cuts = prop::collection::vec(1..1534_usize, 0..5);
    let shape = prop::collection::vec(1..1600_usize, 1..4);
    prop_oneof![
        4 => (0..MACHINES, prop::option::of(1..4_u8), 22..1516_usize, cuts)
            .prop_map(|(from, to, bytes, cuts)| Step::Send { from, to, bytes, cuts }),
        1 => (0..MACHINES, shape, 1..20_usize).prop_map(|(at, shape, count)| Step::Refill { at, shape, count }),
        1 => (0..MACHINES).prop_map(|at| Step::Take { at }),
    ]
}

/// The pieces of a packet, cut at the places in it that there are.
fn pieces(packet: &[u8], mut cuts: Vec<usize>) -> Vec<&[u8]> {
    cuts.retain(|&cut| cut < packet.len());
    cuts.extend([0, packet.len()]);
    cuts.sort_unstable();
    cuts.dedup();
    cuts.windows(2).map(|window| &packet[window[0]..window[1]]).collect()
}

proptest! {
    #[test]
    fn frames_arrive_unchanged_in_order_once_and_at_others_only_or_are_counted(
        mergeable: bool,
        by_index: bool,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let switches = Switches::new();
        let features = [(mergeable, MERGEABLE), (by_index, EVENT_INDEX)];
        let features = features.into_iter().filter(|feature| feature.0).fold(0, |all, feature| all | feature.1);
        let mut machines: Vec<_> = (1..4).map(|number| Machine::new(&switches, number, features)).collect();
        // Each machine is known to the others from the beginning.
        for machine in &mut machines {
            let hello = frame(EVERYBODY, machine.card.mac, u64::MAX, 60);
            machine.send(&hello);
        }
        let mut expected = vec![Vec::new(); MACHINES];
        for (at, expected) in expected.iter_mut().enumerate() {
            let others = machines.iter().enumerate().filter(|&(from, _)| from != at);
            expected.extend(others.map(|(_, other)| frame(EVERYBODY, other.card.mac, u64::MAX, 60)));
        }
        let mut got = vec![Vec::new(); MACHINES];
        for (step, number) in steps.into_iter().zip(0..) {
            match step {
                Step::Send { from, to, bytes, cuts } => {
                    let sent = frame(to.map_or(EVERYBODY, mac), mac(from as u8 + 1), number, bytes);
                    let packet = [&[0; HEADER], &sent[..]].concat();
                    machines[from].driver.add(TRANSMIT, &pieces(&packet, cuts), &[]);
                    prop_assert_eq!(machines[from].serve(Occasion::Notified(TRANSMIT)), Ok(Served::All));
                    let _ = machines[from].driver.used(TRANSMIT);
                    let is_for = |at: usize| at != from && to.is_none_or(|to| usize::from(to) == at + 1);
                    let is_refused = bytes > 1514;
                    (0..MACHINES).filter(|&at| is_for(at) && !is_refused).for_each(|at| expected[at].push(sent.clone()));
                }
                Step::Refill { at, shape, count } => {
                    for _ in 0..count {
                        let _ = machines[at].driver.add(RECEIVE, &[], &shape);
                    }
                    while machines[at].serve(Occasion::Notified(RECEIVE)) == Ok(Served::More) {}
                }
                Step::Take { at } => got[at].extend(machines[at].received()),
            }
            machines.iter().for_each(Machine::answer);
        }
        for ((machine, mut got), expected) in machines.iter_mut().zip(got).zip(expected) {
            got.extend(machine.received());
            // What still waits is dropped, and so counted.
            machine.card.reset();
            let counters = machine.counters();
            prop_assert_eq!(counters.received.packets, got.len() as u64);
            prop_assert_eq!(counters.received.packets + counters.dropped, expected.len() as u64);
            let mut rest = expected.iter();
            prop_assert!(got.iter().all(|frame| rest.any(|other| other == frame)));
        }
    }
}

/// Sends until `frames` are sent, receives until `over`; gives how many it has got, whose numbers only grow.
fn flood(machine: &mut Machine, to: Mac, frames: u64, done: &Mutex<usize>, over: &AtomicBool) -> u64 {
    let (mut sent, mut got, mut last) = (0, 0, None);
    let source = machine.card.mac;
    while !over.load(Ordering::Acquire) {
        while sent < frames && machine.post(&frame(to, source, sent, 64 + (sent % 1400) as usize)) {
            sent += 1;
            if sent == frames {
                *done.lock().expect("nobody panics with it") += 1;
            }
        }
        let mut served = machine.serve(Occasion::Notified(TRANSMIT)).expect("the driver keeps the rules");
        machine.refill(32, 1526);
        while served == Served::More || machine.doorbell.answer() {
            served = machine.serve(Occasion::Rung).expect("the driver keeps the rules");
            let _ = machine.driver.used(TRANSMIT);
        }
        let _ = machine.serve(Occasion::Notified(RECEIVE)).expect("the driver keeps the rules");
        let _ = machine.driver.used(TRANSMIT);
        for frame in machine.received() {
            let number = u64::from_le_bytes(*frame[14..].first_chunk().expect("it has a number"));
            assert!(last.is_none_or(|last| last < number), "in order, and once");
            last = Some(number);
            got += 1;
        }
        if *done.lock().expect("nobody panics with it") == 2 {
            over.store(true, Ordering::Release);
        }
    }
    got
}

#[test]
fn two_machines_that_flood_each_other_both_make_progress_and_the_counters_add_up() {
    const FRAMES: u64 = 20_000;
    let [mut a, mut b] = two(MERGEABLE | EVENT_INDEX);
    // Each knows the other.
    for (machine, number) in [(&mut a, 1), (&mut b, 2)] {
        machine.send(&frame(EVERYBODY, mac(number), 0, 60));
    }
    for machine in [&a, &b] {
        machine.card.reset();
        machine.card.start(0);
    }
    let before = [&a, &b].map(|machine| machine.counters().dropped);
    let (done, over) = (Mutex::new(0), AtomicBool::new(false));
    let got = thread::scope(|scope| {
        let (done, over) = (&done, &over);
        let b = scope.spawn({
            let b = &mut b;
            move || flood(b, mac(1), FRAMES, done, over)
        });
        let a = flood(&mut a, mac(2), FRAMES, done, over);
        [a, b.join().expect("the other one comes to its end")]
    });
    a.card.reset();
    b.card.reset();
    for ((machine, got), before) in [&a, &b].into_iter().zip(got).zip(before) {
        let counters = machine.counters();
        assert!(got > 0);
        assert_eq!(counters.received.packets, got);
        let other = if machine.card.mac == a.card.mac { &b } else { &a };
        let sent = other.counters().sent.packets - 1;
        assert_eq!(counters.received.packets + counters.dropped - before, sent);
    }
}
