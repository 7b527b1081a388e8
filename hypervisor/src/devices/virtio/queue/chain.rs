// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a driver makes available at a time: buffers for the device to read, and after them such for it to write
//! (virtio 1.2, 2.7.4, "Message Framing": where one ends and the next begins means nothing).

use super::descriptor::Descriptor;
use super::descriptor::Table;
use crate::devices::virtio::Broken;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use alloc::vec::Vec;

/// A buffer of the guest, which does not wrap around; not more is known of it.
#[derive(Clone, Copy, Debug)]
struct Buffer {
    address: u64,
    length: u32,
}

/// How far buffers are used.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    /// Which of all buffers is next, and from which byte on.
    buffer: usize,
    offset: u32,
    /// Bytes from there to the last of its kind.
    left: u64,
}

impl Cursor {
    /// The next piece, of `most` bytes at most and one at least. The last buffer may have bytes that are not left.
    fn advance(&mut self, buffers: &[Buffer], most: usize) -> (GuestPhysical, usize) {
        let buffer = &buffers[self.buffer];
        let bytes = (most as u64).min((buffer.length - self.offset).into()).min(self.left) as usize;
        let address = buffer.address + u64::from(self.offset);
        self.left -= bytes as u64;
        self.offset += bytes as u32;
        if self.offset == buffer.length {
            self.buffer += 1;
            self.offset = 0;
        }
        (GuestPhysical(address), bytes)
    }
}

/// What a queue's [`pop`](super::Queue::pop) has found: its owner keeps it, and uses it again and again.
#[derive(Debug)]
pub struct Chain {
    head: u16,
    buffers: Vec<Buffer>,
    reading: Cursor,
    writing: Cursor,
}

impl Chain {
    /// With room for so many buffers: longer chains are taken for loops.
    #[must_use]
    pub fn new(most: u16) -> Self {
        Self {
            head: 0,
            buffers: Vec::with_capacity(most.into()),
            reading: Cursor::default(),
            writing: Cursor::default(),
        }
    }

    /// By which the driver knows it.
    pub(super) fn head(&self) -> u16 {
        self.head
    }

    /// Bytes that are left to read.
    #[must_use]
    pub fn readable(&self) -> u64 {
        self.reading.left
    }

    /// Bytes that are left to write.
    #[must_use]
    pub fn writable(&self) -> u64 {
        self.writing.left
    }

    /// Reads on, as much as there is and `buffer` takes; tells how much.
    pub fn read(&mut self, memory: &dyn GuestMemory, buffer: &mut [u8]) -> Result<usize, Broken> {
        let mut done = 0;
        while done < buffer.len() && self.reading.left > 0 {
            let (address, bytes) = self.reading.advance(&self.buffers, buffer.len() - done);
            memory.read(address, &mut buffer[done..done + bytes])?;
            done += bytes;
        }
        Ok(done)
    }

    /// Writes on, as much as there is room for; tells how much.
    pub fn write(&mut self, memory: &dyn GuestMemory, bytes: &[u8]) -> Result<usize, Broken> {
        let mut done = 0;
        while done < bytes.len() && self.writing.left > 0 {
            let (address, count) = self.writing.advance(&self.buffers, bytes.len() - done);
            memory.write(address, &bytes[done..done + count])?;
            done += count;
        }
        Ok(done)
    }

    /// Takes the last byte of what is left to write away from it, and tells where that is. Once for each chain.
    pub fn take_last_writable(&mut self) -> Option<GuestPhysical> {
        self.writing.left = self.writing.left.checked_sub(1)?;
        let last = self.buffers.last()?;
        Some(GuestPhysical(last.address + u64::from(last.length - 1)))
    }

    /// Takes in what begins at descriptor `head` of `table`.
    pub(super) fn gather(
        &mut self,
        memory: &dyn GuestMemory,
        table: Table,
        head: u16,
        indirect: bool,
    ) -> Result<(), Broken> {
        self.head = head;
        self.buffers.clear();
        self.reading = Cursor::default();
        self.writing = Cursor::default();
        let Some(inner) = self.follow(memory, table, head, indirect)? else { return Ok(()) };
        self.follow(memory, inner.table()?, 0, false).map(|_| ())
    }

    /// Takes in the buffers of one table. The last descriptor, if that leads to another table and may.
    fn follow(
        &mut self,
        memory: &dyn GuestMemory,
        mut table: Table,
        head: u16,
        indirect: bool,
    ) -> Result<Option<Descriptor>, Broken> {
        let mut next = head;
        for _ in 0..table.length {
            let descriptor = table.get(memory, next)?;
            if descriptor.is_indirect() {
                return if indirect { Ok(Some(descriptor)) } else { Err(Broken::Indirect) };
            }
            self.append(descriptor.address, descriptor.length, descriptor.is_writable())?;
            match descriptor.next() {
                Some(index) => next = index,
                None => return Ok(None),
            }
        }
        Err(Broken::Loop)
    }

    fn append(&mut self, address: u64, length: u32, writable: bool) -> Result<(), Broken> {
        match () {
            () if length == 0 => return Err(Broken::Empty),
            () if address.checked_add(length.into()).is_none() => return Err(Broken::Memory),
            () if self.buffers.len() == self.buffers.capacity() => return Err(Broken::Loop),
            () if !writable && self.writing.left > 0 => return Err(Broken::Order),
            () => {}
        }
        if writable {
            self.writing.left += u64::from(length);
        } else {
            self.reading.left += u64::from(length);
            self.writing.buffer += 1;
        }
        self.buffers.push(Buffer { address, length });
        Ok(())
    }
}
