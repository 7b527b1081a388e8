// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device and driver at the same time: whatever the driver does between two accesses of the device, nothing gets lost.

use super::*;
use crate::mmu::Unbacked;
use std::cell::RefCell;

/// What the driver's side that reaps is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaper {
    Reaps,
    /// It has asked for an interrupt, and looks once more.
    LooksAgain,
    Sleeps,
}

/// A driver that makes so many chains available, one after the other, as fast as there is room.
struct Side {
    driver: ModelDriver,
    total: u16,
    offered: u16,
    reaped: u16,
    /// It has published, and is about to look whether it has to notify.
    published: bool,
    reaper: Reaper,
    notified: bool,
    interrupted: bool,
}

impl Side {
    /// The next step of the side that offers; `false`: it cannot do any.
    fn offer(&mut self, memory: &ModelMemory) -> bool {
        if self.published {
            self.notified |= self.driver.must_notify(memory);
            self.published = false;
            return true;
        }
        if self.offered == self.total {
            return false;
        }
        let place = BUFFERS + 8 * u64::from(self.offered);
        memory.write(GuestPhysical(place), &self.offered.to_le_bytes()).unwrap();
        let buffers = [readable(place, 1), readable(place + 1, 1), writable(place + 4, 2)];
        let offered = self.driver.offer(memory, &buffers, self.offered % 3 == 0);
        if offered.is_some() {
            self.offered += 1;
            self.driver.publish(memory);
            self.published = true;
        }
        offered.is_some()
    }

    /// The next step of the side that reaps; `false`: it sleeps.
    fn reap(&mut self, memory: &ModelMemory) -> bool {
        match self.reaper {
            Reaper::Reaps => match self.driver.reap(memory) {
                Some((_, written)) => {
                    assert_eq!(written, 2);
                    self.reaped += 1;
                }
                None => {
                    self.driver.want_interrupt(memory);
                    self.reaper = Reaper::LooksAgain;
                }
            },
            Reaper::LooksAgain if self.driver.has_used(memory) => self.wake(memory),
            Reaper::LooksAgain => self.reaper = Reaper::Sleeps,
            Reaper::Sleeps if self.interrupted => {
                self.interrupted = false;
                self.wake(memory);
            }
            Reaper::Sleeps => return false,
        }
        true
    }

    fn wake(&mut self, memory: &ModelMemory) {
        self.driver.refuse_interrupts(memory);
        self.reaper = Reaper::Reaps;
    }
}

/// Memory where the driver may take steps before each access of the device.
struct Shared {
    memory: ModelMemory,
    side: RefCell<Side>,
    /// How many steps of each kind, access by access; none beyond its end.
    script: RefCell<Vec<(u8, u8)>>,
}

impl Shared {
    fn play(&self) {
        let Some((offers, reaps)) = self.script.borrow_mut().pop() else { return };
        let mut side = self.side.borrow_mut();
        for _ in 0..offers {
            side.offer(&self.memory);
        }
        for _ in 0..reaps {
            side.reap(&self.memory);
        }
    }
}

impl GuestMemory for Shared {
    fn read(&self, address: GuestPhysical, buffer: &mut [u8]) -> Result<(), Unbacked> {
        self.play();
        self.memory.read(address, buffer)
    }

    fn write(&self, address: GuestPhysical, bytes: &[u8]) -> Result<(), Unbacked> {
        self.play();
        self.memory.write(address, bytes)
    }

    fn compare_exchange(&self, address: GuestPhysical, current: u64, new: u64) -> Result<bool, Unbacked> {
        self.memory.compare_exchange(address, current, new)
    }
}

/// How a device goes about its work.
#[derive(Clone, Copy, Debug)]
struct Habits {
    /// It says that it need not be notified while it works.
    suppresses: bool,
    /// It looks after each chain whether to interrupt, or at the end.
    interrupts_each: bool,
    /// So many are published at a time.
    staged: u16,
}

/// The device works until there is nothing more; gives the numbers that it found.
fn serve(queue: &mut Queue, shared: &Shared, chain: &mut Chain, habits: Habits) -> Vec<u16> {
    let mut found = vec![];
    let finish = |queue: &mut Queue| {
        queue.publish(shared).unwrap();
        if queue.should_interrupt(shared).unwrap() {
            shared.side.borrow_mut().interrupted = true;
        }
    };
    if habits.suppresses {
        queue.suppress_notifications(shared).unwrap();
    }
    loop {
        let popped = if habits.suppresses { Queue::pop } else { Queue::pop_or_await };
        if popped(queue, shared, chain).unwrap() {
            let mut number = [0; 2];
            assert_eq!((chain.read(shared, &mut number), chain.write(shared, &number)), (Ok(2), Ok(2)));
            found.push(u16::from_le_bytes(number));
            queue.stage(shared, chain, 2).unwrap();
            if found.len() as u16 % habits.staged == 0 {
                queue.publish(shared).unwrap();
            }
            if habits.interrupts_each {
                finish(queue);
            }
        } else if !habits.suppresses || !queue.await_notifications(shared).unwrap() {
            break;
        }
    }
    finish(queue);
    found
}

proptest! {
    /// All that the driver makes available is found, once and in order, and all that was used is reaped, though each side
    /// sleeps until it is told: with indices that wrap around, too.
    #[test]
    fn no_notification_and_no_interrupt_is_lost(
        script in prop::collection::vec((0_u8..4, 0_u8..4), 0..300),
        begin in prop_oneof![Just(0_u16), 0xffd0_u16..=0xffff, any::<u16>()],
        size in prop_oneof![Just(2_u16), Just(4), Just(16)],
        event_index: bool, suppresses: bool, interrupts_each: bool, staged in 1_u16..5,
    ) {
        let memory = memory();
        let (mut queue, mut driver, mut chain) = queue(size, event_index);
        driver.begin_at(&memory, begin);
        (queue.popped, queue.available, queue.awaited) = (begin, begin, begin);
        (queue.used, queue.published, queue.told) = (begin, begin, begin);
        // The direct chains of three need room.
        let total = if size > 2 { 60 } else { 1 };
        let side = Side {
            driver, total, offered: 0, reaped: 0, published: false, reaper: Reaper::Sleeps, notified: false, interrupted: false,
        };
        let shared = Shared { memory, side: RefCell::new(side), script: RefCell::new(script) };
        shared.side.borrow_mut().driver.want_interrupt(&shared.memory);
        let mut found = vec![];
        loop {
            let notified = core::mem::take(&mut shared.side.borrow_mut().notified);
            if notified {
                found.extend(serve(&mut queue, &shared, &mut chain, Habits { suppresses, interrupts_each, staged }));
                continue;
            }
            let mut side = shared.side.borrow_mut();
            let steps = [side.offer(&shared.memory), side.reap(&shared.memory)];
            if steps == [false, false] && !side.notified {
                break;
            }
        }
        let side = shared.side.borrow();
        prop_assert_eq!(found, (0..side.total).collect::<Vec<_>>());
        prop_assert_eq!((side.reaped, side.driver.outstanding()), (side.total, 0));
    }

    /// What a chain reads and writes is what the driver has put there, and where: however its buffers are cut and linked.
    #[test]
    fn chains_read_and_write_the_buffers_in_their_order(
        readable_bytes in prop::collection::vec(1_u32..40, 0..5),
        writable_bytes in prop::collection::vec(1_u32..40, 0..5),
        indirect: bool, step in 1_usize..30,
    ) {
        let memory = memory();
        let (mut queue, mut driver, mut chain) = queue(16, true);
        // Each has a gap after it, and they lie in the reverse of their order.
        let lengths = readable_bytes.iter().map(|&b| (b, false)).chain(writable_bytes.iter().map(|&b| (b, true)));
        let buffers: Vec<_> = lengths.enumerate().map(|(number, (bytes, writable))| {
            Offered { address: BUFFERS + 64 * (20 - number as u64), bytes, writable }
        }).collect();
        prop_assume!(!buffers.is_empty());
        let [total_read, total_written] = [&readable_bytes, &writable_bytes].map(|all| all.iter().sum::<u32>() as usize);
        let content: Vec<u8> = (0..total_read).map(|n| n as u8 ^ 0x5a).collect();
        let mut rest = &content[..];
        for buffer in buffers.iter().filter(|buffer| !buffer.writable) {
            let (here, later) = rest.split_at(buffer.bytes as usize);
            memory.write(GuestPhysical(buffer.address), here).unwrap();
            rest = later;
        }
        driver.offer(&memory, &buffers, indirect).unwrap();
        driver.publish(&memory);
        prop_assert_eq!(queue.pop(&memory, &mut chain), Ok(true));
        prop_assert_eq!((chain.readable(), chain.writable()), (total_read as u64, total_written as u64));

        let mut read = vec![];
        let mut piece = vec![0; step];
        while let Ok(bytes @ 1..) = chain.read(&memory, &mut piece) {
            read.extend_from_slice(&piece[..bytes]);
        }
        prop_assert_eq!(read, content);
        let result: Vec<u8> = (0..total_written).map(|n| n as u8 | 0x80).collect();
        for piece in result.chunks(step) {
            prop_assert_eq!(chain.write(&memory, piece), Ok(piece.len()));
        }
        prop_assert_eq!(chain.write(&memory, &[1]), Ok(0));
        prop_assert_eq!((chain.readable(), chain.writable()), (0, 0));
        let mut rest = &result[..];
        for buffer in buffers.iter().filter(|buffer| buffer.writable) {
            let (here, later) = rest.split_at(buffer.bytes as usize);
            prop_assert_eq!(memory.bytes(buffer.address, here.len()), here);
            // Nothing is written beyond it.
            prop_assert_eq!(memory.bytes(buffer.address + here.len() as u64, 8), vec![0; 8]);
            rest = later;
        }
    }
}
