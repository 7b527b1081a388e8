// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's firmware configuration device, by which small kernels learn how many CPUs there are, and Linux which files
//! (QEMU: docs/specs/fw_cfg.rst).
//!
//! A guest selects an item by its key and reads it from its start, byte by byte at a port, or by DMA. Behind the end of an
//! item, and where there is none of that key, are zeroes without end. Nothing can be written.

use self::items::Items;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::mmu::Unbacked;
use crate::vm::memory_layout::MemoryLayout;
use zerocopy::FromBytes;
use zerocopy::FromZeros;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;
use zerocopy::byteorder::big_endian;

mod items;

/// The first port.
pub const PORT: u16 = 0x510;

/// How many ports there are, of which two have no meaning.
pub const PORTS: u8 = 12;

// Offsets from [`PORT`].

/// The key of the item that is selected; only accesses of two bytes count.
const SELECTOR: u16 = 0;
/// The next byte of the item.
const DATA: u16 = 1;
/// The DMA address register, the higher half first and each half big endian; when read, [`DMA_SIGNATURE`].
const DMA_HIGH: u16 = 4;
const DMA_LOW: u16 = 8;
const DMA_END: u16 = 12;

const DMA_SIGNATURE: [u8; 8] = *b"QEMU CFG";

// What a guest asks for in [`DmaAccess::control`], and is told there in the end: `ERROR` or 0.
const ERROR: u32 = 1 << 0;
const READ: u32 = 1 << 1;
const SKIP: u32 = 1 << 2;
const SELECT: u32 = 1 << 3;
const WRITE: u32 = 1 << 4;
/// Lowest bit of the key, where `SELECT` is set.
const KEY: u32 = 16;

/// DMA of more bytes than this is an error: a guest keeps its CPU from nothing else for long. All items are shorter.
const MOST_BYTES: u32 = 64 << 10;

/// Zeroes are written in pieces of this size.
const ZEROES: [u8; 4096] = [0; 4096];

/// What a guest puts into its memory for a transfer (`FWCfgDmaAccess`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct DmaAccess {
    control: big_endian::U32,
    /// In bytes.
    length: big_endian::U32,
    address: big_endian::U64,
}

const _: () = assert!(size_of::<DmaAccess>() == 16);

/// The device.
#[derive(Debug)]
pub struct FwCfg {
    items: Items,
    /// The key of the selected item.
    selected: u16,
    /// How many of its bytes are behind the guest.
    offset: usize,
    /// The higher half of the DMA address, which a guest writes first.
    dma_high: u32,
}

impl FwCfg {
    /// The device of a machine with that memory and so many vCPUs, whose kernel has that command line.
    #[must_use]
    pub fn new(layout: MemoryLayout, vcpus: u32, command_line: &str) -> Self {
        Self { items: Items::new(layout, vcpus, command_line), selected: 0, offset: 0, dma_high: 0 }
    }

    /// Reads `size` bytes (1, 2 or 4) at this offset from [`PORT`].
    pub fn read(&mut self, offset: u16, size: u8) -> u32 {
        (0..size).fold(0, |value, byte| {
            value | u32::from(self.read_byte(offset.saturating_add(byte.into()))) << (8 * byte)
        })
    }

    fn read_byte(&mut self, offset: u16) -> u8 {
        match offset {
            DATA => {
                let byte = self.rest().first().copied().unwrap_or(0);
                self.offset = self.offset.saturating_add(1);
                byte
            }
            DMA_HIGH..DMA_END => DMA_SIGNATURE[usize::from(offset - DMA_HIGH)],
            _ => u8::MAX,
        }
    }

    /// Writes `size` bytes (1, 2 or 4) at this offset from [`PORT`]. A transfer is complete when this returns.
    pub fn write(&mut self, offset: u16, size: u8, value: u32, memory: &dyn GuestMemory) {
        match (offset, size) {
            (SELECTOR, 2) => self.select(value as u16),
            (DMA_HIGH, 4) => self.dma_high = value.swap_bytes(),
            (DMA_LOW, 4) => {
                let address = u64::from(self.dma_high) << 32 | u64::from(value.swap_bytes());
                self.dma_high = 0;
                self.carry_out(GuestPhysical(address), memory);
            }
            _ => {}
        }
    }

    fn select(&mut self, key: u16) {
        self.selected = key;
        self.offset = 0;
    }

    /// What the guest has not read yet of the selected item.
    fn rest(&self) -> &[u8] {
        self.items.get(self.selected).get(self.offset..).unwrap_or_default()
    }

    /// Carries out the access that the guest describes at `address`, and tells it there how that went.
    fn carry_out(&mut self, address: GuestPhysical, memory: &dyn GuestMemory) {
        let mut access = DmaAccess::new_zeroed();
        if memory.read(address, access.as_mut_bytes()).is_err() {
            // There is no place to tell it.
            return;
        }
        let control = access.control.get();
        if control & SELECT != 0 {
            self.select((control >> KEY) as u16);
        }
        let length = access.length.get();
        let done = if control & READ != 0 {
            length <= MOST_BYTES
                && self.transfer(GuestPhysical(access.address.get()), length as usize, memory).is_ok()
        } else if control & WRITE != 0 {
            false
        } else {
            let skipped = if control & SKIP != 0 { length as usize } else { 0 };
            self.offset = self.offset.saturating_add(skipped);
            true
        };
        let status: u32 = if done { 0 } else { ERROR };
        // It was memory a moment ago. If it is no more, nobody waits for it there.
        let _ = memory.write(address, &status.to_be_bytes());
    }

    fn transfer(
        &mut self,
        mut to: GuestPhysical,
        length: usize,
        memory: &dyn GuestMemory,
    ) -> Result<(), Unbacked> {
        let mut left = length;
        while left > 0 {
            let rest = self.rest();
            let piece = if rest.is_empty() { &ZEROES[..] } else { rest };
            let piece = &piece[..piece.len().min(left)];
            memory.write(to, piece)?;
            let bytes = piece.len();
            left -= bytes;
            self.offset = self.offset.saturating_add(bytes);
            to = to.checked_add(bytes as u64).ok_or(Unbacked { address: to })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
