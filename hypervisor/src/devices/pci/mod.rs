// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI: one bus with a host bridge and the virtio functions of a machine (PCI Local Bus 3.0, PCI Express 5.0).

pub mod bus;
pub mod configuration;
pub mod intx;
pub mod msix;

use crate::irqchip::Message;
use crate::mmu::GuestMemory;
use core::ops::Range;

/// CONFIG_ADDRESS: selects what is behind CONFIG_DATA, by accesses of 32 bits alone.
pub const CONFIG_ADDRESS: u16 = 0xCF8;

/// CONFIG_DATA: four ports.
pub const CONFIG_DATA: u16 = 0xCFC;

/// Where memory BARs may be.
pub const MEMORY_WINDOW: Range<u64> = 0xC000_0000..0xE000_0000;

/// Where I/O BARs may be.
pub const IO_WINDOW: Range<u64> = 0xC000..0x1_0000;

/// Configuration space in memory (PCI Express, "Enhanced Configuration Access Mechanism"): 4 KiB for each function of bus 0.
pub const ECAM: Range<u64> = 0xE000_0000..0xE010_0000;

/// All of guest-physical space that belongs to the bus: where nothing answers, all bits are one.
pub const DEVICE_MEMORY: Range<u64> = MEMORY_WINDOW.start..0xFEC0_0000;

/// What functions reach by way of the bus: the guest's memory, and its processors.
pub trait Upstream {
    /// The guest's memory.
    fn memory(&self) -> &dyn GuestMemory;
    /// Sends an interrupt message.
    fn send(&self, message: Message);
    /// Drives the line of a global system interrupt.
    fn set_line(&self, gsi: usize, asserted: bool);
}
