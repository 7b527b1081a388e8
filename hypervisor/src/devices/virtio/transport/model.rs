// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device and a machine for tests of the bus: they note what they are told.

use crate::devices::pci::Upstream;
use crate::devices::pci::bus::PciBus;
use crate::devices::virtio::Broken;
use crate::devices::virtio::Device;
use crate::devices::virtio::DeviceId;
use crate::devices::virtio::Driver;
use crate::devices::virtio::Occasion;
use crate::devices::virtio::Served;
use crate::devices::virtio::doorbell::Doorbell;
use crate::devices::virtio::queue::Chain;
use crate::irqchip::Message;
use crate::mmu;
use crate::mmu::GuestMemory;
use crate::mmu::GuestSpace;
use crate::vm::model::ModelNeighbours;
use crate::vm::model::posts;
use crate::vm::post::Posts;
use core::mem;
use std::sync::Arc;
use std::sync::Mutex;

/// RAM of the model machine.
pub(crate) const RAM: u64 = 0x10_0000;

/// What a device is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Started(u64),
    Reset,
    Served(Occasion),
}

#[derive(Debug, Default)]
struct Noted {
    events: Vec<Event>,
    configuration: [u8; 6],
    more: u32,
}

/// A device with two queues, of 8 and 16 entries, that gives back each buffer as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModelDevice(Arc<Mutex<Noted>>);

impl ModelDevice {
    pub(crate) const FEATURES: u64 = 1 << 40 | 0b101;

    /// What it was told since this was asked last.
    pub(crate) fn take(&self) -> Vec<Event> {
        mem::take(&mut self.0.lock().unwrap().events)
    }

    /// It says so often that there is more to be done.
    pub(crate) fn say_more(&self, times: u32) {
        self.0.lock().unwrap().more = times;
    }

    fn note(&self, event: Event) {
        self.0.lock().unwrap().events.push(event);
    }
}

impl Device for ModelDevice {
    fn id(&self) -> DeviceId {
        DeviceId::BLOCK
    }

    fn features(&self) -> u64 {
        Self::FEATURES
    }

    fn queue_sizes(&self) -> &[u16] {
        &[8, 16]
    }

    fn configuration(&self, offset: usize, buffer: &mut [u8]) {
        let noted = self.0.lock().unwrap();
        for (at, byte) in (offset..).zip(buffer) {
            *byte = noted.configuration.get(at).copied().unwrap_or(0);
        }
    }

    fn write_configuration(&self, offset: usize, bytes: &[u8]) {
        let mut noted = self.0.lock().unwrap();
        for (at, byte) in (offset..).zip(bytes) {
            if let Some(place) = noted.configuration.get_mut(at) {
                *place = *byte;
            }
        }
    }

    fn start(&self, features: u64) {
        self.note(Event::Started(features));
    }

    fn reset(&self) {
        self.note(Event::Reset);
    }

    fn serve(&self, occasion: Occasion, driver: &Driver<'_>) -> Result<Served, Broken> {
        self.note(Event::Served(occasion));
        for (index, queue) in (0..).zip(driver.queues) {
            let mut queue = queue.lock();
            let mut chain = Chain::new(16);
            while queue.pop(driver.memory, &mut chain)? {
                queue.push(driver.memory, &chain, 0)?;
            }
            if queue.should_interrupt(driver.memory)? {
                driver.interrupts.queue(index);
            }
        }
        let mut noted = self.0.lock().unwrap();
        let more = noted.more > 0;
        noted.more = noted.more.saturating_sub(1);
        Ok(if more { Served::More } else { Served::All })
    }
}

/// Memory, and processors that note what is sent to them.
#[derive(Debug)]
pub(crate) struct ModelUpstream {
    pub(crate) memory: GuestSpace,
    pub(crate) posts: Arc<Posts>,
    sent: Mutex<Vec<Message>>,
    lines: Mutex<Vec<(usize, bool)>>,
}

impl ModelUpstream {
    pub(crate) fn new() -> Self {
        let address =
            crate::irqchip::local_apic::LocalApic::new(0, true, core::num::NonZeroU32::MIN).address();
        Self {
            memory: mmu::model::space(core::slice::from_ref(&(0..RAM))),
            posts: posts([address].into_iter(), ModelNeighbours::new()),
            sent: Mutex::default(),
            lines: Mutex::default(),
        }
    }

    /// The vectors that were sent since this was asked last.
    pub(crate) fn take_vectors(&self) -> Vec<u8> {
        self.sent.lock().unwrap().drain(..).map(|message| message.vector).collect()
    }

    /// How lines have changed since this was asked last.
    pub(crate) fn take_lines(&self) -> Vec<(usize, bool)> {
        mem::take(&mut self.lines.lock().unwrap())
    }
}

impl Upstream for ModelUpstream {
    fn memory(&self) -> &dyn GuestMemory {
        &self.memory
    }

    fn send(&self, message: Message) {
        self.sent.lock().unwrap().push(message);
    }

    fn set_line(&self, gsi: usize, asserted: bool) {
        self.lines.lock().unwrap().push((gsi, asserted));
    }
}

/// A bus with model devices.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) bus: PciBus,
    pub(crate) upstream: ModelUpstream,
    pub(crate) devices: Vec<ModelDevice>,
}

impl Rig {
    pub(crate) fn new(devices: usize) -> Self {
        let mut rig = Self { bus: PciBus::default(), upstream: ModelUpstream::new(), devices: Vec::new() };
        for _ in 0..devices {
            let device = ModelDevice::default();
            let doorbell = Doorbell::new(Arc::clone(&rig.upstream.posts));
            assert_eq!(rig.bus.plug(Box::new(device.clone()), doorbell), Ok(()));
            rig.devices.push(device);
        }
        rig
    }

    /// A read of memory.
    pub(crate) fn load<const SIZE: usize>(&self, address: u64) -> [u8; SIZE] {
        let mut bytes = [0x5a; SIZE];
        self.bus.read_memory(address, &mut bytes, &self.upstream);
        bytes
    }

    /// A write to memory.
    pub(crate) fn store(&self, address: u64, bytes: &[u8]) {
        self.bus.write_memory(address, bytes, &self.upstream);
    }

    /// A double word of a device's configuration space, in memory.
    pub(crate) fn configuration(&self, device: u64, offset: u64) -> u32 {
        u32::from_le_bytes(self.load(ecam(device, offset)))
    }

    /// Writes to a device's configuration space, in memory.
    pub(crate) fn configure(&self, device: u64, offset: u64, bytes: &[u8]) {
        self.store(ecam(device, offset), bytes);
    }
}

/// Where a device's configuration space is in memory.
pub(crate) fn ecam(device: u64, offset: u64) -> u64 {
    0xE000_0000 | device << 15 | offset
}
