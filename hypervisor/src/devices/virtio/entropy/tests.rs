// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device against a driver.

use super::*;
use crate::devices::virtio::Interrupts;
use crate::devices::virtio::queue::model::ModelDriver;
use crate::devices::virtio::queue::model::Offered;
use crate::mmu::model::ModelMemory;
use std::vec;
use std::vec::Vec;

const RINGS: u64 = 0x1000;
const DATA: u64 = 0x10_0000;
const DATA_BYTES: u64 = 0x2000;

struct Ignored;

impl Interrupts for Ignored {
    fn queue(&self, _: u16) {}

    fn configuration(&self) {
        panic!("there is no configuration");
    }
}

fn seven() -> Random {
    Random::model(|| Some(7))
}

/// What becomes of one request for `bytes` bytes; with what was written.
fn ask(device: &Entropy, buffer: Offered) -> Result<(u32, Vec<u8>), Broken> {
    let memory = ModelMemory::new(&[RINGS..0x2_0000, DATA..DATA + DATA_BYTES]);
    let mut driver = ModelDriver::new(16, RINGS, true);
    let mut queue = Queue::new(QUEUE);
    driver.set_up(&mut queue);
    driver.offer(&memory, &[buffer], false).unwrap();
    driver.publish(&memory);
    let queues = [Mutex::new(queue)];
    let side = Driver { memory: &memory, queues: &queues, features: 0, interrupts: &Ignored };
    assert_eq!(device.serve(Occasion::Notified(0), &side)?, Served::All);
    let (_, written) = driver.reap(&memory).expect("it was answered");
    Ok((written, memory.bytes(DATA, DATA_BYTES as usize)))
}

fn writable(bytes: u32) -> Offered {
    Offered { address: DATA, bytes, writable: true }
}

/// Whether bytes look random: each bit is set in about half of them.
fn looks_random(bytes: &[u8]) -> bool {
    (0..8).all(|bit| {
        let set = bytes.iter().filter(|&&byte| byte & 1 << bit != 0).count();
        (bytes.len() * 2 / 5..bytes.len() * 3 / 5).contains(&set)
    })
}

#[test]
fn a_buffer_is_filled_and_nothing_beyond_it() {
    let device = Entropy::new(seven()).unwrap();
    let (written, bytes) = ask(&device, writable(1000)).unwrap();
    assert_eq!(written, 1000);
    assert!(looks_random(&bytes[..1000]));
    assert_eq!(bytes[1000..], vec![0; DATA_BYTES as usize - 1000]);
}

#[test]
fn a_large_buffer_gets_a_page() {
    let device = Entropy::new(seven()).unwrap();
    let (written, bytes) = ask(&device, writable(0x2000)).unwrap();
    assert_eq!(written, 4096);
    assert!(looks_random(&bytes[..4096]) && bytes[4096..].iter().all(|&byte| byte == 0));
}

#[test]
fn a_request_with_nothing_to_write_breaks_the_device() {
    let device = Entropy::new(seven()).unwrap();
    let request = Offered { address: DATA, bytes: 8, writable: false };
    assert_eq!(ask(&device, request), Err(Broken::Request));
}

#[test]
fn no_two_requests_and_no_two_devices_get_the_same() {
    let devices = [Entropy::new(seven()).unwrap(), Entropy::new(seven()).unwrap()];
    let answers: Vec<_> =
        devices.iter().flat_map(|d| [0, 1].map(|_| ask(d, writable(64)).unwrap().1)).collect();
    for (number, answer) in answers.iter().enumerate() {
        assert!(!answers[..number].contains(answer));
    }
}

#[test]
fn without_random_numbers_there_is_no_device() {
    assert_eq!(Entropy::new(Random::model(|| None)).err(), Some(NoRandom));
}
