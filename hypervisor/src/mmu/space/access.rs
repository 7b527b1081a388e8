// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest's memory as software sees it that acts on its behalf: through the slots, whatever is mapped.

use super::GuestSpace;
use crate::cpu::number;
use crate::memory::FRAME;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::mmu::Kick;
use crate::mmu::Unbacked;
use crate::mmu::paging::NotNow;
use crate::mmu::slots::Memory;
use crate::mmu::slots::Slot;
use crate::mmu::slots::Slots;
use core::cell::Cell;
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

/// A guest's memory as it is while a section lasts: what was found once need not be looked for again.
struct Held<'s> {
    slots: &'s Slots,
    /// Where the last access was.
    last: Cell<Option<&'s Slot>>,
    kick: &'s dyn Kick,
}

impl<'s> Held<'s> {
    fn find(&self, frame: u64) -> Option<&'s Slot> {
        let last = self.last.get().filter(|slot| slot.frames.contains(&frame));
        let slot = last.or_else(|| self.slots.find(frame));
        self.last.set(slot);
        slot
    }

    fn readable(&self, part: &Part) -> Result<&'s Memory, Unbacked> {
        self.find(part.frame()).and_then(Slot::content).ok_or(part.unbacked())
    }

    fn writable(&self, part: &Part) -> Result<&'s Memory, Unbacked> {
        self.readable(part).ok().filter(|memory| memory.writable).ok_or(part.unbacked())
    }

    fn read_part(&self, part: &Part, buffer: &mut [u8]) -> Result<(), Unbacked> {
        let memory = self.readable(part)?;
        memory.ram.read(memory.index(part.frame()), part.offset(), &mut buffer[part.bytes.clone()]);
        Ok(())
    }

    fn write_part(&self, part: &Part, bytes: &[u8]) -> Result<(), Stop> {
        let memory = self.writable(part)?;
        let frame = memory.index(part.frame());
        part.brought(memory.ram.write(frame, part.offset(), &bytes[part.bytes.clone()]))?;
        memory.mark_written(part.frame());
        Ok(())
    }

    fn try_write(&self, address: GuestPhysical, bytes: &[u8]) -> Result<(), Stop> {
        if let Some(part) = Part::whole(address, bytes.len()) {
            return self.write_part(&part, bytes);
        }
        // All of it can be written before any is.
        for part in parts(address, bytes.len()) {
            let part = part?;
            let memory = self.writable(&part)?;
            part.brought(memory.ram.back(memory.index(part.frame())))?;
        }
        for part in parts(address, bytes.len()) {
            self.write_part(&part?, bytes)?;
        }
        Ok(())
    }

    fn try_compare_exchange(&self, address: GuestPhysical, current: u64, new: u64) -> Result<bool, Stop> {
        assert!(address.0.is_multiple_of(8), "a word begins at a multiple of its size");
        let part = Part { address, bytes: 0..8 };
        let memory = self.writable(&part)?;
        let word = (part.offset() / 8) as usize;
        let exchanged = memory.ram.compare_exchange(memory.index(part.frame()), word, current, new);
        let exchanged = part.brought(exchanged)?;
        if exchanged {
            memory.mark_written(part.frame());
        }
        Ok(exchanged)
    }

    /// Does it again and again while memory is under way that it needs. Who brings that waits for nobody, and so not for the end
    /// of this section.
    fn until_brought<R>(&self, act: impl Fn() -> Result<R, Stop>) -> Result<R, Unbacked> {
        loop {
            match act() {
                Ok(done) => return Ok(done),
                Err(Stop::Unbacked(unbacked)) => return Err(unbacked),
                Err(Stop::Busy) => self.kick.relax(),
            }
        }
    }
}

impl GuestMemory for Held<'_> {
    fn read(&self, address: GuestPhysical, buffer: &mut [u8]) -> Result<(), Unbacked> {
        if let Some(part) = Part::whole(address, buffer.len()) {
            return self.read_part(&part, buffer);
        }
        for part in parts(address, buffer.len()) {
            self.readable(&part?)?;
        }
        for part in parts(address, buffer.len()) {
            self.read_part(&part?, buffer)?;
        }
        Ok(())
    }

    fn write(&self, address: GuestPhysical, bytes: &[u8]) -> Result<(), Unbacked> {
        self.until_brought(|| self.try_write(address, bytes))
    }

    fn compare_exchange(&self, address: GuestPhysical, current: u64, new: u64) -> Result<bool, Unbacked> {
        self.until_brought(|| self.try_compare_exchange(address, current, new))
    }

    fn hold(&self, act: &mut dyn FnMut(&dyn GuestMemory)) {
        act(self);
    }
}

impl GuestSpace {
    fn held<R>(&self, act: impl FnOnce(&Held<'_>) -> R) -> R {
        let kick = &*self.coherence().kick;
        self.with_slots(number::current(), |slots| act(&Held { slots, last: Cell::new(None), kick }))
    }
}

impl GuestMemory for GuestSpace {
    fn read(&self, address: GuestPhysical, buffer: &mut [u8]) -> Result<(), Unbacked> {
        self.held(|memory| memory.read(address, buffer))
    }

    fn write(&self, address: GuestPhysical, bytes: &[u8]) -> Result<(), Unbacked> {
        self.held(|memory| memory.write(address, bytes))
    }

    fn compare_exchange(&self, address: GuestPhysical, current: u64, new: u64) -> Result<bool, Unbacked> {
        self.held(|memory| memory.compare_exchange(address, current, new))
    }

    fn hold(&self, act: &mut dyn FnMut(&dyn GuestMemory)) {
        self.held(|memory| act(memory));
    }
}
