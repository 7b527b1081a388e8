// SPDX-License-Identifier: MIT OR Apache-2.0
//! The card against a driver, and cards against each other.

mod between_cards;
mod hostile;

use super::*;
use crate::devices::switch::Switches;
use crate::devices::switch::counters::Counters;
use crate::devices::virtio::model::ModelDriver;
use crate::devices::virtio::model::Used;
use crate::devices::virtio::queue::EVENT_INDEX;
use crate::vm::model::ModelNeighbours;
use crate::vm::model::machine;

const EVERYBODY: Mac = Mac([0xFF; 6]);

/// A card and its driver.
struct Machine {
    card: NetworkCard,
    driver: ModelDriver,
    doorbell: Doorbell,
}

fn mac(number: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, number])
}

impl Machine {
    fn new(switches: &Switches, number: u8, features: u64) -> Self {
        let card = NetworkCard::new(mac(number), switches.port("lan", "test").expect("there are free ports"));
        let doorbell = Doorbell::new(machine(1, ModelNeighbours::new()).posts);
        card.connect(doorbell.clone());
        let driver = ModelDriver::new(&card, ENTRIES, features);
        Self { card, driver, doorbell }
    }

    /// Gives the device a frame to send, behind a header. `false`: there is no room.
    fn post(&mut self, frame: &[u8]) -> bool {
        self.driver.add(TRANSMIT, &[&[0; HEADER], frame], &[]).is_some()
    }

    /// Sends one frame.
    fn send(&mut self, frame: &[u8]) {
        assert!(self.post(frame));
        assert_eq!(self.serve(Occasion::Notified(TRANSMIT)), Ok(Served::All));
        let _ = self.driver.used(TRANSMIT);
    }

    fn refill(&mut self, buffers: usize, bytes: usize) {
        for _ in 0..buffers {
            let _ = self.driver.add(RECEIVE, &[], &[bytes]);
        }
    }

    fn serve(&self, occasion: Occasion) -> Result<Served, Broken> {
        self.driver.serve(&self.card, occasion)
    }

    /// Serves for as long as the doorbell rings or the device wants to.
    fn answer(&self) {
        while self.doorbell.answer() {
            if self.serve(Occasion::Rung) == Ok(Served::More) {
                self.doorbell.ring();
            }
        }
    }

    /// The frames that the driver has got since it looked last.
    fn received(&mut self) -> Vec<Vec<u8>> {
        let mut used = self.driver.used(RECEIVE).into_iter();
        let mut frames = Vec::new();
        while let Some(Used { written: mut packet, .. }) = used.next() {
            let mut count = 1;
            while packet.len() < HEADER {
                packet.extend(used.next().expect("a header is whole").written);
                count += 1;
            }
            let buffers = u16::from_le_bytes([packet[10], packet[11]]);
            assert_eq!(packet[..10], [0; 10], "nothing is offloaded");
            for more in used.by_ref().take(usize::from(buffers) - count) {
                packet.extend(more.written);
            }
            frames.push(packet.split_off(HEADER));
        }
        frames
    }

    fn counters(&self) -> Counters {
        self.card.port.counters()
    }
}

/// A frame whose contents begin with `number`.
fn frame(destination: Mac, source: Mac, number: u64, bytes: usize) -> Vec<u8> {
    let mut frame = [&destination.0[..], &source.0, &[0x08, 0x00], &number.to_le_bytes()].concat();
    frame.resize(bytes, number as u8);
    frame
}

fn two(features: u64) -> [Machine; 2] {
    let switches = Switches::new();
    [1, 2].map(|number| Machine::new(&switches, number, features))
}

#[test]
fn the_configuration_tells_address_link_and_mtu_however_it_is_read() {
    let card = NetworkCard::new(mac(7), Switches::new().port("lan", "test").expect("there are free ports"));
    let expected = [0x52, 0x54, 0, 0, 0, 7, 1, 0, 0, 0, 0xDC, 0x05, 0, 0, 0, 0];
    for offset in 0..expected.len() {
        for bytes in 0..=expected.len() - offset {
            let mut buffer = vec![0xAA; bytes];
            card.configuration(offset, &mut buffer);
            assert_eq!(buffer, expected[offset..offset + bytes]);
        }
    }
    let mut beyond = [0xAA; 4];
    card.configuration(usize::MAX, &mut beyond);
    assert_eq!(beyond, [0; 4]);
}

#[test]
fn a_frame_that_is_sent_is_received_behind_a_header_of_one_buffer() {
    let [mut a, mut b] = two(0);
    b.refill(1, 1526);
    let sent = frame(mac(2), mac(1), 0x0102, 1514);
    a.send(&sent);
    b.answer();
    let used = b.driver.used(RECEIVE);
    assert_eq!(used[0].written[..HEADER], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(used[0].written[HEADER..], sent);
    assert_eq!(used.len(), 1);
}

#[test]
fn what_finds_no_buffer_waits_for_one_of_which_the_driver_has_to_tell() {
    for features in [0, EVENT_INDEX] {
        let [mut a, mut b] = two(features);
        a.send(&frame(mac(2), mac(1), 0, 60));
        b.answer();
        assert!(b.received().is_empty());
        b.refill(4, 1526);
        assert!(b.driver.must_notify(RECEIVE));
        assert_eq!(b.serve(Occasion::Notified(RECEIVE)), Ok(Served::All));
        assert_eq!(b.received(), [frame(mac(2), mac(1), 0, 60)]);
        assert_eq!(b.counters().dropped, 0);
    }
}

#[test]
fn the_driver_need_not_tell_of_buffers_while_there_are_some() {
    for features in [0, EVENT_INDEX] {
        let [mut a, mut b] = two(features);
        b.refill(4, 1526);
        let _ = b.driver.must_notify(RECEIVE);
        for number in 0..20 {
            a.send(&frame(mac(2), mac(1), number, 60));
            b.answer();
            assert_eq!(b.received(), [frame(mac(2), mac(1), number, 60)]);
            b.refill(1, 1526);
            assert!(!b.driver.must_notify(RECEIVE));
        }
    }
}

#[test]
fn small_buffers_share_a_packet_where_they_may() {
    let [mut a, mut b] = two(MERGEABLE);
    for bytes in [1, 11, 12, 13, 60, 763, 1525] {
        let sent = frame(mac(2), mac(1), 5, 700);
        b.refill(256, bytes);
        a.send(&sent);
        b.answer();
        let buffers = (HEADER + 700).div_ceil(bytes);
        let used = b.driver.used(RECEIVE);
        if buffers > 64 {
            assert!(used.is_empty());
        } else {
            assert!(
                used.len() == buffers && used.iter().rev().skip(1).all(|used| used.written.len() == bytes)
            );
            let packet: Vec<_> = used.iter().flat_map(|used| used.written.clone()).collect();
            assert_eq!(packet[..HEADER], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, buffers as u8, 0]);
            assert_eq!(packet[HEADER..], sent);
        }
        assert_eq!(b.counters().dropped, u64::from(buffers > 64), "of {bytes} bytes each");
        [a, b] = two(MERGEABLE);
    }
}

#[test]
fn a_packet_that_lacks_some_buffers_waits_for_the_rest() {
    for features in [MERGEABLE, MERGEABLE | EVENT_INDEX] {
        let [mut a, mut b] = two(features);
        let sent = frame(mac(2), mac(1), 5, 1000);
        b.refill(3, 300);
        a.send(&sent);
        b.answer();
        assert!(b.received().is_empty());
        let _ = b.driver.must_notify(RECEIVE);
        b.refill(1, 300);
        assert!(b.driver.must_notify(RECEIVE));
        assert_eq!(b.serve(Occasion::Notified(RECEIVE)), Ok(Served::All));
        assert_eq!(b.received(), [sent]);
    }
}

#[test]
fn what_is_too_long_for_the_buffers_is_dropped_and_the_next_one_gets_them() {
    let [mut a, mut b] = two(0);
    b.refill(1, 500);
    a.send(&frame(mac(2), mac(1), 0, 1000));
    a.send(&frame(mac(2), mac(1), 1, 400));
    b.answer();
    assert_eq!(b.received(), [frame(mac(2), mac(1), 1, 400)]);
    assert_eq!(b.counters().dropped, 1);
}

#[test]
fn a_batch_interrupts_once() {
    for features in [0, EVENT_INDEX] {
        let [mut a, mut b] = two(features);
        b.refill(40, 1526);
        for number in 0..40 {
            assert!(a.post(&frame(mac(2), mac(1), number, 60)));
        }
        assert_eq!(a.serve(Occasion::Notified(TRANSMIT)), Ok(Served::All));
        b.answer();
        assert_eq!((a.driver.interrupts(TRANSMIT), b.driver.interrupts(RECEIVE)), (1, 1));
        assert_eq!((a.driver.interrupts(RECEIVE), b.driver.interrupts(TRANSMIT)), (0, 0));
        assert_eq!(b.received().len(), 40);
    }
}

#[test]
fn a_sender_is_served_for_a_bounded_time_which_its_copies_count_for() {
    for receivers in [1, 4, 100] {
        let switches = Switches::new();
        let mut a = Machine::new(&switches, 1, 0);
        let others: Vec<_> =
            (0..receivers).map(|_| switches.port("lan", "test").expect("there are free ports")).collect();
        let turn = 128_usize.div_ceil(1 + others.len());
        for number in 0..=turn as u64 {
            assert!(a.post(&frame(EVERYBODY, mac(1), number, 60)));
        }
        assert_eq!(a.serve(Occasion::Notified(TRANSMIT)), Ok(Served::More));
        assert_eq!(a.driver.used(TRANSMIT).len(), turn);
        assert_eq!(a.serve(Occasion::Rung), Ok(Served::All));
        assert_eq!(a.driver.used(TRANSMIT).len(), 1);
        let _ = a.driver.must_notify(TRANSMIT);
        assert!(a.post(&frame(EVERYBODY, mac(1), 0, 60)) && a.driver.must_notify(TRANSMIT));
    }
}

#[test]
fn a_receiver_is_served_for_a_bounded_time() {
    let [mut a, mut b] = two(0);
    b.refill(200, 1526);
    for number in 0..100 {
        a.send(&frame(mac(2), mac(1), number, 60));
    }
    assert_eq!(b.serve(Occasion::Rung), Ok(Served::More));
    assert_eq!(b.received().len(), 64);
    assert_eq!(b.serve(Occasion::Rung), Ok(Served::All));
    assert_eq!(b.received().len(), 36);
}

#[test]
fn a_reset_drops_what_waits() {
    let [mut a, mut b] = two(0);
    for number in 0..3 {
        a.send(&frame(mac(2), mac(1), number, 60));
        // Taken, and not delivered.
        b.answer();
    }
    b.card.reset();
    a.send(&frame(mac(2), mac(1), 3, 60));
    b.driver = ModelDriver::new(&b.card, ENTRIES, 0);
    b.refill(9, 1526);
    a.send(&frame(mac(2), mac(1), 4, 60));
    b.answer();
    assert_eq!(b.received(), [frame(mac(2), mac(1), 4, 60)]);
    assert_eq!((b.counters().received.packets, b.counters().dropped), (1, 4));
}

#[test]
fn a_packet_without_a_whole_header_breaks_the_rules() {
    let [mut a, _b] = two(0);
    a.driver.add(TRANSMIT, &[&[0; HEADER - 1]], &[]);
    assert_eq!(a.serve(Occasion::Notified(TRANSMIT)), Err(Broken::Request));
}

#[test]
fn a_frame_of_a_length_that_none_has_is_used_and_refused() {
    let [mut a, b] = two(0);
    for bytes in [0_usize, 13, 1515, 1519, 4096] {
        let frame = vec![1; bytes];
        let packet = [&[0; HEADER][..], &frame];
        a.driver.add(TRANSMIT, &packet[..1 + usize::from(bytes > 0)], &[]);
        assert_eq!(a.serve(Occasion::Notified(TRANSMIT)), Ok(Served::All));
        assert_eq!(a.driver.used(TRANSMIT).len(), 1);
    }
    assert_eq!(a.counters().refused, 5);
    assert!(!b.doorbell.answer());
}

#[test]
fn what_was_done_before_a_rule_was_broken_is_done() {
    let [mut a, mut b] = two(0);
    b.refill(1, 1526);
    assert!(a.post(&frame(mac(2), mac(1), 0, 60)));
    a.driver.add(TRANSMIT, &[&[0; HEADER - 1]], &[]);
    assert_eq!(a.serve(Occasion::Notified(TRANSMIT)), Err(Broken::Request));
    assert_eq!((a.driver.used(TRANSMIT).len(), a.driver.interrupts(TRANSMIT)), (1, 1));
    b.answer();
    assert_eq!(b.received().len(), 1);
}
