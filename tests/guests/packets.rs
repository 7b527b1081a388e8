// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packets between two machines on one switch, as a driver sends and receives them that is interrupted: 32 go one way, and when
//! all are there as many come back.
//!
//! The one that is told `leads=1` begins, and tells what a packet costs: the TSC from its first notification until it has the
//! last one that comes back, by the number of all packets. With one CPU for both machines that is all that is done for them.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::effort;
use tests::interrupts;
use tests::lane::PAGE;
use tests::local_apic::LocalApic;
use tests::physical;
use tests::say;
use tests::start_info;
use tests::time;
use tests::verdict::expect;
use tests::verdict::expect_eq;
use tests::verdict::fail;
use tests::virtio;
use tests::virtio::Buffer;
use tests::virtio::Device;
use tests::virtio::Queue;

tests::program!(run);

/// Packets that go one way at a time.
const BATCH: u64 = 32;
/// Buffers for what comes.
const BUFFERS: u64 = 64;
const ENTRIES: u16 = 64;
/// Bytes of frames, without their check sequence: the longest, and the shortest.
const SIZES: [u32; 2] = [1514, 60];
const ROUNDS: u64 = 100;

/// Bytes before each frame, and the largest buffer that a frame needs.
const HEADER: u32 = 12;
const BUFFER: u32 = HEADER + 1514;

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
const VECTOR: u8 = 0x51;

/// Free RAM.
const QUEUES: u64 = 6 << 20;
const SENT: u64 = 7 << 20;
const RECEIVED: u64 = 8 << 20;

/// Where a frame has its number, behind addresses and type, at a multiple of its size.
const NUMBER: u64 = HEADER as u64 + 20;
/// The number of those that say that somebody is there.
const HELLO: u64 = u64::MAX;
/// For local experiments (IEEE 802).
const TYPE: u16 = 0x88b5_u16.to_be();

fn run() {
    let _ = LocalApic::enabled();
    let Some(device) = Device::find(virtio::NETWORK) else { fail("there is no network card") };
    let mut card = Card::of(device);
    let leads = start_info::number("leads").is_some();
    card.prepare(60, leads);
    card.meet_the_other(leads);
    for size in SIZES {
        card.prepare(size, leads);
        let mut ticks = 0;
        let rounds = effort::of(ROUNDS);
        for round in 0..=rounds {
            let start = time::tsc();
            if leads {
                card.send();
            }
            card.receive();
            if !leads {
                card.send();
            }
            // The first one is none of those that count.
            ticks += if round == 0 { 0 } else { time::tsc() - start };
        }
        if leads {
            say!("bench: packet_{size} {}", ticks / (2 * BATCH * rounds));
        }
    }
}

struct Card {
    receiver: Queue,
    transmitter: Queue,
    size: u32,
    sent: u64,
    received: u64,
}

impl Card {
    fn of(device: Device) -> Self {
        device.set_message(0, 0, VECTOR);
        device.set_messages(true, false);
        expect("features are agreed on", device.agree(virtio::VERSION_1 | virtio::EVENT_INDEX));
        let mut receiver = device.queue(RECEIVE, ENTRIES, QUEUES, 0);
        let transmitter = device.queue(TRANSMIT, ENTRIES, QUEUES + virtio::QUEUE_BYTES, virtio::NO_VECTOR);
        device.start();
        (0..BUFFERS).for_each(|buffer| receiver.offer(buffer as u16, &[received(buffer)]));
        receiver.notify();
        Self { receiver, transmitter, size: 0, sent: 0, received: 0 }
    }

    /// Makes frames of so many bytes, to the other one.
    fn prepare(&mut self, size: u32, leads: bool) {
        self.size = size;
        for frame in 0..BATCH {
            let at = sent(frame);
            (0..u64::from(HEADER + size)).for_each(|byte| physical::write(at + byte, 0_u8));
            physical::write(at + u64::from(HEADER) + 12, TYPE);
            // Both addresses are administered locally.
            for (place, last) in [(0, u8::from(!leads)), (6, u8::from(leads))] {
                physical::write(at + u64::from(HEADER) + place, 2_u8);
                physical::write(at + u64::from(HEADER) + place + 5, last);
            }
        }
    }

    fn send(&mut self) {
        for frame in 0..BATCH {
            self.offer(frame, self.sent);
            self.sent += 1;
        }
        self.transmit(BATCH);
    }

    fn offer(&mut self, frame: u64, number: u64) {
        physical::write(sent(frame) + NUMBER, number);
        self.transmitter.offer(frame as u16, &[Buffer::Read(sent(frame), HEADER + self.size)]);
    }

    /// What was offered is sent when this returns.
    fn transmit(&mut self, mut left: u64) {
        self.transmitter.notify_if_awaited();
        while left > 0 {
            left -= u64::from(self.transmitter.used().is_some());
        }
    }

    /// Takes as many packets as are sent at a time; they come in order, and none is missing.
    fn receive(&mut self) {
        let mut left = BATCH;
        while left > 0 {
            while left > 0
                && let Some((number, written)) = self.take()
            {
                if number != HELLO {
                    expect_eq("bytes of a packet", written, HEADER + self.size);
                    expect_eq("number of a packet", number, self.received);
                    self.received += 1;
                    left -= 1;
                }
            }
            self.receiver.notify_if_awaited();
            if left > 0 && !self.receiver.await_use() {
                interrupts::wait();
            }
        }
    }

    /// The number of a packet that has come, and how many bytes were written; its buffer is offered again.
    fn take(&mut self) -> Option<(u64, u32)> {
        let (buffer, written) = self.receiver.used()?;
        let number = physical::read(RECEIVED + u64::from(buffer) * PAGE + NUMBER);
        self.receiver.offer(buffer as u16, &[received(buffer.into())]);
        Some((number, written))
    }

    fn say_hello(&mut self) {
        self.offer(0, HELLO);
        self.transmit(1);
    }

    /// Until both are there: what one sends before is lost.
    fn meet_the_other(&mut self, leads: bool) {
        let mut is_met = false;
        while leads && !is_met {
            self.say_hello();
            time::spin(1_000);
            is_met = self.take().is_some();
        }
        while !leads && self.take().is_none() {}
        if !leads {
            self.say_hello();
        }
    }
}

fn sent(frame: u64) -> u64 {
    SENT + frame * PAGE
}

fn received(buffer: u64) -> Buffer {
    Buffer::Write(RECEIVED + buffer * PAGE, BUFFER)
}
