// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest's memory as software sees it that acts on its behalf: through the slots, whatever is mapped.

use super::GuestSpace;
use crate::cpu::number;
use crate::memory::FRAME;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::mmu::Kick;
use crate::mmu::Unbacked;
use crate::mmu::backing::Piece;
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

/// A guest's memory as it is while a section lasts.
#[derive(Clone, Copy)]
struct Section<'s> {
    slots: &'s Slots,
    kick: &'s dyn Kick,
}

impl<'s> Section<'s> {
    fn readable(&self, part: &Part) -> Result<&'s Memory, Unbacked> {
        self.slots.find(part.frame()).and_then(Slot::content).ok_or(part.unbacked())
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

    /// The window around `address`, if there is memory.
    fn window(&self, address: GuestPhysical) -> Option<Window<'s>> {
        let frame = address.0 / FRAME;
        let slot = self.slots.find(frame)?;
        let memory = slot.content()?;
        let (piece, before) = memory.ram.piece(memory.index(frame))?;
        let first = frame - before;
        // What is before the slot, or behind it, is something else.
        let is_in_slot = slot.frames.start <= first && first + piece.frames() <= slot.frames.end;
        let writable = memory.writable && memory.log.is_none();
        is_in_slot.then_some(Window { start: first * FRAME, piece, writable })
    }
}

/// Memory that is there, in one piece, and stays so while a section lasts.
#[derive(Clone, Copy)]
struct Window<'s> {
    start: u64,
    piece: Piece<'s>,
    /// It may be written to, and nobody is to be told of that.
    writable: bool,
}

impl Window<'_> {
    const NOWHERE: Self = Self { start: 0, piece: Piece::EMPTY, writable: false };

    /// Where an address is in its piece, if it has it at all.
    fn offset(&self, address: GuestPhysical) -> u64 {
        address.0.wrapping_sub(self.start)
    }
}

/// Windows that are kept: one for each of so many places of 2 MiB, so that rings and buffers mostly have their own.
const WINDOWS: usize = 4;

/// A section for many accesses: what was found once need not be looked for again.
struct Held<'s> {
    section: Section<'s>,
    windows: [Cell<Window<'s>>; WINDOWS],
}

impl<'s> Held<'s> {
    fn new(section: Section<'s>) -> Self {
        Self { section, windows: [const { Cell::new(Window::NOWHERE) }; WINDOWS] }
    }

    #[inline]
    fn place(&self, address: GuestPhysical) -> &Cell<Window<'s>> {
        &self.windows[(address.0 >> 21) as usize % WINDOWS]
    }

    fn remember(&self, address: GuestPhysical) {
        if let Some(window) = self.section.window(address) {
            self.place(address).set(window);
        }
    }

    #[cold]
    fn read_elsewhere(&self, address: GuestPhysical, buffer: &mut [u8]) -> Result<(), Unbacked> {
        self.remember(address);
        let window = self.place(address).get();
        if window.piece.read(window.offset(address), buffer) {
            return Ok(());
        }
        self.section.read(address, buffer)
    }

    #[cold]
    fn write_elsewhere(&self, address: GuestPhysical, bytes: &[u8]) -> Result<(), Unbacked> {
        self.remember(address);
        let window = self.place(address).get();
        if window.writable && window.piece.write(window.offset(address), bytes) {
            return Ok(());
        }
        self.section.write(address, bytes)
    }
}

impl GuestMemory for Held<'_> {
    fn read(&self, address: GuestPhysical, buffer: &mut [u8]) -> Result<(), Unbacked> {
        let window = self.place(address).get();
        if window.piece.read(window.offset(address), buffer) {
            return Ok(());
        }
        self.read_elsewhere(address, buffer)
    }

    fn write(&self, address: GuestPhysical, bytes: &[u8]) -> Result<(), Unbacked> {
        let window = self.place(address).get();
        if window.writable && window.piece.write(window.offset(address), bytes) {
            return Ok(());
        }
        self.write_elsewhere(address, bytes)
    }

    fn compare_exchange(&self, address: GuestPhysical, current: u64, new: u64) -> Result<bool, Unbacked> {
        self.section.compare_exchange(address, current, new)
    }

    fn hold(&self, act: &mut dyn FnMut(&dyn GuestMemory)) {
        act(self);
    }
}

impl GuestSpace {
    fn in_section<R>(&self, act: impl FnOnce(Section<'_>) -> R) -> R {
        let kick = &*self.coherence().kick;
        self.with_slots(number::current(), |slots| act(Section { slots, kick }))
    }
}

impl GuestMemory for GuestSpace {
    fn read(&self, address: GuestPhysical, buffer: &mut [u8]) -> Result<(), Unbacked> {
        self.in_section(|memory| memory.read(address, buffer))
    }

    fn write(&self, address: GuestPhysical, bytes: &[u8]) -> Result<(), Unbacked> {
        self.in_section(|memory| memory.write(address, bytes))
    }

    fn compare_exchange(&self, address: GuestPhysical, current: u64, new: u64) -> Result<bool, Unbacked> {
        self.in_section(|memory| memory.compare_exchange(address, current, new))
    }

    fn hold(&self, act: &mut dyn FnMut(&dyn GuestMemory)) {
        self.in_section(|section| act(&Held::new(section)));
    }
}
