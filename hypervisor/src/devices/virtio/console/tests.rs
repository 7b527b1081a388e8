// SPDX-License-Identifier: MIT OR Apache-2.0
//! The console against a driver.

use super::*;
use crate::devices::virtio::model::ModelDriver;
use crate::vm::model::ModelNeighbours;
use crate::vm::model::machine;
use proptest::prelude::*;
use std::sync::Arc;

/// Behind this there is no room for more.
const FULL: &[u8] = b"full";

/// A console, its driver, and what was printed.
struct Machine {
    console: Console,
    driver: ModelDriver,
    doorbell: Doorbell,
    printed: Arc<Mutex<Vec<u8>>>,
}

impl Machine {
    fn new() -> Self {
        let printed = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&printed);
        let console = Console::new(Box::new(move |bytes| {
            sink.lock().extend(bytes);
            bytes.ends_with(FULL)
        }));
        let doorbell = Doorbell::new(machine(1, ModelNeighbours::new()).posts);
        console.connect(doorbell.clone());
        let driver = ModelDriver::new(&console, ENTRIES, 0);
        Self { console, driver, doorbell, printed }
    }

    fn serve(&self, occasion: Occasion) -> Result<Served, Broken> {
        self.driver.serve(&self.console, occasion)
    }

    /// What the guest has got since this was asked last.
    fn received(&mut self) -> Vec<u8> {
        self.driver.used(RECEIVE).into_iter().flat_map(|used| used.written).collect()
    }
}

#[test]
fn what_the_guest_writes_is_printed() {
    let mut machine = Machine::new();
    machine.driver.add(TRANSMIT, &[b"one ", b"two "], &[]);
    machine.driver.add(TRANSMIT, &[b"three"], &[]);
    assert_eq!(machine.serve(Occasion::Notified(TRANSMIT)), Ok(Served::All));
    assert_eq!(*machine.printed.lock(), b"one two three");
    assert_eq!((machine.driver.used(TRANSMIT).len(), machine.driver.interrupts(TRANSMIT)), (2, 1));
}

#[test]
fn what_is_much_is_printed_bit_by_bit_and_all_of_it() {
    let mut machine = Machine::new();
    let pages: Vec<_> = (0..5).map(|page| vec![page; 4096]).collect();
    let pieces: Vec<_> = pages.iter().map(Vec::as_slice).collect();
    machine.driver.add(TRANSMIT, &pieces, &[]);
    machine.driver.add(TRANSMIT, &[b"end"], &[]);
    let mut served = machine.serve(Occasion::Notified(TRANSMIT));
    for turn in 1..=5 {
        assert_eq!(served, Ok(Served::More));
        assert_eq!(machine.printed.lock().len(), 4096 * turn);
        assert_eq!(machine.driver.used(TRANSMIT).len(), usize::from(turn == 5));
        served = machine.serve(Occasion::Rung);
    }
    assert_eq!(served, Ok(Served::All));
    assert_eq!(*machine.printed.lock(), [&pages.concat()[..], b"end"].concat());
    let _ = machine.driver.must_notify(TRANSMIT);
    machine.driver.add(TRANSMIT, &[b"more"], &[]);
    assert!(machine.driver.must_notify(TRANSMIT));
}

#[test]
fn what_there_is_no_room_for_waits_and_comes_when_there_is() {
    let full = [&[b'a'; 252], FULL].concat();
    for pieces in [&[&full[..], b"and more"][..], &[&full]] {
        let mut machine = Machine::new();
        machine.driver.add(TRANSMIT, pieces, &[]);
        machine.driver.add(TRANSMIT, &[b"next"], &[]);
        assert_eq!(machine.serve(Occasion::Notified(TRANSMIT)), Ok(Served::All));
        assert_eq!(machine.printed.lock().len(), 256);
        assert!(!machine.doorbell.answer(), "it waits for room");
        machine.console.release();
        assert!(machine.doorbell.answer());
        assert_eq!(machine.serve(Occasion::Rung), Ok(Served::All));
        assert!(machine.printed.lock().ends_with(b"next"));
        assert_eq!(machine.driver.used(TRANSMIT).len(), 2);
        machine.console.release();
        assert!(!machine.doorbell.answer(), "nothing is left");
    }
}

#[test]
fn what_was_begun_before_a_reset_is_not_gone_on_with() {
    let mut machine = Machine::new();
    machine.driver.add(TRANSMIT, &[&[b'a'; 4096], b"a"], &[]);
    assert_eq!(machine.serve(Occasion::Notified(TRANSMIT)), Ok(Served::More));
    machine.console.reset();
    machine.driver = ModelDriver::new(&machine.console, ENTRIES, 0);
    machine.driver.add(TRANSMIT, &[b"b"], &[]);
    assert_eq!(machine.serve(Occasion::Notified(TRANSMIT)), Ok(Served::All));
    assert_eq!(machine.printed.lock()[4096..], *b"b");
    assert_eq!(machine.driver.used(TRANSMIT).len(), 1);
}

#[test]
fn typing_rings_and_waits_until_the_driver_has_buffers() {
    let mut machine = Machine::new();
    assert_eq!(machine.console.push_input(b"hello"), 5);
    assert!(machine.doorbell.answer());
    assert_eq!(machine.serve(Occasion::Rung), Ok(Served::All));
    assert!(machine.received().is_empty());
    machine.driver.add(RECEIVE, &[], &[3]);
    machine.driver.add(RECEIVE, &[], &[64]);
    assert!(machine.driver.must_notify(RECEIVE));
    assert_eq!(machine.serve(Occasion::Notified(RECEIVE)), Ok(Served::All));
    assert_eq!(machine.received(), b"hello");
    assert_eq!(machine.driver.interrupts(RECEIVE), 1);
}

#[test]
fn no_more_is_taken_than_there_is_room_for() {
    let mut machine = Machine::new();
    assert_eq!(machine.console.push_input(&[b'x'; 5000]), 1024);
    assert_eq!((machine.console.push_input(b"y"), machine.console.room()), (0, 0));
    machine.driver.add(RECEIVE, &[], &[24]);
    assert_eq!(machine.serve(Occasion::Rung), Ok(Served::All));
    assert_eq!((machine.received().len(), machine.console.room()), (24, 24));
}

#[test]
fn a_buffer_for_input_that_cannot_be_written_breaks_the_rules() {
    let mut machine = Machine::new();
    machine.driver.add(RECEIVE, &[b"to read"], &[]);
    machine.console.push_input(b"x");
    assert_eq!(machine.serve(Occasion::Rung), Err(Broken::Request));
}

proptest! {
    #[test]
    fn what_is_typed_arrives_in_order(
        steps in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..200), prop::option::of(1..300_usize)),
            1..60,
        ),
    ) {
        let mut machine = Machine::new();
        let (mut typed, mut got) = (Vec::new(), Vec::new());
        for (bytes, buffer) in steps {
            let taken = machine.console.push_input(&bytes);
            typed.extend(&bytes[..taken]);
            if let Some(bytes) = buffer {
                machine.driver.add(RECEIVE, &[], &[bytes]);
            }
            prop_assert_eq!(machine.serve(Occasion::Rung), Ok(Served::All));
            got.extend(machine.received());
        }
        let waiting = 1024 - machine.console.room();
        prop_assert_eq!(got.len() + waiting, typed.len());
        prop_assert!(typed.starts_with(&got));
    }
}
