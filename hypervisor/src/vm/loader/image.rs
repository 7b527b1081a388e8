// SPDX-License-Identifier: MIT OR Apache-2.0
//! A kernel as it lies in physical memory: its segments, and where it is entered.

use super::Reason;
use super::placement::Placement;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::mmu::Unbacked;
use alloc::vec;
use alloc::vec::Vec;

/// Memory beyond a segment's content is cleared in pieces of at most so many bytes.
const CLEARED_AT_ONCE: u64 = 64 << 10;

/// A kernel that is entered in 32-bit protected mode.
#[derive(Debug)]
pub(super) struct Image<'a> {
    pub(super) entry: u32,
    segments: Vec<Segment<'a>>,
}

/// A part of the kernel with a place in physical memory.
#[derive(Debug)]
pub(super) struct Segment<'a> {
    pub(super) address: u64,
    pub(super) content: &'a [u8],
    /// Its size in memory, at least that of its content; the rest is zero.
    pub(super) bytes: u64,
}

impl<'a> Image<'a> {
    /// An image with its entry in what comes from the file.
    pub(super) fn new(entry: u32, segments: Vec<Segment<'a>>) -> Result<Self, Reason> {
        if !segments.iter().any(|segment| segment.holds(entry)) {
            return Err(Reason::EntryOutside(entry.into()));
        }
        Ok(Self { entry, segments })
    }

    /// Claims the RAM that it needs.
    pub(super) fn place(&self, placement: &mut Placement) -> Result<(), Reason> {
        self.segments
            .iter()
            .try_for_each(|segment| placement.claim("a segment", segment.address, segment.bytes))
    }

    pub(super) fn write(&self, memory: &impl GuestMemory) -> Result<(), Unbacked> {
        self.segments.iter().try_for_each(|segment| segment.write(memory))
    }
}

impl Segment<'_> {
    /// Whether the byte at `address` comes from the file.
    fn holds(&self, address: u32) -> bool {
        u64::from(address).checked_sub(self.address).is_some_and(|offset| offset < self.content.len() as u64)
    }

    fn write(&self, memory: &impl GuestMemory) -> Result<(), Unbacked> {
        memory.write(GuestPhysical(self.address), self.content)?;
        let zeroes = vec![0; self.bytes.min(CLEARED_AT_ONCE) as usize];
        let mut done = self.content.len() as u64;
        while done < self.bytes {
            let now = (self.bytes - done).min(CLEARED_AT_ONCE);
            memory.write(GuestPhysical(self.address + done), &zeroes[..now as usize])?;
            done += now;
        }
        Ok(())
    }
}
