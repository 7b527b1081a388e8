// SPDX-License-Identifier: MIT OR Apache-2.0
//! Descriptors, and the tables that they are in (virtio 1.2, 2.7.5, "The Virtqueue Descriptor Table").

use crate::devices::virtio::Broken;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use zerocopy::FromBytes;
use zerocopy::FromZeros;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// Bytes of a descriptor.
const BYTES: u32 = 16;

/// How many are copied at a time: as many as the chains of most requests have.
const COPIED: usize = 4;

/// A buffer in the guest's memory, or a table of more of them.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Descriptor {
    /// Guest-physical address.
    pub address: u64,
    /// Bytes.
    pub length: u32,
    flags: u16,
    next: u16,
}

const _: () = assert!(size_of::<Descriptor>() == BYTES as usize);

impl Descriptor {
    const NEXT: u16 = 1 << 0;
    const WRITE: u16 = 1 << 1;
    const INDIRECT: u16 = 1 << 2;

    /// Which one of the same table comes after it.
    pub fn next(&self) -> Option<u16> {
        (self.flags & Self::NEXT != 0).then_some(self.next)
    }

    /// The device writes to it.
    pub fn is_writable(&self) -> bool {
        self.flags & Self::WRITE != 0
    }

    /// It leads to a table.
    pub fn is_indirect(&self) -> bool {
        self.flags & Self::INDIRECT != 0
    }

    /// That table.
    pub fn table(&self) -> Result<Table, Broken> {
        let ends = self.next().is_none();
        let fits = self.length != 0 && self.length.is_multiple_of(BYTES);
        let end = self.address.checked_add(self.length.into());
        if !ends || !fits || end.is_none() {
            return Err(Broken::Indirect);
        }
        Ok(Table::new(self.address, self.length / BYTES))
    }
}

/// A table of descriptors, with a copy of those that are probably next.
#[derive(Debug)]
pub struct Table {
    address: u64,
    /// How many it has.
    pub length: u32,
    copied: [Descriptor; COPIED],
    /// Which they are.
    first: u32,
    count: u32,
}

impl Table {
    fn new(address: u64, length: u32) -> Self {
        Self { address, length, copied: FromZeros::new_zeroed(), first: 0, count: 0 }
    }

    /// That of a queue.
    pub fn of_queue(address: u64, size: u16) -> Self {
        Self::new(address, size.into())
    }

    /// A copy of descriptor number `index`.
    pub fn get(&mut self, memory: &dyn GuestMemory, index: u16) -> Result<Descriptor, Broken> {
        let index = u32::from(index);
        if index >= self.length {
            return Err(Broken::Index);
        }
        let place = index.wrapping_sub(self.first);
        if place < self.count {
            return Ok(self.copied[place as usize]);
        }
        self.count = (self.length - index).min(COPIED as u32);
        self.first = index;
        let copied = &mut self.copied[..self.count as usize];
        memory.read(GuestPhysical(self.address + u64::from(index * BYTES)), copied.as_mut_bytes())?;
        Ok(copied[0])
    }
}
