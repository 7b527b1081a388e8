// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device against a driver.

use super::*;
use crate::devices::virtio::Interrupts;
use crate::devices::virtio::queue::model::ModelDriver;
use crate::devices::virtio::queue::model::Offered;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::mmu::model::ModelMemory;
use proptest::prelude::*;
use std::boxed::Box;
use std::cell::Cell;
use std::vec;
use std::vec::Vec;

const RINGS: u64 = 0x1000;
/// Where headers and status bytes are, and data.
const HEADER: u64 = 0x10_0000;
const STATUS: u64 = 0x10_0100;
const DATA: u64 = 0x20_0000;
const DATA_BYTES: u64 = 0x10_0000;

const DONE: u8 = 0;
const FAILED: u8 = 1;
const UNSUPPORTED: u8 = 2;
/// No device writes it.
const UNTOUCHED: u8 = 0xee;

/// Counts the interrupts of its queue.
#[derive(Default)]
struct Counted(Cell<u32>);

impl Interrupts for Counted {
    fn queue(&self, queue: u16) {
        assert_eq!(queue, 0);
        self.0.set(self.0.get() + 1);
    }

    fn configuration(&self) {
        panic!("the configuration does not change");
    }
}

/// A device and its driver.
struct Pair {
    device: Block,
    memory: ModelMemory,
    queues: [Mutex<Queue>; 1],
    driver: ModelDriver,
    interrupts: Counted,
}

impl Pair {
    fn new(disk: Disk) -> Self {
        let memory = ModelMemory::new(&[RINGS..0x6_0000, HEADER..HEADER + 0x1000, DATA..DATA + DATA_BYTES]);
        let driver = ModelDriver::new(128, RINGS, true);
        let mut queue = Queue::new(QUEUE);
        driver.set_up(&mut queue);
        let queues = [Mutex::new(queue)];
        Self { device: Block::new(disk, "disk"), memory, queues, driver, interrupts: Counted::default() }
    }

    fn serve(&self) -> Result<Served, Broken> {
        let driver =
            Driver { memory: &self.memory, queues: &self.queues, features: 0, interrupts: &self.interrupts };
        self.device.serve(Occasion::Notified(0), &driver)
    }

    /// Carries out one request whose header is there, with these buffers.
    fn one(&mut self, buffers: &[Offered]) -> Result<u32, Broken> {
        self.driver.offer(&self.memory, buffers, buffers.len() > 1).unwrap();
        self.driver.publish(&self.memory);
        self.serve()?;
        let (_, written) = self.driver.reap(&self.memory).expect("the request was carried out");
        Ok(written)
    }

    /// What becomes of a request: its status, and what was written.
    fn request(&mut self, kind: u32, sector: u64, data: &[Offered]) -> (u8, u32) {
        self.put_header(kind, sector);
        self.memory.write(GuestPhysical(STATUS), &[UNTOUCHED]).unwrap();
        let mut buffers = vec![readable(HEADER, 16)];
        buffers.extend_from_slice(data);
        buffers.push(writable(STATUS, 1));
        let written = self.one(&buffers).unwrap();
        (self.memory.bytes(STATUS, 1)[0], written)
    }

    fn put_header(&self, kind: u32, sector: u64) {
        let header = [u64::from(kind), sector].map(u64::to_le_bytes).concat();
        self.memory.write(GuestPhysical(HEADER), &header).unwrap();
    }

    fn read(&mut self, sector: u64, bytes: u32) -> Vec<u8> {
        assert_eq!(self.request(0, sector, &[writable(DATA, bytes)]), (DONE, bytes + 1));
        self.memory.bytes(DATA, bytes as usize)
    }

    fn write(&mut self, sector: u64, bytes: &[u8]) -> u8 {
        self.memory.write(GuestPhysical(DATA), bytes).unwrap();
        self.request(1, sector, &[readable(DATA, bytes.len() as u32)]).0
    }
}

fn readable(address: u64, bytes: u32) -> Offered {
    Offered { address, bytes, writable: false }
}

fn writable(address: u64, bytes: u32) -> Offered {
    Offered { address, bytes, writable: true }
}

/// Bytes of which no two sectors are alike.
fn content(bytes: usize) -> &'static [u8] {
    Box::leak((0..bytes).map(|n| (n / 512 * 7 + n) as u8).collect())
}

#[test]
fn a_file_is_read_as_it_is_and_zeros_follow_in_its_last_sector() {
    let file = content(2 * 4096 + 700);
    let mut pair = Pair::new(Disk::copy_on_write(file).unwrap());
    let mut capacity = [0; 8];
    pair.device.configuration(0, &mut capacity);
    assert_eq!(u64::from_le_bytes(capacity), 18);
    let read = pair.read(0, 18 * 512);
    assert_eq!(read[..file.len()], *file);
    assert!(read[file.len()..].iter().all(|&byte| byte == 0));
}

#[test]
fn the_configuration_ends_in_zeros() {
    let device = Block::new(Disk::read_only(content(512)), "");
    let mut all = [0xff; 32];
    device.configuration(8, &mut all);
    assert_eq!(all[..8], [0, 0, 1, 0, 126, 0, 0, 0]);
    assert_eq!(all[12..16], 512_u32.to_le_bytes());
    assert!(all[16..].iter().all(|&byte| byte == 0));
    device.configuration(usize::MAX, &mut all);
    assert_eq!(all, [0; 32]);
}

#[test]
fn what_is_written_is_read_until_it_is_forgotten_and_the_file_stays() {
    let file = content(4 * 4096);
    let mut pair = Pair::new(Disk::copy_on_write(file).unwrap());
    let before = pair.device.taken_bytes();
    assert_eq!(pair.write(9, &[0xaa; 1024]), DONE);
    let mut expected = file.to_vec();
    expected[9 * 512..11 * 512].fill(0xaa);
    assert_eq!(pair.read(0, 32 * 512), expected);
    assert_eq!(pair.device.taken_bytes(), before + 4096);
    pair.device.reset_disk();
    assert_eq!(pair.read(0, 32 * 512), file);
    assert_eq!(pair.device.taken_bytes(), before);
    // What a driver does to its device is not done to the disk.
    assert_eq!(pair.write(0, &[0xbb; 512]), DONE);
    pair.device.reset();
    assert_eq!(pair.read(0, 512), [0xbb; 512]);
}

#[test]
fn memory_for_all_of_a_disk_is_promised_and_a_disk_that_is_too_large_is_not_made() {
    let disk = Disk::blank(3).unwrap();
    assert_eq!((disk.sectors(), disk.taken_bytes()), (6144, 2 * 4096));
    assert_eq!(disk.promised_bytes(), (3 << 20) + 2 * 4096);
    Disk::blank(u32::MAX).unwrap_err();
}

#[test]
fn a_read_only_disk_says_so_and_refuses_writes() {
    let file = content(4096);
    let mut pair = Pair::new(Disk::read_only(file));
    assert_ne!(pair.device.features() & READ_ONLY, 0);
    assert_eq!(pair.write(0, &[1; 512]), FAILED);
    assert_eq!(pair.read(0, 4096), file);
    let writable = Block::new(Disk::blank(1).unwrap(), "");
    assert_eq!(writable.features() & READ_ONLY, 0);
}

#[test]
fn what_is_not_on_the_disk_or_no_whole_sectors_fails_and_touches_nothing() {
    let mut pair = Pair::new(Disk::blank(1).unwrap());
    pair.memory.write(GuestPhysical(DATA), &[UNTOUCHED; 1024]).unwrap();
    for (sector, bytes) in
        [(2048, 512), (2047, 1024), (u64::MAX, 512), (u64::MAX - 1, 1024), (1 << 55, 512), (0, 511), (0, 513)]
    {
        assert_eq!(pair.request(0, sector, &[writable(DATA, bytes)]), (FAILED, 0), "{sector} {bytes}");
        assert_eq!(pair.request(1, sector, &[readable(DATA, bytes)]).0, FAILED, "{sector} {bytes}");
    }
    assert_eq!(pair.memory.bytes(DATA, 1024), [UNTOUCHED; 1024]);
    assert_eq!(pair.device.taken_bytes(), 4096);
}

#[test]
fn a_request_that_is_larger_than_one_may_be_fails() {
    // More than all memory, but that is not looked at.
    let mut pair = Pair::new(Disk::blank(16).unwrap());
    let large = REQUEST_BYTES as u32 + 512;
    assert_eq!(pair.request(0, 0, &[writable(DATA, large)]), (FAILED, 0));
    assert_eq!(pair.request(1, 0, &[readable(DATA, large)]).0, FAILED);
}

#[test]
fn a_flush_is_done_and_a_name_is_told() {
    let mut pair = Pair::new(Disk::blank(1).unwrap());
    assert_eq!(pair.request(4, 0, &[]), (DONE, 1));
    assert_eq!(pair.request(8, 0, &[writable(DATA, 20)]), (DONE, 21));
    assert_eq!(pair.memory.bytes(DATA, 20), *b"disk\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    // No more than there is room for, and the status is where it belongs when there is more.
    assert_eq!(pair.request(8, 0, &[writable(DATA, 3)]), (DONE, 4));
    assert_eq!(pair.request(8, 0, &[writable(DATA, 100)]), (DONE, 20));
}

#[test]
fn kinds_that_are_not_known_are_answered() {
    let mut pair = Pair::new(Disk::blank(1).unwrap());
    for kind in [2, 3, 5, 11, 13, u32::MAX] {
        assert_eq!(pair.request(kind, 0, &[writable(DATA, 512)]), (UNSUPPORTED, 0));
    }
}

#[test]
fn header_and_status_may_be_cut_and_joined_in_any_way() {
    let file = content(4096);
    let mut pair = Pair::new(Disk::copy_on_write(file).unwrap());
    pair.put_header(0, 1);
    let cut =
        [readable(HEADER, 3), readable(HEADER + 3, 13), writable(DATA, 500), writable(DATA + 0x1000, 13)];
    assert_eq!(pair.one(&cut), Ok(513));
    assert_eq!(pair.memory.bytes(DATA, 500), file[512..1012]);
    assert_eq!(pair.memory.bytes(DATA + 0x1000, 13), [&file[1012..1024], &[DONE]].concat());
    // The header and what is written in one buffer.
    pair.put_header(1, 2);
    pair.memory.write(GuestPhysical(HEADER + 16), &[0x77; 512]).unwrap();
    assert_eq!(pair.one(&[readable(HEADER, 528), writable(STATUS, 1)]), Ok(1));
    assert_eq!(pair.read(2, 512), [0x77; 512]);
}

#[test]
fn a_request_without_a_header_or_a_status_byte_breaks_the_device() {
    let short = [readable(HEADER, 15), writable(STATUS, 1)];
    let without_status = [readable(HEADER, 16), readable(DATA, 512)];
    let without_header = [writable(DATA, 513)];
    for buffers in [&short[..], &without_status, &without_header] {
        let mut pair = Pair::new(Disk::blank(1).unwrap());
        pair.put_header(0, 0);
        assert_eq!(pair.one(buffers), Err(Broken::Request));
    }
}

#[test]
fn data_outside_of_memory_breaks_the_device_and_what_was_done_before_is_told() {
    let mut pair = Pair::new(Disk::blank(1).unwrap());
    pair.put_header(0, 0);
    let outside = [readable(HEADER, 16), writable(0xdead_0000, 512), writable(STATUS, 1)];
    let fine = [readable(HEADER, 16), writable(DATA, 512), writable(STATUS, 1)];
    for buffers in [fine, outside] {
        pair.driver.offer(&pair.memory, &buffers, true).unwrap();
    }
    pair.driver.publish(&pair.memory);
    assert_eq!(pair.serve(), Err(Broken::Memory));
    assert_eq!(pair.driver.reap(&pair.memory).map(|(_, written)| written), Some(513));
    assert_eq!((pair.driver.reap(&pair.memory), pair.interrupts.0.get()), (None, 1));
}

#[test]
fn more_than_an_exit_should_do_is_left_for_the_next() {
    let mut pair = Pair::new(Disk::blank(1).unwrap());
    pair.put_header(4, 0);
    for _ in 0..100 {
        pair.driver.offer(&pair.memory, &[readable(HEADER, 16), writable(STATUS, 1)], true).unwrap();
    }
    pair.driver.publish(&pair.memory);
    let reap = |pair: &mut Pair| core::iter::from_fn(|| pair.driver.reap(&pair.memory)).count();
    assert_eq!((pair.serve(), reap(&mut pair)), (Ok(Served::More), 64));
    assert_eq!((pair.serve(), reap(&mut pair)), (Ok(Served::All), 36));
    // By bytes, too.
    pair.put_header(0, 0);
    for _ in 0..2 {
        let half = [readable(HEADER, 16), writable(DATA, 256 << 10), writable(STATUS, 1)];
        pair.driver.offer(&pair.memory, &half, true).unwrap();
    }
    pair.driver.publish(&pair.memory);
    assert_eq!((pair.serve(), reap(&mut pair)), (Ok(Served::More), 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A disk is as an array of bytes is, however its requests are placed and cut.
    #[test]
    fn a_disk_holds_what_was_written_last(
        bytes in 0_usize..40_000,
        requests in prop::collection::vec((any::<bool>(), 0_u64..70, 1_u32..20, 1_u32..3000, any::<u8>(), 0_u8..20), 1..40),
    ) {
        let file = content(bytes);
        let mut model = file.to_vec();
        model.resize(bytes.next_multiple_of(512), 0);
        let mut pair = Pair::new(Disk::copy_on_write(file).unwrap());
        for (write, sector, sectors, cut, fill, reset) in requests {
            let (length, at) = (sectors * 512, (sector * 512) as usize);
            let there = at + length as usize <= model.len();
            // Two buffers, apart.
            let cut = cut.min(length - 1);
            let (first, second) = (DATA + 7, DATA + 0x8003);
            let (status, data) = if write {
                let data: Vec<u8> = (0..length).map(|n| n as u8 ^ fill).collect();
                pair.memory.write(GuestPhysical(first), &data[..cut as usize]).unwrap();
                pair.memory.write(GuestPhysical(second), &data[cut as usize..]).unwrap();
                (pair.request(1, sector, &[readable(first, cut), readable(second, length - cut)]).0, data)
            } else {
                let status = pair.request(0, sector, &[writable(first, cut), writable(second, length - cut)]).0;
                let data = [pair.memory.bytes(first, cut as usize), pair.memory.bytes(second, (length - cut) as usize)];
                (status, data.concat())
            };
            prop_assert_eq!(status, if there { DONE } else { FAILED });
            if there && write {
                model[at..at + length as usize].copy_from_slice(&data);
            } else if there {
                prop_assert_eq!(&data[..], &model[at..at + length as usize]);
            }
            if reset == 0 {
                pair.device.reset_disk();
                model.fill(0);
                model[..bytes].copy_from_slice(file);
            }
        }
    }
}

/// Virtio 1.2, 2.7.4: where a buffer ends means nothing. The name and the status may share one, of any length.
#[test]
fn a_name_is_cut_to_what_is_before_the_status_in_the_same_buffer() {
    for room in 0..=21 {
        let mut pair = Pair::new(Disk::blank(1).unwrap());
        pair.put_header(8, 0);
        pair.memory.write(GuestPhysical(DATA), &[UNTOUCHED; 32]).unwrap();
        let written = pair.one(&[readable(HEADER, 16), writable(DATA, room + 1)]).unwrap();
        let mut expected = *b"disk\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xee\xee";
        expected[room as usize] = DONE;
        let end = room as usize + 1;
        assert_eq!(pair.memory.bytes(DATA, end), expected[..end]);
        assert_eq!(written, if room <= 20 { room + 1 } else { 20 });
    }
}
