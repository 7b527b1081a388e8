// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI: configuration space of bus 0, by ports (PCI 3.0, 3.2.2.3.2) and in memory (PCI Express, "Enhanced Configuration
//! Access Mechanism").

use crate::acpi;
use crate::physical;
use crate::physical::Word;
use crate::ports;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// CONFIG_ADDRESS.
pub const CONFIG_ADDRESS: u16 = 0xcf8;
/// CONFIG_DATA.
pub const CONFIG_DATA: u16 = 0xcfc;
/// Where configuration space is in memory, on Satori.
pub const ECAM: u64 = 0xe000_0000;

static IN_MEMORY: AtomicU64 = AtomicU64::new(ECAM);

/// Registers of the header.
pub const COMMAND: u16 = 0x04;
/// Base class and subclass.
pub const CLASS: u16 = 0x0a;
/// The first of six BARs.
pub const BAR_0: u16 = 0x10;
/// Where the list of capabilities begins.
const CAPABILITIES: u16 = 0x34;

/// Command: BARs of ports answer.
pub const IO: u16 = 1;
/// Command: BARs of memory answer.
pub const MEMORY: u16 = 2;
/// Command: it may use the bus by itself.
pub const BUS_MASTER: u16 = 4;

/// Capability: MSI-X.
pub const MSIX: u8 = 0x11;
/// Capability: the vendor's own.
pub const VENDOR_SPECIFIC: u8 = 0x09;

/// Function 0 of the device with this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function(pub u8);

/// Finds out where configuration space is in memory, on other machines, too: by ACPI's table MCFG (PCI Firmware Specification,
/// "MCFG Table Description"), where there is one.
pub fn find_in_memory() {
    if let Some(table) = acpi::table(*b"MCFG") {
        IN_MEMORY.store(physical::read_unaligned(table + 44), Relaxed);
    }
}

/// The devices that are there, the host bridge included.
pub fn functions() -> impl Iterator<Item = Function> {
    (0..32).map(Function).filter(|function| function.read::<u16>(0) != 0xffff)
}

/// What CONFIG_ADDRESS has for a double word.
#[must_use]
pub fn address(bus: u8, device: u8, function: u8, offset: u16) -> u32 {
    1 << 31
        | u32::from(bus) << 16
        | u32::from(device) << 11
        | u32::from(function) << 8
        | u32::from(offset & 0xfc)
}

impl Function {
    /// Where a register is in memory.
    #[must_use]
    pub fn at(self, offset: u16) -> u64 {
        IN_MEMORY.load(Relaxed) | u64::from(self.0) << 15 | u64::from(offset)
    }

    /// Reads a register, in memory.
    #[must_use]
    #[track_caller]
    pub fn read<W: Word>(self, offset: u16) -> W {
        physical::read(self.at(offset))
    }

    /// Writes a register, in memory.
    #[track_caller]
    pub fn write<W: Word>(self, offset: u16, value: W) {
        physical::write(self.at(offset), value);
    }

    /// Reads a double word, by ports.
    #[must_use]
    pub fn read_by_ports(self, offset: u16) -> u32 {
        ports::out_u32(CONFIG_ADDRESS, address(0, self.0, 0, offset));
        ports::in_u32(CONFIG_DATA)
    }

    /// Writes a double word, by ports.
    pub fn write_by_ports(self, offset: u16, value: u32) {
        ports::out_u32(CONFIG_ADDRESS, address(0, self.0, 0, offset));
        ports::out_u32(CONFIG_DATA, value);
    }

    /// The address in a BAR, of memory below 4 GiB or of ports.
    #[must_use]
    pub fn bar(self, index: u8) -> u64 {
        let value: u32 = self.read(BAR_0 + 4 * u16::from(index));
        u64::from(value & if value & 1 == 0 { !0xf } else { !3 })
    }

    /// Its capabilities: where each is, and what.
    pub fn capabilities(self) -> impl Iterator<Item = (u16, u8)> {
        let place = move |at: u16| Some(u16::from(self.read::<u8>(at) & 0xfc)).filter(|&at| at != 0);
        let first = place(CAPABILITIES);
        // No list is longer than there is room for.
        core::iter::successors(first, move |&at| place(at + 1)).take(48).map(move |at| (at, self.read(at)))
    }
}
