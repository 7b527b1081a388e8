// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver of virtio devices over PCI, as small as one can be (virtio 1.2, 2.7, 3.1 and 4.1).

use crate::pci;
use crate::pci::Function;
use crate::physical;
use crate::physical::Word;
use crate::ports;
use core::sync::atomic::Ordering;
use core::sync::atomic::fence;

/// A network card.
pub const NETWORK: u16 = 1;
/// A block device.
pub const BLOCK: u16 = 2;
/// A console.
pub const CONSOLE: u16 = 3;
/// A source of entropy.
pub const ENTROPY: u16 = 4;

/// Feature: each side says by index when it wants to hear of the other.
pub const EVENT_INDEX: u64 = 1 << 29;
/// Feature: the device is one of version 1 or later.
pub const VERSION_1: u64 = 1 << 32;

/// Status: the driver is ready.
pub const DRIVER_OK: u8 = 4;
/// Status: features are agreed on.
pub const FEATURES_OK: u8 = 8;
/// Status: the device needs a reset.
pub const NEEDS_RESET: u8 = 64;
const ACKNOWLEDGE_AND_DRIVER: u8 = 3;

/// No vector of MSI-X.
pub const NO_VECTOR: u16 = 0xffff;

/// Bytes of memory that a queue takes.
pub const QUEUE_BYTES: u64 = 0x3000;

/// Registers of the common configuration.
const DEVICE_FEATURE_SELECT: u64 = 0x00;
const DEVICE_FEATURE: u64 = 0x04;
const DRIVER_FEATURE_SELECT: u64 = 0x08;
const DRIVER_FEATURE: u64 = 0x0c;
const CONFIG_VECTOR: u64 = 0x10;
/// How many queues there are.
pub const NUM_QUEUES: u64 = 0x12;
/// The device's status.
pub const STATUS: u64 = 0x14;
/// Selects the queue that the registers behind it are of.
pub const QUEUE_SELECT: u64 = 0x16;
/// Entries of that queue.
pub const QUEUE_SIZE: u64 = 0x18;
const QUEUE_VECTOR: u64 = 0x1a;
/// Whether that queue is used.
pub const QUEUE_ENABLE: u64 = 0x1c;
/// Where its table of descriptors is; rings follow.
pub const QUEUE_DESC: u64 = 0x20;

/// How a device is notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notification {
    /// By OUT to a port.
    Port(u16),
    /// By a write to memory.
    Memory(u64),
}

/// A virtio device.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    /// On the bus.
    pub function: Function,
    /// Where the common configuration is.
    pub common: u64,
    /// Where ISR status is.
    pub isr: u64,
    /// Where the device's own configuration is.
    pub configuration: u64,
    /// How it is notified: the way that it names first.
    pub notification: Notification,
    /// Where MSI-X's table is.
    pub vectors: u64,
    /// Where MSI-X's pending bits are.
    pub pending: u64,
    /// Where its capability of MSI-X is.
    msix: u16,
}

impl Device {
    /// The first device of that kind.
    #[must_use]
    pub fn find(id: u16) -> Option<Self> {
        pci::functions()
            .find(|function| function.read::<u32>(0) == u32::from(0x1040 + id) << 16 | 0x1af4)
            .and_then(Self::of)
    }

    /// The virtio device that a function is, with all structures that it must have.
    #[must_use]
    pub fn of(function: Function) -> Option<Self> {
        let structure = |kind: u8| {
            let (at, _) = function
                .capabilities()
                .find(|&(at, id)| id == pci::VENDOR_SPECIFIC && function.read::<u8>(at + 3) == kind)?;
            let bar = function.read(at + 4);
            let is_port = function.read::<u32>(pci::BAR_0 + 4 * u16::from(bar)) & 1 != 0;
            Some((function.bar(bar) + u64::from(function.read::<u32>(at + 8)), is_port))
        };
        let (msix, _) = function.capabilities().find(|&(_, id)| id == pci::MSIX)?;
        let in_msix = |offset: u16| {
            let value: u32 = function.read(msix + offset);
            function.bar(value as u8 & 7) + u64::from(value & !7)
        };
        Some(Self {
            function,
            common: structure(1)?.0,
            notification: match structure(2)? {
                (port, true) => Notification::Port(port as u16),
                (address, false) => Notification::Memory(address),
            },
            isr: structure(3)?.0,
            configuration: structure(4)?.0,
            vectors: in_msix(4),
            pending: in_msix(8),
            msix,
        })
    }

    /// Reads a register of the common configuration.
    #[must_use]
    pub fn read<W: Word>(&self, register: u64) -> W {
        physical::read(self.common + register)
    }

    /// Writes a register of the common configuration.
    pub fn write<W: Word>(&self, register: u64, value: W) {
        physical::write(self.common + register, value);
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> u8 {
        self.read(STATUS)
    }

    /// Reads ISR status, which clears it.
    #[must_use]
    pub fn take_isr(&self) -> u8 {
        physical::read(self.isr)
    }

    /// The features that it offers.
    #[must_use]
    pub fn features(&self) -> u64 {
        [1, 0].into_iter().fold(0, |features, select: u32| {
            self.write(DEVICE_FEATURE_SELECT, select);
            features << 32 | u64::from(self.read::<u32>(DEVICE_FEATURE))
        })
    }

    /// Resets it, lets it use the bus, and accepts `features`. Whether it agrees.
    pub fn agree(&self, features: u64) -> bool {
        self.function.write(pci::COMMAND, pci::IO | pci::MEMORY | pci::BUS_MASTER);
        self.write(STATUS, 0_u8);
        while self.status() != 0 {}
        self.write(STATUS, ACKNOWLEDGE_AND_DRIVER);
        for select in [0, 1_u32] {
            self.write(DRIVER_FEATURE_SELECT, select);
            self.write(DRIVER_FEATURE, (features >> (32 * select)) as u32);
        }
        self.write(STATUS, ACKNOWLEDGE_AND_DRIVER | FEATURES_OK);
        self.status() & FEATURES_OK != 0
    }

    /// The driver is ready.
    pub fn start(&self) {
        self.write(STATUS, ACKNOWLEDGE_AND_DRIVER | FEATURES_OK | DRIVER_OK);
    }

    /// Has messages sent, or not, or held back.
    pub fn set_messages(&self, enabled: bool, masked: bool) {
        self.function.write(self.msix + 2, u16::from(enabled) << 15 | u16::from(masked) << 14);
    }

    /// The message of an entry of the table: `vector`, to the local APIC with that number.
    pub fn set_message(&self, entry: u64, apic: u8, vector: u8) {
        let at = self.vectors + 16 * entry;
        physical::write(at, 0xfee0_0000 | u32::from(apic) << 12);
        physical::write(at + 4, 0_u32);
        physical::write(at + 8, u32::from(vector));
        self.mask_message(entry, false);
    }

    /// Whether that message is held back.
    pub fn mask_message(&self, entry: u64, masked: bool) {
        physical::write(self.vectors + 16 * entry + 12, u32::from(masked));
    }

    /// The entry of the table that tells of changes of the configuration.
    pub fn set_configuration_vector(&self, entry: u16) {
        self.write(CONFIG_VECTOR, entry);
    }

    /// Sets the queue `index` up with `size` entries in [`QUEUE_BYTES`] at `memory`, which begins a page. Entry `vector` of the
    /// table tells of it.
    #[must_use]
    pub fn queue(&self, index: u16, size: u16, memory: u64, vector: u16) -> Queue {
        (0..QUEUE_BYTES).step_by(8).for_each(|at| physical::write(memory + at, 0_u64));
        self.write(QUEUE_SELECT, index);
        self.write(QUEUE_SIZE, size);
        self.write(QUEUE_VECTOR, vector);
        for (number, area) in (0..).zip([memory, memory + AVAILABLE, memory + USED]) {
            self.write(QUEUE_DESC + 8 * number, area as u32);
            self.write(QUEUE_DESC + 8 * number + 4, (area >> 32) as u32);
        }
        self.write(QUEUE_ENABLE, 1_u16);
        Queue { notification: self.notification, index, size, memory, offered: 0, told: 0, seen: 0 }
    }
}

/// Where the rings are in a queue's memory.
const AVAILABLE: u64 = 0x1000;
const USED: u64 = 0x2000;

/// Descriptor: the next one goes on.
const NEXT: u16 = 1;
/// Descriptor: the device writes.
const WRITE: u16 = 2;

/// A buffer for a device.
#[derive(Clone, Copy, Debug)]
pub enum Buffer {
    /// To be read: address and bytes.
    Read(u64, u32),
    /// To be written: address and bytes.
    Write(u64, u32),
}

/// A split virtqueue, as its driver has it. Descriptors are used in turn, so no more may be out than there are.
#[derive(Debug)]
pub struct Queue {
    notification: Notification,
    index: u16,
    size: u16,
    /// Where it is.
    pub memory: u64,
    /// How many chains were ever offered, how many of them when the device was told last, and how many came back: only the last
    /// 16 bits count.
    offered: u16,
    told: u16,
    seen: u16,
}

impl Queue {
    /// Offers a chain of buffers, of which the first uses the descriptor `first`, and the others those behind it.
    pub fn offer(&mut self, first: u16, buffers: &[Buffer]) {
        for (number, buffer) in (first..).zip(buffers) {
            let (address, bytes, flags) = match *buffer {
                Buffer::Read(address, bytes) => (address, bytes, 0),
                Buffer::Write(address, bytes) => (address, bytes, WRITE),
            };
            let is_last = usize::from(number - first) + 1 == buffers.len();
            let flags = if is_last { flags } else { flags | NEXT };
            let at = self.memory + 16 * u64::from(number % self.size);
            physical::write(at, address);
            physical::write(at + 8, bytes);
            physical::write(at + 12, flags);
            physical::write(at + 14, (number + 1) % self.size);
        }
        let ring = self.memory + AVAILABLE;
        physical::write(ring + 4 + 2 * u64::from(self.offered % self.size), first);
        self.offered = self.offered.wrapping_add(1);
        fence(Ordering::SeqCst);
        physical::write(ring + 2, self.offered);
        fence(Ordering::SeqCst);
    }

    /// Tells the device that there is something.
    pub fn notify(&self) {
        match self.notification {
            Notification::Port(port) => ports::out_u16(port, self.index),
            Notification::Memory(address) => physical::write(address, self.index),
        }
    }

    /// Tells the device what was offered since, if it wants to hear of that. With [`EVENT_INDEX`] (virtio 1.2, 2.7.10).
    pub fn notify_if_awaited(&mut self) {
        let event: u16 = physical::read(self.memory + USED + 4 + 8 * u64::from(self.size));
        let (before, now) = (core::mem::replace(&mut self.told, self.offered), self.offered);
        if now.wrapping_sub(event).wrapping_sub(1) < now.wrapping_sub(before) {
            self.notify();
        }
    }

    /// Asks for an interrupt when the next chain is used. With [`EVENT_INDEX`]. Whether one is already, and of that none comes.
    #[must_use]
    pub fn await_use(&self) -> bool {
        physical::write(self.memory + AVAILABLE + 4 + 2 * u64::from(self.size), self.seen);
        fence(Ordering::SeqCst);
        physical::read::<u16>(self.memory + USED + 2) != self.seen
    }

    /// The next chain that the device has used: its first descriptor, and how many bytes were written.
    pub fn used(&mut self) -> Option<(u32, u32)> {
        let ring = self.memory + USED;
        if physical::read::<u16>(ring + 2) == self.seen {
            return None;
        }
        fence(Ordering::SeqCst);
        let entry = ring + 4 + 8 * u64::from(self.seen % self.size);
        self.seen = self.seen.wrapping_add(1);
        Some((physical::read(entry), physical::read(entry + 4)))
    }
}
