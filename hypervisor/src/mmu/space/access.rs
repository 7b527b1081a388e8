// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest's memory as software sees it that acts on its behalf: through the slots, whatever is mapped.

use super::GuestSpace;
use crate::cpu::number;
use crate::memory::FRAME;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::mmu::Unbacked;
use crate::mmu::paging::NotNow;
use crate::mmu::slots::Memory;
use crate::mmu::slots::Slots;
use core::ops::Range;

/// Why an access does not come to its end.
enum Stop {
    /// No such memory.
    Unbacked(Unbacked),
    /// Another CPU is about to bring it.
    Busy,
}

impl From<Unbacked> for Stop {
    fn from(unbacked: Unbacked) -> Self {
        Self::Unbacked(unbacked)
    }
}

/// The part of an access that lies in one frame.
struct Part {
    address: GuestPhysical,
    /// Which bytes of the access.
    bytes: Range<usize>,
}

impl Part {
    /// All of an access, if that lies in one frame, as most do.
    fn whole(address: GuestPhysical, len: usize) -> Option<Self> {
        let left = (FRAME - address.0 % FRAME) as usize;
        (1..=left).contains(&len).then_some(Self { address, bytes: 0..len })
    }

    fn frame(&self) -> u64 {
        self.address.0 / FRAME
    }

    fn offset(&self) -> u64 {
        self.address.0 % FRAME
    }

    fn unbacked(&self) -> Unbacked {
        Unbacked { address: self.address }
    }

    fn memory<'s>(&self, slots: &'s Slots) -> Result<&'s Memory, Unbacked> {
        slots.find(self.frame()).and_then(|slot| slot.memory.as_ref()).ok_or(self.unbacked())
    }

    fn writable<'s>(&self, slots: &'s Slots) -> Result<&'s Memory, Unbacked> {
        self.memory(slots).ok().filter(|memory| memory.writable).ok_or(self.unbacked())
    }

    fn read(&self, slots: &Slots, buffer: &mut [u8]) -> Result<(), Unbacked> {
        let memory = self.memory(slots)?;
        memory.ram.read(memory.index(self.frame()), self.offset(), &mut buffer[self.bytes.clone()]);
        Ok(())
    }

    fn write(&self, slots: &Slots, bytes: &[u8]) -> Result<(), Stop> {
        let memory = self.writable(slots)?;
        let frame = memory.index(self.frame());
        self.brought(memory.ram.write(frame, self.offset(), &bytes[self.bytes.clone()]))?;
        memory.mark_written(self.frame());
        Ok(())
    }

    /// What became of an attempt to bring the memory.
    fn brought<R>(&self, result: Result<R, NotNow>) -> Result<R, Stop> {
        result.map_err(|reason| match reason {
            NotNow::Busy => Stop::Busy,
            NotNow::OutOfFrames => Stop::Unbacked(self.unbacked()),
        })
    }
}

/// Cuts an access at the borders of frames.
fn parts(address: GuestPhysical, len: usize) -> impl Iterator<Item = Result<Part, Unbacked>> {
    let mut done = 0;
    core::iter::from_fn(move || {
        if done >= len {
            return None;
        }
        let Some(at) = address.checked_add(done as u64) else { return Some(Err(Unbacked { address })) };
        let bytes = done..len.min(done + (FRAME - at.0 % FRAME) as usize);
        done = bytes.end;
        Some(Ok(Part { address: at, bytes }))
    })
}

impl GuestSpace {
    /// Carries out an access within a section, again and again while memory is under way that it needs.
    fn access<R>(&self, mut act: impl FnMut(&Slots) -> Result<R, Stop>) -> Result<R, Unbacked> {
        loop {
            match self.with_slots(number::current(), &mut act) {
                Ok(done) => return Ok(done),
                Err(Stop::Unbacked(unbacked)) => return Err(unbacked),
                Err(Stop::Busy) => self.coherence().kick.relax(),
            }
        }
    }
}

impl GuestMemory for GuestSpace {
    fn read(&self, address: GuestPhysical, buffer: &mut [u8]) -> Result<(), Unbacked> {
        self.with_slots(number::current(), |slots| {
            if let Some(part) = Part::whole(address, buffer.len()) {
                return part.read(slots, buffer);
            }
            for part in parts(address, buffer.len()) {
                part?.memory(slots)?;
            }
            for part in parts(address, buffer.len()) {
                part?.read(slots, buffer)?;
            }
            Ok(())
        })
    }

    fn write(&self, address: GuestPhysical, bytes: &[u8]) -> Result<(), Unbacked> {
        self.access(|slots| {
            if let Some(part) = Part::whole(address, bytes.len()) {
                return part.write(slots, bytes);
            }
            // All of it can be written before any is.
            for part in parts(address, bytes.len()) {
                let part = part?;
                let memory = part.writable(slots)?;
                part.brought(memory.ram.back(memory.index(part.frame())))?;
            }
            for part in parts(address, bytes.len()) {
                part?.write(slots, bytes)?;
            }
            Ok(())
        })
    }

    fn compare_exchange(&self, address: GuestPhysical, current: u64, new: u64) -> Result<bool, Unbacked> {
        assert!(address.0.is_multiple_of(8), "a word begins at a multiple of its size");
        let part = Part { address, bytes: 0..8 };
        self.access(|slots| {
            let memory = part.writable(slots)?;
            let word = (part.offset() / 8) as usize;
            let exchanged = memory.ram.compare_exchange(memory.index(part.frame()), word, current, new);
            let exchanged = part.brought(exchanged)?;
            if exchanged {
                memory.mark_written(part.frame());
            }
            Ok(exchanged)
        })
    }
}
