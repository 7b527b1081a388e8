// SPDX-License-Identifier: MIT OR Apache-2.0
//! A function's configuration space: a header of type 0, BARs and a list of capabilities (PCI 3.0, chapter 6).

use super::IO_WINDOW;
use super::MEMORY_WINDOW;
use crate::little_endian::u16_at;
use crate::little_endian::u32_at;
use bitfield_struct::bitfield;
use core::ops::Range;

/// Bytes that a function has; an extended one's others are zero.
const SIZE: usize = 256;

/// How many BARs a header of type 0 has.
const BARS: usize = 6;

/// Where the registers of the header are (PCI 3.0, 6.1).
mod register {
    pub(super) const VENDOR: usize = 0x00;
    pub(super) const DEVICE: usize = 0x02;
    pub(super) const COMMAND: usize = 0x04;
    pub(super) const STATUS: usize = 0x06;
    pub(super) const REVISION: usize = 0x08;
    pub(super) const CLASS: usize = 0x09;
    pub(super) const BAR_0: usize = 0x10;
    pub(super) const SUBSYSTEM_VENDOR: usize = 0x2C;
    pub(super) const SUBSYSTEM: usize = 0x2E;
    pub(super) const CAPABILITIES: usize = 0x34;
    pub(super) const INTERRUPT_LINE: usize = 0x3C;
    pub(super) const INTERRUPT_PIN: usize = 0x3D;
    pub(super) const END: usize = 0x40;
}

/// The status register says that there is a list of capabilities.
const HAS_CAPABILITIES: u8 = 1 << 4;
/// The status register says that the function asks for an interrupt.
const INTERRUPT_STATUS: u8 = 1 << 3;
/// A BAR's lowest bit says that it is one of ports.
const IO_SPACE: u32 = 1;

/// The command register (PCI 3.0, 6.2.2). What is not here is zero and stays.
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct Command {
    /// Its BARs of ports answer.
    pub io: bool,
    /// Its BARs of memory answer.
    pub memory: bool,
    /// It may read and write memory, and send messages.
    pub bus_master: bool,
    #[bits(7)]
    _unused: u8,
    /// It does not assert its interrupt line.
    pub interrupt_disable: bool,
    #[bits(5)]
    _reserved: u8,
}

impl Command {
    const WRITABLE: Self =
        Self::new().with_io(true).with_memory(true).with_bus_master(true).with_interrupt_disable(true);
}

/// What a function is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Who has made it.
    pub vendor: u16,
    /// What it is, among those of the vendor.
    pub device: u16,
    /// Its revision.
    pub revision: u8,
    /// Base class, subclass and programming interface.
    pub class: [u8; 3],
}

/// What a BAR gives access to: a power of two of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// Memory below 4 GiB, not prefetchable.
    Memory {
        /// Bytes.
        size: u32,
    },
    /// Ports.
    Io {
        /// How many.
        size: u32,
    },
}

impl Bar {
    /// Bytes or ports.
    #[must_use]
    pub fn size(self) -> u32 {
        match self {
            Self::Memory { size } | Self::Io { size } => size,
        }
    }

    /// The bits that are no address.
    fn flags(self) -> u32 {
        match self {
            Self::Memory { .. } => 0,
            Self::Io { .. } => IO_SPACE,
        }
    }

    fn window(self) -> Range<u64> {
        match self {
            Self::Memory { .. } => MEMORY_WINDOW,
            Self::Io { .. } => IO_WINDOW,
        }
    }

    fn is_enabled(self, command: Command) -> bool {
        match self {
            Self::Memory { .. } => command.memory(),
            Self::Io { .. } => command.io(),
        }
    }
}

/// The configuration space of one function.
#[derive(Debug)]
pub struct ConfigurationSpace {
    bytes: [u8; SIZE],
    /// The bits of it that software can write.
    writable: [u8; SIZE],
    bars: [Option<Bar>; BARS],
    /// Where the next capability will be, and the place of the pointer to it.
    next_capability: (usize, usize),
}

impl ConfigurationSpace {
    /// A header without BARs and capabilities; nothing can be written.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        let mut space = Self {
            bytes: [0; SIZE],
            writable: [0; SIZE],
            bars: [None; BARS],
            next_capability: (register::END, register::CAPABILITIES),
        };
        let [base, sub, interface] = identity.class;
        space.put(register::VENDOR, &identity.vendor.to_le_bytes());
        space.put(register::DEVICE, &identity.device.to_le_bytes());
        space.put(register::REVISION, &[identity.revision]);
        space.put(register::CLASS, &[interface, sub, base]);
        space
    }

    /// It is made by `vendor` as `device`, whoever has made its chip.
    pub fn set_subsystem(&mut self, vendor: u16, device: u16) {
        self.put(register::SUBSYSTEM_VENDOR, &vendor.to_le_bytes());
        self.put(register::SUBSYSTEM, &device.to_le_bytes());
    }

    /// It interrupts by its line INTA, which firmware has routed to `line`.
    pub fn set_interrupt(&mut self, line: u8) {
        self.put(register::INTERRUPT_LINE, &[line]);
        self.put(register::INTERRUPT_PIN, &[1]);
        self.let_write(register::INTERRUPT_LINE, &[0xFF]);
    }

    /// The command register is writable, and begins like this.
    pub fn set_command(&mut self, command: Command) {
        self.put(register::COMMAND, &command.into_bits().to_le_bytes());
        self.let_write(register::COMMAND, &Command::WRITABLE.into_bits().to_le_bytes());
    }

    /// It has this BAR, at first at `address`.
    ///
    /// # Panics
    /// If the size is no power of two or too small for a BAR, or the address no multiple of it.
    pub fn set_bar(&mut self, index: usize, bar: Bar, address: u32) {
        let size = bar.size();
        assert!(
            size.is_power_of_two() && size >= 16 && address.is_multiple_of(size),
            "{bar:?} at {address:#x}"
        );
        let at = register::BAR_0 + 4 * index;
        self.bars[index] = Some(bar);
        self.put(at, &(address | bar.flags()).to_le_bytes());
        self.let_write(at, &(!(size - 1)).to_le_bytes());
    }

    /// Appends a capability of which `body` follows identifier and pointer. Gives where it begins.
    ///
    /// # Panics
    /// If there is no room.
    pub fn add_capability(&mut self, id: u8, body: &[u8]) -> usize {
        let (at, pointer) = self.next_capability;
        self.put(pointer, &[at as u8]);
        self.put(at, &[id, 0]);
        self.put(at + 2, body);
        self.bytes[register::STATUS] |= HAS_CAPABILITIES;
        self.next_capability = ((at + 2 + body.len()).next_multiple_of(4), at + 1);
        at
    }

    /// Software can write these bits.
    pub fn let_write(&mut self, at: usize, mask: &[u8]) {
        self.writable[at..at + mask.len()].copy_from_slice(mask);
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// What software reads, from `offset` on. Beyond the end are zeros.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) {
        for (at, byte) in (offset..).zip(buffer) {
            *byte = self.bytes.get(at).copied().unwrap_or(0);
        }
    }

    /// Software writes: what can be written changes.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        for (at, byte) in (offset..).zip(bytes) {
            let Some(mask) = self.writable.get(at) else { return };
            self.bytes[at] = self.bytes[at] & !mask | byte & mask;
        }
    }

    /// Whether the function asks for an interrupt, for its status register.
    pub fn set_interrupt_status(&mut self, asks: bool) {
        let status = &mut self.bytes[register::STATUS];
        *status = if asks { *status | INTERRUPT_STATUS } else { *status & !INTERRUPT_STATUS };
    }

    /// The command register.
    #[must_use]
    pub fn command(&self) -> Command {
        self.word(register::COMMAND).into()
    }

    /// The word at `at`.
    #[must_use]
    pub fn word(&self, at: usize) -> u16 {
        u16_at(&self.bytes, at).unwrap_or(0)
    }

    /// The double word at `at`.
    #[must_use]
    pub fn double_word(&self, at: usize) -> u32 {
        u32_at(&self.bytes, at).unwrap_or(0)
    }

    /// A BAR, if the function has it.
    #[must_use]
    pub fn bar(&self, index: usize) -> Option<Bar> {
        *self.bars.get(index)?
    }

    /// Where a BAR answers; `None` if it does not, since it is not there, or turned off, or outside of what leads to the bus.
    #[must_use]
    pub fn decoded(&self, index: usize) -> Option<Range<u64>> {
        let bar = self.bar(index)?;
        let start = u64::from(self.double_word(register::BAR_0 + 4 * index) & !(bar.size() - 1));
        let range = start..start + u64::from(bar.size());
        let window = bar.window();
        let inside = window.start <= range.start && range.end <= window.end;
        (inside && bar.is_enabled(self.command())).then_some(range)
    }
}

#[cfg(test)]
mod tests;
