// SPDX-License-Identifier: MIT OR Apache-2.0
//! Virtio over PCI (virtio 1.2, 4.1): the function by which a driver finds a device, sets it up, notifies it, and hears of it.
//!
//! Locks are taken in this order: registers, a queue, lines, vectors. While the device works only its queues are locked.

mod common_configuration;
mod interrupter;
mod layout;
#[cfg(test)]
pub(crate) mod model;
mod slot;

pub use layout::MSIX_BAR;
pub use layout::NOTIFY_PORT_BAR;
pub use layout::Place;
pub use layout::STRUCTURES_BAR;
pub use slot::Slot;

use super::Broken;
use super::Device;
use super::Driver;
use super::Interrupts;
use super::Occasion;
use super::Served;
use super::doorbell::Doorbell;
use super::queue::EVENT_INDEX;
use super::queue::INDIRECT_DESCRIPTORS;
use super::queue::Queue;
use crate::devices::pci::configuration::ConfigurationSpace;
use crate::devices::pci::msix::MOST_VECTORS;
use crate::devices::pci::msix::MessageControl;
use crate::devices::pci::msix::Msix;
use alloc::boxed::Box;
use common_configuration::CommonConfiguration;
use common_configuration::Request;
use common_configuration::VERSION_1;
use core::ops::Range;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU8;
use core::sync::atomic::AtomicU16;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;
use interrupter::Interrupter;
use layout::Landmarks;
use spin::Mutex;
use spin::MutexGuard;
use zerocopy::IntoBytes;

/// What a vector is where there is none (4.1.4.3).
const NO_VECTOR: u16 = 0xFFFF;

/// ISR status: buffers of a queue were used; the configuration has changed (4.1.4.5).
const QUEUE_INTERRUPT: u8 = 1;
const CONFIGURATION_INTERRUPT: u8 = 2;

/// No ports are those of a notification.
const NOWHERE: u32 = u32::MAX;

/// The transport's own features.
const OF_TRANSPORT: u64 = VERSION_1 | EVENT_INDEX | INDIRECT_DESCRIPTORS;

/// What is behind configuration space and common configuration.
#[derive(Debug)]
struct Registers {
    space: ConfigurationSpace,
    common: CommonConfiguration,
}

/// A virtio device as a function of the bus.
#[derive(Debug)]
pub struct Function {
    number: u8,
    device: Box<dyn Device>,
    doorbell: Doorbell,
    queues: Box<[Mutex<Queue>]>,
    registers: Mutex<Registers>,
    landmarks: Landmarks,
    msix: Mutex<Msix>,
    /// The vector of each queue, and that of the configuration.
    vectors: Box<[AtomicU16]>,
    isr: AtomicU8,
    /// How often the device's configuration has changed.
    generation: AtomicU8,
    /// The first port of notifications, or [`NOWHERE`].
    notify_port: AtomicU32,
    /// The driver is ready, has not broken the rules, and lets the device use the bus.
    is_running: AtomicBool,
    /// The features that it has accepted.
    features: AtomicU64,
    interrupt_disabled: AtomicBool,
    /// How often drivers have broken the rules.
    breaches: AtomicU32,
}

impl Function {
    /// The function for `device`, as after reset.
    ///
    /// # Panics
    /// If the device has more queues than vectors can be had, or one of a size that none has.
    #[must_use]
    pub fn new(device: Box<dyn Device>, doorbell: Doorbell, place: Place) -> Self {
        device.connect(doorbell.clone());
        let queues: Box<[_]> =
            device.queue_sizes().iter().map(|&most| Mutex::new(Queue::new(most))).collect();
        assert!(queues.len() < usize::from(MOST_VECTORS), "{device:?} has too many queues");
        let msix = Msix::new(queues.len() as u16 + 1);
        let (space, landmarks) = layout::configuration_space(device.id(), msix.control(), place);
        let registers =
            Registers { space, common: CommonConfiguration::new(device.features() | OF_TRANSPORT) };
        let function = Self {
            number: place.device,
            vectors: (0..=queues.len()).map(|_| AtomicU16::new(NO_VECTOR)).collect(),
            device,
            doorbell,
            queues,
            landmarks,
            msix: Mutex::new(msix),
            isr: AtomicU8::new(0),
            generation: AtomicU8::new(0),
            notify_port: AtomicU32::new(NOWHERE),
            is_running: AtomicBool::new(false),
            features: AtomicU64::new(0),
            interrupt_disabled: AtomicBool::new(false),
            breaches: AtomicU32::new(0),
            registers: Mutex::new(registers),
        };
        function.follow(&function.registers.lock());
        function
    }

    /// What is looked at without a lock follows from the registers.
    fn follow(&self, registers: &Registers) {
        let (space, common) = (&registers.space, &registers.common);
        let port = space.decoded(layout::NOTIFY_PORT).map_or(NOWHERE, |ports| ports.start as u32);
        self.notify_port.store(port, Ordering::Relaxed);
        self.features.store(common.accepted(), Ordering::Relaxed);
        let command = space.command();
        self.interrupt_disabled.store(command.interrupt_disable(), Ordering::Relaxed);
        let is_running = common.is_running() && command.bus_master();
        if is_running && !self.is_running.load(Ordering::Relaxed) {
            // What has come before it was ready is served then.
            self.doorbell.ring();
        }
        self.is_running.store(is_running, Ordering::Release);
    }

    /// The first port by which this function is notified, if it is by any.
    #[inline]
    pub fn notify_port(&self) -> u32 {
        self.notify_port.load(Ordering::Relaxed)
    }

    /// The driver has notified the queue of that index.
    #[inline]
    pub fn notify(&self, queue: u16, slot: Slot<'_>) {
        if usize::from(queue) < self.queues.len() {
            self.serve(Occasion::Notified(queue), slot);
        }
    }

    /// Works, if its doorbell was rung.
    pub fn answer(&self, slot: Slot<'_>) {
        if self.doorbell.answer() {
            self.serve(Occasion::Rung, slot);
        }
    }

    #[inline]
    fn serve(&self, occasion: Occasion, slot: Slot<'_>) {
        if !self.is_running.load(Ordering::Acquire) {
            return;
        }
        let interrupts = Interrupter { function: self, slot };
        let driver = Driver {
            memory: slot.upstream.memory(),
            queues: &self.queues,
            features: self.features.load(Ordering::Relaxed),
            interrupts: &interrupts,
        };
        match self.device.serve(occasion, &driver) {
            Ok(Served::All) => {}
            Ok(Served::More) => self.doorbell.ring(),
            Err(broken) => self.break_off(self.registers.lock(), broken, slot),
        }
    }

    /// The driver has broken the rules, and is not served until it resets the device. It hears of that if it was ready (2.1.2).
    #[cold]
    fn break_off(&self, mut registers: MutexGuard<'_, Registers>, broken: Broken, slot: Slot<'_>) {
        registers.common.set_needs_reset();
        self.follow(&registers);
        let hears = registers.common.is_started();
        drop(registers);
        let breaches = self.breaches.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        // A driver can do this as often as it likes: the more often it does, the less often the log says so.
        if breaches.is_power_of_two() {
            let (id, number) = (self.device.id().0, self.number);
            log::warn!("virtio device {id} at 00:{number:02x}.0 needs a reset, breach {breaches}: {broken}");
        }
        if hears {
            Interrupter { function: self, slot }.configuration();
        }
    }

    /// The interrupt line follows from what is pending, unless messages take its place.
    fn update_line(&self, slot: Slot<'_>) {
        slot.lines.update(self.number, slot.upstream, || self.asserts_line());
    }

    fn asserts_line(&self) -> bool {
        self.isr.load(Ordering::SeqCst) != 0
            && !self.interrupt_disabled.load(Ordering::SeqCst)
            && !self.msix.lock().control().enabled()
    }

    /// Reads a BAR from `offset` on. What is no register reads as zero.
    pub fn read_bar(&self, bar: usize, offset: usize, buffer: &mut [u8], slot: Slot<'_>) {
        buffer.fill(0);
        match bar {
            layout::STRUCTURES => self.read_structures(offset, buffer, slot),
            layout::MSIX if offset < layout::PENDING => self.msix.lock().read_table(offset, buffer),
            layout::MSIX => self.msix.lock().read_pending(offset - layout::PENDING, buffer),
            _ => {}
        }
    }

    fn read_structures(&self, offset: usize, buffer: &mut [u8], slot: Slot<'_>) {
        if layout::COMMON.contains(&offset) {
            let common = self.common();
            let (from, to) = (&common.as_bytes()[offset..], buffer);
            let bytes = from.len().min(to.len());
            to[..bytes].copy_from_slice(&from[..bytes]);
        } else if layout::ISR.contains(&offset) {
            buffer[0] = self.isr.swap(0, Ordering::SeqCst);
            self.update_line(slot);
        } else if layout::DEVICE.contains(&offset) {
            self.device.configuration(offset - layout::DEVICE.start, buffer);
        }
    }

    fn common(&self) -> common_configuration::Registers {
        let registers = self.registers.lock();
        let vector = |index: usize| self.vectors[index].load(Ordering::Relaxed);
        let mut common = registers.common.read(&self.queues);
        let selected = registers.common.selected();
        common.queue_msix_vector = if selected < self.queues.len() { vector(selected) } else { NO_VECTOR };
        common.config_msix_vector = vector(self.queues.len());
        common.config_generation = self.generation.load(Ordering::SeqCst);
        common
    }

    /// Writes to a BAR at `offset`. What is no register takes nothing.
    pub fn write_bar(&self, bar: usize, offset: usize, bytes: &[u8], slot: Slot<'_>) {
        match bar {
            layout::STRUCTURES => self.write_structures(offset, bytes, slot),
            layout::NOTIFY_PORT if offset == 0 => self.notify_by(bytes, slot),
            layout::MSIX if offset < layout::PENDING => {
                self.msix.lock().write_table(offset, bytes, |message| slot.upstream.send(message));
            }
            _ => {}
        }
    }

    fn write_structures(&self, offset: usize, bytes: &[u8], slot: Slot<'_>) {
        if layout::COMMON.contains(&offset) {
            self.write_common(offset, bytes, slot);
        } else if offset == layout::NOTIFY.start {
            self.notify_by(bytes, slot);
        } else if layout::DEVICE.contains(&offset) {
            self.device.write_configuration(offset - layout::DEVICE.start, bytes);
        }
    }

    /// The index of a queue is written, in 16 bits or in more.
    fn notify_by(&self, bytes: &[u8], slot: Slot<'_>) {
        if let Some(index) = bytes.first_chunk() {
            self.notify(u16::from_le_bytes(*index), slot);
        }
    }

    fn write_common(&self, offset: usize, bytes: &[u8], slot: Slot<'_>) {
        let mut registers = self.registers.lock();
        match registers.common.write(offset, bytes, &self.queues) {
            Ok(Request::None) => {}
            Ok(Request::Reset) => self.reset(&mut registers, slot),
            Ok(Request::Start) => self.start(&registers),
            Ok(Request::ConfigurationVector(vector)) => self.set_vector(self.queues.len(), vector),
            Ok(Request::QueueVector(vector)) => self.set_vector(registers.common.selected(), vector),
            Err(broken) => self.break_off(registers, broken, slot),
        }
    }

    /// A vector that the table does not have is none.
    fn set_vector(&self, index: usize, vector: u16) {
        let vector = if vector < self.msix.lock().vectors() { vector } else { NO_VECTOR };
        self.vectors[index].store(vector, Ordering::Relaxed);
    }

    fn start(&self, registers: &Registers) {
        self.device.start(registers.common.accepted());
        self.follow(registers);
    }

    /// The device is as after power-on. Who works for it on another CPU has left its queues when this returns.
    fn reset(&self, registers: &mut Registers, slot: Slot<'_>) {
        registers.common = CommonConfiguration::new(self.device.features() | OF_TRANSPORT);
        self.follow(registers);
        self.queues.iter().for_each(|queue| queue.lock().reset());
        self.device.reset();
        self.vectors.iter().for_each(|vector| vector.store(NO_VECTOR, Ordering::Relaxed));
        self.isr.store(0, Ordering::SeqCst);
        self.msix.lock().forget_pending();
        self.update_line(slot);
    }

    /// Reads configuration space from `offset` on.
    pub fn read_configuration(&self, offset: usize, buffer: &mut [u8], slot: Slot<'_>) {
        let mut registers = self.registers.lock();
        registers.space.set_interrupt_status(self.isr.load(Ordering::SeqCst) != 0);
        registers.space.read(offset, buffer);
        let data = self.landmarks.access.data();
        if data.start <= offset && offset < data.end {
            let access = self.access(&registers);
            drop(registers);
            self.read_by_access(access, offset - data.start, buffer, slot);
        }
    }

    /// Writes to configuration space at `offset`.
    pub fn write_configuration(&self, offset: usize, bytes: &[u8], slot: Slot<'_>) {
        let mut registers = self.registers.lock();
        registers.space.write(offset, bytes);
        self.follow(&registers);
        let control = MessageControl::from(registers.space.word(self.landmarks.message_control));
        let access =
            (offset == self.landmarks.access.data().start).then(|| self.access(&registers)).flatten();
        // Still under the lock of the registers: what was written last is what holds.
        self.msix.lock().set_control(control, |message| slot.upstream.send(message));
        self.update_line(slot);
        drop(registers);
        if let Some(Access { bar, range }) = access
            && let Some(bytes) = bytes.get(..range.len())
        {
            self.write_bar(bar, range.start, bytes, slot);
        }
    }

    /// What the capability of PCI configuration access names, if it may: one, two or four bytes of a BAR, in their place.
    fn access(&self, registers: &Registers) -> Option<Access> {
        let (space, at) = (&registers.space, self.landmarks.access);
        let bar = usize::from(space.word(at.bar()) & 0xFF);
        let (offset, length) = (space.double_word(at.offset()), space.double_word(at.length()));
        let size = space.bar(bar)?.size();
        let natural = matches!(length, 1 | 2 | 4) && offset.is_multiple_of(length);
        let range = offset as usize..offset as usize + length as usize;
        (natural && offset < size).then_some(Access { bar, range })
    }

    /// What is not accessed so reads as zero.
    fn read_by_access(&self, access: Option<Access>, from: usize, buffer: &mut [u8], slot: Slot<'_>) {
        let mut data = [0; 4];
        if let Some(Access { bar, range }) = access {
            self.read_bar(bar, range.start, &mut data[..range.len()], slot);
        }
        for (byte, read) in buffer.iter_mut().zip(&data[from..]) {
            *byte = *read;
        }
    }

    /// The BAR of memory that has `address`, and the offset in it.
    #[must_use]
    pub fn at(&self, address: u64) -> Option<(usize, usize)> {
        let registers = self.registers.lock();
        [layout::STRUCTURES, layout::MSIX].into_iter().find_map(|bar| {
            let range = registers.space.decoded(bar)?;
            range.contains(&address).then(|| (bar, (address - range.start) as usize))
        })
    }
}

/// An access to a BAR from configuration space.
struct Access {
    bar: usize,
    range: Range<usize>,
}

#[cfg(test)]
mod tests;
