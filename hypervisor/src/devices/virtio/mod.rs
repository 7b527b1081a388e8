// SPDX-License-Identifier: MIT OR Apache-2.0
//! Virtio devices (Virtual I/O Device version 1.2): what a device is to the transport by which a guest's driver finds it.

pub mod block;
pub mod console;
pub mod doorbell;
pub mod entropy;
#[cfg(test)]
pub(crate) mod model;
pub mod net;
pub mod queue;
pub mod transport;

use crate::mmu::GuestMemory;
use crate::mmu::Unbacked;
use alloc::sync::Arc;
use core::fmt;
use core::fmt::Debug;
use doorbell::Doorbell;
use queue::Queue;
use spin::Mutex;

/// What a device is (virtio 1.2, 5, "Device Types").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceId(pub u16);

impl DeviceId {
    /// A network card.
    pub const NETWORK: Self = Self(1);
    /// A block device.
    pub const BLOCK: Self = Self(2);
    /// A console.
    pub const CONSOLE: Self = Self(3);
    /// A source of entropy.
    pub const ENTROPY: Self = Self(4);
}

/// Why a device is asked to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Its driver has notified the queue of that index.
    Notified(u16),
    /// Somebody has rung its doorbell.
    Rung,
}

/// What a device has done of what was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// All.
    All,
    /// As much as should be done at a time: it wants to be asked again.
    More,
}

/// A driver has broken the rules: its device needs a reset (virtio 1.2, 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A ring, a descriptor or a buffer lies where the guest has no memory.
    Memory,
    /// A descriptor's index is not below the queue's size.
    Index,
    /// A chain of descriptors has more of them than its table, as one that loops.
    Loop,
    /// More was made available than the queue holds.
    Overrun,
    /// An indirect table has a length that no table can have, or lies in another one.
    Indirect,
    /// A buffer for the device to read comes after one for it to write.
    Order,
    /// A buffer has no bytes.
    Empty,
    /// A queue's size is no power of two, or more than was offered.
    Size,
    /// A part of a queue is not aligned as it must be.
    Alignment,
    /// A request is not what the device's chapter says.
    Request,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "it names memory that the guest does not have",
            Self::Index => "a descriptor's index is beyond its table",
            Self::Loop => "a chain of descriptors has more than its table",
            Self::Overrun => "more is available than the queue holds",
            Self::Indirect => "an indirect table cannot be one",
            Self::Order => "a buffer to read comes after one to write",
            Self::Empty => "a buffer has no bytes",
            Self::Size => "a queue's size is no power of two, or more than was offered",
            Self::Alignment => "a part of a queue is not aligned",
            Self::Request => "a request is not one of this device",
        })
    }
}

impl From<Unbacked> for Broken {
    fn from(_: Unbacked) -> Self {
        Self::Memory
    }
}

/// How a device tells its driver that something has happened.
pub trait Interrupts {
    /// Buffers of that queue were used.
    fn queue(&self, queue: u16);
    /// The device's configuration has changed.
    fn configuration(&self);
}

/// A device's driver, while the device works for it.
pub struct Driver<'a> {
    /// The guest's memory.
    pub memory: &'a dyn GuestMemory,
    /// The device's queues. Each is locked while it is worked on, for a bounded time.
    pub queues: &'a [Mutex<Queue>],
    /// The features that it has accepted.
    pub features: u64,
    /// How it is interrupted.
    pub interrupts: &'a dyn Interrupts,
}

impl Driver<'_> {
    /// Has `work` work on the queue of that index, while the guest's memory is held for it. Shows the driver what that has staged,
    /// and interrupts it once for all of it, if it wants that: what was done before it broke a rule is done.
    pub fn work(
        &self,
        index: u16,
        mut work: impl FnMut(&mut Queue, &dyn GuestMemory) -> Result<Served, Broken>,
    ) -> Result<Served, Broken> {
        let Some(queue) = self.queues.get(usize::from(index)) else { return Ok(Served::All) };
        let mut queue = queue.lock();
        let (mut served, mut interrupt) = (Ok(Served::All), Ok(false));
        self.memory.hold(&mut |memory| {
            served = work(&mut queue, memory);
            interrupt = show(&mut queue, memory);
        });
        if interrupt? {
            self.interrupts.queue(index);
        }
        served
    }

    /// As [`work`](Self::work), for one that may have to wait: nothing is held.
    pub fn work_slowly(
        &self,
        index: u16,
        work: impl FnOnce(&mut Queue) -> Result<Served, Broken>,
    ) -> Result<Served, Broken> {
        let Some(queue) = self.queues.get(usize::from(index)) else { return Ok(Served::All) };
        let mut queue = queue.lock();
        let served = work(&mut queue);
        if show(&mut queue, self.memory)? {
            self.interrupts.queue(index);
        }
        served
    }
}

/// Shows the driver what is staged. Whether it wants an interrupt for that.
fn show(queue: &mut Queue, memory: &dyn GuestMemory) -> Result<bool, Broken> {
    queue.publish(memory)?;
    queue.should_interrupt(memory)
}

impl Debug for Driver<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("features", &self.features).finish_non_exhaustive()
    }
}

/// What a device is to its transport. Its own state is behind locks of its own: vCPUs call at the same time.
pub trait Device: Debug + Send + Sync {
    /// What it is.
    fn id(&self) -> DeviceId;
    /// The features that it offers beside the transport's.
    fn features(&self) -> u64;
    /// The most entries of each of its queues: powers of two.
    fn queue_sizes(&self) -> &[u16];
    /// Its configuration from `offset` on. What is beyond its end is zero.
    fn configuration(&self, offset: usize, buffer: &mut [u8]);
    /// The driver writes to its configuration.
    fn write_configuration(&self, _offset: usize, _bytes: &[u8]) {}
    /// Once, when its machine is made: how it asks to be served.
    fn connect(&self, _doorbell: Doorbell) {}
    /// The driver is ready, and has accepted these features (DRIVER_OK).
    fn start(&self, _features: u64) {}
    /// As after power-on. Nothing is served until it is started again.
    fn reset(&self) {}
    /// Works, for a bounded time: 64 requests or 256 KiB are about enough.
    fn serve(&self, occasion: Occasion, driver: &Driver<'_>) -> Result<Served, Broken>;
}

/// A device that others have a hand in, too.
impl<D: Device> Device for Arc<D> {
    fn id(&self) -> DeviceId {
        (**self).id()
    }

    fn features(&self) -> u64 {
        (**self).features()
    }

    fn queue_sizes(&self) -> &[u16] {
        (**self).queue_sizes()
    }

    fn configuration(&self, offset: usize, buffer: &mut [u8]) {
        (**self).configuration(offset, buffer);
    }

    fn write_configuration(&self, offset: usize, bytes: &[u8]) {
        (**self).write_configuration(offset, bytes);
    }

    fn connect(&self, doorbell: Doorbell) {
        (**self).connect(doorbell);
    }

    fn start(&self, features: u64) {
        (**self).start(features);
    }

    fn reset(&self) {
        (**self).reset();
    }

    fn serve(&self, occasion: Occasion, driver: &Driver<'_>) -> Result<Served, Broken> {
        (**self).serve(occasion, driver)
    }
}
