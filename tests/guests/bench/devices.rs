// SPDX-License-Identifier: MIT OR Apache-2.0
//! Virtio devices: a notification of one that has nothing to do, and reads of 4 KiB from a disk, alone and as one of many.

use super::instructions;
use tests::bench::Bench;
use tests::bench::Often;
use tests::bench::timed;
use tests::exerciser;
use tests::interrupts;
use tests::lane::PAGE;
use tests::pci;
use tests::physical;
use tests::verdict::expect;
use tests::verdict::expect_eq;
use tests::virtio;
use tests::virtio::Buffer;
use tests::virtio::Device;
use tests::virtio::Notification;
use tests::virtio::Queue;

/// Where a virtqueue and what its device reads and writes are.
const QUEUE: u64 = 8 << 20;
const BUFFER: u64 = 9 << 20;
/// Requests to a disk that are made at once.
const MANY: u64 = 32;
const READ: u64 = 0;
const SECTOR: u64 = 512;
const DISK_VECTOR: u8 = 0x51;

const ALONE: Often = Often { unit: 1, warm_up: 4, batch: 8, counted: 100, beside: 0 };
const TOGETHER: Often = Often { unit: MANY, warm_up: MANY, batch: MANY, counted: 8 * MANY, beside: 0 };

pub fn measure(bench: &mut Bench) {
    pci::find_in_memory();
    if let Some(device) = Device::find(virtio::ENTROPY)
        && let Notification::Port(port) = device.notification
    {
        expect("features are agreed on", device.agree(virtio::VERSION_1));
        let _queue = device.queue(0, 16, QUEUE, virtio::NO_VECTOR);
        device.start();
        bench.measure("virtio_notify", Often::AT_WILL, instructions::notify(port));
    }
    if let Some(device) = Device::find(virtio::BLOCK) {
        let mut disk = Disk::of(device);
        bench.measure("block_read_4k", ALONE, |blocks| disk.ticks(blocks, 1));
        bench.measure("block_read_4k_of_32", TOGETHER, |blocks| disk.ticks(blocks / MANY, MANY));
    }
}

/// A disk as a driver has it that gets interrupts, and waits for them.
struct Disk(Queue);

impl Disk {
    fn of(device: Device) -> Self {
        device.set_message(0, 0, DISK_VECTOR);
        device.set_messages(true, false);
        expect("features are agreed on", device.agree(virtio::VERSION_1 | virtio::EVENT_INDEX));
        let queue = device.queue(0, 128, QUEUE, 0);
        device.start();
        for request in 0..MANY {
            let [header, _, _] = places(request);
            physical::write(header, READ);
            physical::write(header + 8, request * PAGE / SECTOR);
        }
        Self(queue)
    }

    /// What it costs to read so often so many blocks at a time, from the first request to the last interrupt.
    fn ticks(&mut self, rounds: u64, blocks: u64) -> u64 {
        interrupts::forget();
        let ticks = (0..rounds).map(|_| timed(|| self.read(blocks))).sum();
        // A device that works beside us may have us see what it did before it interrupts.
        if exerciser::is_there() {
            expect_eq("interrupts", interrupts::count() as u64, rounds);
        }
        ticks
    }

    fn read(&mut self, blocks: u64) {
        let Self(queue) = self;
        let mut left = blocks;
        expect("nothing is used before it is offered", !queue.await_use());
        for request in 0..blocks {
            let [header, data, status] = places(request);
            physical::write(status, u8::MAX);
            let buffers = [Buffer::Read(header, 16), Buffer::Write(data, 4096), Buffer::Write(status, 1)];
            queue.offer(3 * request as u16, &buffers);
        }
        queue.notify_if_awaited();
        loop {
            interrupts::take_pending();
            while let Some((first, written)) = queue.used() {
                let [_, _, status] = places(u64::from(first) / 3);
                expect_eq("bytes written", written, 4097);
                expect_eq("status of the request", physical::read::<u8>(status), 0);
                left -= 1;
            }
            if left == 0 {
                return;
            }
            if !queue.await_use() {
                interrupts::wait();
            }
        }
    }
}

/// Header, data and status of a request.
fn places(request: u64) -> [u64; 3] {
    [BUFFER + 32 * request, BUFFER + (1 + request) * PAGE, BUFFER + 32 * request + 16]
}
