// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bus 0: who answers to configuration accesses, at ports and in memory, and where firmware places BARs.

use super::CONFIG_ADDRESS;
use super::CONFIG_DATA;
use super::ECAM;
use super::IO_WINDOW;
use super::MEMORY_WINDOW;
use super::Upstream;
use super::configuration::Bar;
use super::configuration::ConfigurationSpace;
use super::configuration::Identity;
use super::interrupt_lines::InterruptLines;
use crate::devices::virtio::Device;
use crate::devices::virtio::doorbell::Doorbell;
use crate::devices::virtio::transport::Function;
use crate::devices::virtio::transport::MSIX_BAR;
use crate::devices::virtio::transport::NOTIFY_PORT_BAR;
use crate::devices::virtio::transport::Place;
use crate::devices::virtio::transport::STRUCTURES_BAR;
use crate::devices::virtio::transport::Slot;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bitfield_struct::bitfield;
use core::fmt;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering;

/// Devices that a bus has beside the host bridge.
const MOST_DEVICES: usize = 31;

/// Intel's number for the host bridge of a virtual machine, which has no registers that a driver would look for.
const HOST_BRIDGE: Identity =
    Identity { vendor: 0x8086, device: 0x0D57, revision: 0, class: [0x06, 0x00, 0x00] };

/// Firmware leaves the beginning of the memory window to the exerciser's own.
const FIRST_MEMORY: u32 = MEMORY_WINDOW.start as u32 + (16 << 20);

/// CONFIG_ADDRESS.
#[bitfield(u32)]
struct ConfigurationAddress {
    #[bits(2)]
    _zero: u8,
    #[bits(6)]
    double_word: u8,
    #[bits(3)]
    function: u8,
    #[bits(5)]
    device: u8,
    bus: u8,
    #[bits(7)]
    _reserved: u8,
    enabled: bool,
}

impl ConfigurationAddress {
    const WRITABLE: u32 = 0x80FF_FFFC;
}

/// The bus has as many devices as it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusFull;

impl fmt::Display for BusFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a machine has at most {MOST_DEVICES} virtio devices: give it fewer disks or nets")
    }
}

/// Where the next BAR goes.
#[derive(Debug)]
struct Allocator {
    memory: u32,
    io: u32,
}

impl Allocator {
    /// The first place that is free and aligned as the BAR must be. All that a bus can have fits.
    fn place(&mut self, bar: Bar) -> u32 {
        let next = match bar {
            Bar::Memory { .. } => &mut self.memory,
            Bar::Io { .. } => &mut self.io,
        };
        let at = next.next_multiple_of(bar.size());
        *next = at + bar.size();
        at
    }
}

/// The bus of a machine.
#[derive(Debug)]
pub struct PciBus {
    address: AtomicU32,
    host_bridge: ConfigurationSpace,
    /// Devices from number 1 on.
    functions: Vec<Function>,
    free: Allocator,
    lines: InterruptLines,
}

impl Default for PciBus {
    fn default() -> Self {
        Self {
            address: AtomicU32::new(0),
            host_bridge: ConfigurationSpace::new(HOST_BRIDGE),
            functions: Vec::new(),
            free: Allocator { memory: FIRST_MEMORY, io: IO_WINDOW.start as u32 },
            lines: InterruptLines::default(),
        }
    }
}

impl PciBus {
    /// Gives `device` the next number, and its BARs their places. It asks to be served by `doorbell`.
    pub fn plug(&mut self, device: Box<dyn Device>, doorbell: Doorbell) -> Result<(), BusFull> {
        if self.functions.len() == MOST_DEVICES {
            return Err(BusFull);
        }
        let place = Place {
            device: self.functions.len() as u8 + 1,
            structures: self.free.place(STRUCTURES_BAR),
            notify_port: self.free.place(NOTIFY_PORT_BAR),
            msix: self.free.place(MSIX_BAR),
        };
        self.functions.push(Function::new(device, doorbell, place));
        Ok(())
    }

    fn slot<'a>(&'a self, upstream: &'a dyn Upstream) -> Slot<'a> {
        Slot { upstream, lines: &self.lines }
    }

    /// Those whose doorbells were rung work, each for a bounded time.
    pub fn work(&self, upstream: &dyn Upstream) {
        self.functions.iter().for_each(|function| function.answer(self.slot(upstream)));
    }

    /// Reads `size` bytes from a port of CONFIG_DATA on, or CONFIG_ADDRESS.
    pub fn read_configuration_port(&self, port: u16, size: u8, upstream: &dyn Upstream) -> u32 {
        let address = ConfigurationAddress::from(self.address.load(Ordering::Relaxed));
        if port == CONFIG_ADDRESS {
            return address.into();
        }
        let mut bytes = [0; 4];
        bytes[..usize::from(size)].fill(0xFF);
        let first = usize::from(port - CONFIG_DATA);
        let in_data = usize::from(size).min(4 - first);
        if address.enabled() {
            let (device, offset) = selected(address, first);
            self.read_configuration(device, offset, &mut bytes[..in_data], upstream);
        }
        u32::from_le_bytes(bytes)
    }

    /// Writes `size` bytes from a port of CONFIG_DATA on, or CONFIG_ADDRESS.
    pub fn write_configuration_port(&self, port: u16, size: u8, value: u32, upstream: &dyn Upstream) {
        if port == CONFIG_ADDRESS {
            self.address.store(value & ConfigurationAddress::WRITABLE, Ordering::Relaxed);
            return;
        }
        let address = ConfigurationAddress::from(self.address.load(Ordering::Relaxed));
        let first = usize::from(port - CONFIG_DATA);
        let in_data = usize::from(size).min(4 - first);
        if address.enabled() {
            let (device, offset) = selected(address, first);
            self.write_configuration(device, offset, &value.to_le_bytes()[..in_data], upstream);
        }
    }

    fn read_configuration(
        &self,
        device: Option<u8>,
        offset: usize,
        buffer: &mut [u8],
        upstream: &dyn Upstream,
    ) {
        match device {
            Some(0) => self.host_bridge.read(offset, buffer),
            Some(number) if let Some(function) = self.functions.get(usize::from(number) - 1) => {
                function.read_configuration(offset, buffer, self.slot(upstream));
            }
            _ => buffer.fill(0xFF),
        }
    }

    fn write_configuration(&self, device: Option<u8>, offset: usize, bytes: &[u8], upstream: &dyn Upstream) {
        let function = device.and_then(|number| self.functions.get(usize::from(number.checked_sub(1)?)));
        if let Some(function) = function {
            function.write_configuration(offset, bytes, self.slot(upstream));
        }
    }

    /// Reads `size` bytes from a port of the window on: there is nothing to be read.
    #[must_use]
    pub fn read_io(&self, port: u16, size: u8) -> u32 {
        let ours = self.notified_by(port).is_some();
        if ours { 0 } else { u32::MAX >> (32 - 8 * u32::from(size)) }
    }

    /// Writes 1, 2 or 4 bytes from a port of the window on. This is how drivers notify: the shortest way there is.
    #[inline]
    pub fn write_io(&self, port: u16, size: u8, value: u32, upstream: &dyn Upstream) {
        if let Some(function) = self.notified_by(port)
            && size >= 2
        {
            function.notify(value as u16, self.slot(upstream));
        }
    }

    /// The function whose notification is at that port. Where several are, one.
    #[inline]
    fn notified_by(&self, port: u16) -> Option<&Function> {
        self.functions.iter().find(|function| function.notify_port() == u32::from(port))
    }

    /// Reads up to eight bytes from an address of [`DEVICE_MEMORY`](super::DEVICE_MEMORY) on.
    pub fn read_memory(&self, address: u64, buffer: &mut [u8], upstream: &dyn Upstream) {
        if let Some((device, offset)) = in_ecam(address) {
            self.read_configuration(device, offset, buffer, upstream);
        } else if let Some((function, bar, offset)) = self.at(address) {
            function.read_bar(bar, offset, buffer, self.slot(upstream));
        } else {
            buffer.fill(0xFF);
        }
    }

    /// Writes up to eight bytes from an address of [`DEVICE_MEMORY`](super::DEVICE_MEMORY) on.
    pub fn write_memory(&self, address: u64, bytes: &[u8], upstream: &dyn Upstream) {
        if let Some((device, offset)) = in_ecam(address) {
            self.write_configuration(device, offset, bytes, upstream);
        } else if let Some((function, bar, offset)) = self.at(address) {
            function.write_bar(bar, offset, bytes, self.slot(upstream));
        }
    }

    /// Whose BAR has that address. Where several have, the first.
    fn at(&self, address: u64) -> Option<(&Function, usize, usize)> {
        self.functions.iter().find_map(|function| {
            let (bar, offset) = function.at(address)?;
            Some((function, bar, offset))
        })
    }
}

/// The device on the bus that CONFIG_ADDRESS selects, and the offset of that byte of CONFIG_DATA.
fn selected(address: ConfigurationAddress, byte: usize) -> (Option<u8>, usize) {
    let ours = address.bus() == 0 && address.function() == 0;
    (ours.then_some(address.device()), 4 * usize::from(address.double_word()) + byte)
}

/// The device whose configuration space has that address, and the offset in it.
fn in_ecam(address: u64) -> Option<(Option<u8>, usize)> {
    if !ECAM.contains(&address) {
        return None;
    }
    let at = address - ECAM.start;
    let (device, function) = ((at >> 15) as u8, at >> 12 & 7);
    Some(((function == 0).then_some(device), (at % 0x1000) as usize))
}

#[cfg(test)]
mod tests;
