// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk in memory: what it had from the beginning, which is never changed, and copies of the blocks that were written.

use super::BLOCK;
use super::SECTOR;
use super::copies::Copies;
use crate::devices::virtio::Broken;
use crate::devices::virtio::queue::Chain;
use crate::memory::OutOfFrames;
use crate::mmu::GuestMemory;
use core::ops::Range;

static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// A disk.
#[derive(Debug)]
pub struct Disk {
    /// What it had from the beginning; zeros follow.
    content: &'static [u8],
    sectors: u64,
    /// What was written. A disk that is read-only has none.
    copies: Option<Copies>,
}

impl Disk {
    /// One with this content that nobody can change. What is missing of the last sector is zero.
    #[must_use]
    pub fn read_only(content: &'static [u8]) -> Self {
        Self { content, sectors: (content.len() as u64).div_ceil(SECTOR), copies: None }
    }

    /// One with this content at first. All memory that writing to it can take is promised.
    pub fn copy_on_write(content: &'static [u8]) -> Result<Self, OutOfFrames> {
        Self::writable(content, (content.len() as u64).div_ceil(SECTOR))
    }

    /// One with so many MiB of zeros at first. All memory that writing to it can take is promised.
    pub fn blank(mib: u32) -> Result<Self, OutOfFrames> {
        Self::writable(&[], (u64::from(mib) << 20) / SECTOR)
    }

    fn writable(content: &'static [u8], sectors: u64) -> Result<Self, OutOfFrames> {
        let copies = Copies::new((sectors * SECTOR).div_ceil(BLOCK as u64))?;
        Ok(Self { content, sectors, copies: Some(copies) })
    }

    /// Sectors of 512 bytes.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// Whether nothing can be written.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.copies.is_none()
    }

    /// Bytes of physical memory that hold what was written.
    #[must_use]
    pub fn taken_bytes(&self) -> u64 {
        self.copies.as_ref().map_or(0, Copies::taken_bytes)
    }

    /// Bytes of physical memory that are set aside for what is written.
    #[must_use]
    pub fn promised_bytes(&self) -> u64 {
        self.copies.as_ref().map_or(0, Copies::promised_bytes)
    }

    /// Forgets what was written.
    pub fn reset(&mut self) {
        if let Some(copies) = &mut self.copies {
            copies.clear();
        }
    }

    /// Copies `bytes`, which the disk has, to the guest's buffers: from block to buffer, with nothing between.
    pub(super) fn read(
        &self,
        bytes: Range<u64>,
        memory: &dyn GuestMemory,
        chain: &mut Chain,
    ) -> Result<(), Broken> {
        for Piece { block, bytes } in pieces(bytes) {
            if let Some(copy) = self.copies.as_ref().and_then(|copies| copies.get(block)) {
                chain.write(memory, &copy[bytes])?;
                continue;
            }
            let content = block_of(self.content, block);
            let there = content.get(bytes.start..).unwrap_or_default();
            let there = &there[..there.len().min(bytes.len())];
            chain.write(memory, there)?;
            chain.write(memory, &ZEROS[..bytes.len() - there.len()])?;
        }
        Ok(())
    }

    /// Copies the guest's buffers to `bytes`, which the disk has.
    ///
    /// # Panics
    /// If it is read-only: a fault of our own.
    pub(super) fn write(
        &mut self,
        bytes: Range<u64>,
        memory: &dyn GuestMemory,
        chain: &mut Chain,
    ) -> Result<(), Broken> {
        let copies = self.copies.as_mut().expect("who writes has asked whether it can be written");
        for Piece { block, bytes } in pieces(bytes) {
            // What is overwritten need not be copied.
            let content = if bytes.len() < BLOCK { block_of(self.content, block) } else { &[] };
            chain.read(memory, &mut copies.get_or_take(block, content)[bytes])?;
        }
        Ok(())
    }
}

/// The part of an access that lies in one block.
struct Piece {
    block: usize,
    /// Which bytes of the block.
    bytes: Range<usize>,
}

/// Cuts an access at the borders of blocks.
fn pieces(bytes: Range<u64>) -> impl Iterator<Item = Piece> {
    let size = BLOCK as u64;
    let mut at = bytes.start;
    core::iter::from_fn(move || {
        let first = at - at % size;
        let end = bytes.end.min(first + size);
        let piece =
            Piece { block: (first / size) as usize, bytes: (at - first) as usize..(end - first) as usize };
        at = end;
        (!piece.bytes.is_empty()).then_some(piece)
    })
}

/// What `content` has of a block; less than one at its end, and nothing beyond.
fn block_of(content: &[u8], block: usize) -> &[u8] {
    let rest = content.get(block.saturating_mul(BLOCK)..).unwrap_or_default();
    &rest[..rest.len().min(BLOCK)]
}
