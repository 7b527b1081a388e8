// SPDX-License-Identifier: MIT OR Apache-2.0
//! A fault of the second level: what a guest touched, and what becomes of it.

use super::GuestSpace;
use crate::cpu::CpuNumber;
use crate::memory::FRAME;
use crate::memory::OutOfFrames;
use crate::mmu::Counter;
use crate::mmu::GuestPhysical;
use crate::mmu::changes::Changes;
use crate::mmu::changes::TakenOut;
use crate::mmu::entry::Access;
use crate::mmu::grace::Reading;
use crate::mmu::paging;
use crate::mmu::paging::Mapped;
use crate::mmu::paging::NotNow;
use crate::mmu::table::Seen;
use crate::mmu::table::frames_of;
use core::ops::Range;

/// How often a fault is tried before the guest is let in to try once more itself.
const TRIES: usize = if cfg!(feature = "loom") { 2 } else { 32 };

/// What became of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The access is allowed now.
    Resolved,
    /// It was allowed already. If it faults again, the CPU uses what it cached, and owes an INVEPT of the root.
    Spurious,
    /// A device has the address.
    Device,
    /// A write to ROM.
    Protected,
    /// Nothing is there.
    Nothing,
    /// There is no memory, though it was set aside: a fault of our own.
    OutOfMemory,
    /// Others are at work there. The guest may go on; it will fault again.
    Again,
}

impl GuestSpace {
    /// The guest touched `address`, and CPU `me` is out of it: makes that possible, if memory is there.
    pub fn fault(&self, me: CpuNumber, address: GuestPhysical, access: Access) -> Fault {
        let (fault, _) = self.map(me, address.0 / FRAME, access);
        let counters = &self.coherence().counters;
        if matches!(fault, Fault::Resolved | Fault::Spurious) {
            counters.count(me, Counter::SecondLevelFaults);
        }
        if fault == Fault::Spurious {
            counters.count(me, Counter::SpuriousFaults);
        }
        fault
    }

    /// Maps all memory at the guest-physical addresses of `range`, so that it does not fault later.
    ///
    /// # Panics
    /// If the range has no whole frames: a fault of our own.
    pub fn populate(&self, me: CpuNumber, range: Range<u64>) -> Result<(), OutOfFrames> {
        let Range { start: mut frame, end } = super::frames(&range);
        let access = Access { read: true, ..Access::default() };
        while frame < end {
            match self.map(me, frame, access) {
                (Fault::OutOfMemory, _) => return Err(OutOfFrames { bytes: FRAME }),
                (Fault::Again, _) => {}
                // What has no memory is passed by, up to the next slot.
                (Fault::Nothing | Fault::Device, _) => {
                    frame = self.with_slots(me, |slots| slots.next_after(frame)).unwrap_or(end);
                }
                (Fault::Resolved | Fault::Spurious | Fault::Protected, level) => {
                    frame = (frame / frames_of(level) + 1) * frames_of(level);
                }
            }
        }
        Ok(())
    }

    /// What became of it, and at which level the page is mapped, if it is.
    fn map(&self, me: CpuNumber, frame: u64, access: Access) -> (Fault, u32) {
        for _ in 0..TRIES {
            if let Some(done) = self.try_map(me, frame, access) {
                return done;
            }
            self.coherence().kick.relax();
        }
        (Fault::Again, 1)
    }

    /// `None`: others are at work there.
    fn try_map(&self, me: CpuNumber, frame: u64, access: Access) -> Option<(Fault, u32)> {
        let reading = self.section(me);
        let Some(slot) = self.slots.read(&reading).find(frame) else { return Some((Fault::Nothing, 1)) };
        let Some(memory) = &slot.memory else { return Some((Fault::Device, 1)) };
        if access.write && !memory.writable {
            return Some((Fault::Protected, 1));
        }
        let leaf = || slot.leaf(memory, frame, access);
        match paging::map(&self.tables, self.tables.root(&reading), frame, access, leaf) {
            Mapped::Done { level } => Some((Fault::Resolved, level)),
            Mapped::Spurious { level } => Some((Fault::Spurious, level)),
            Mapped::OutOfFrames => Some((Fault::OutOfMemory, 1)),
            Mapped::Again => None,
            Mapped::Split(seen) => self.split(me, &reading, seen),
        }
    }

    /// Makes room for a small page with other rights than the large one has that was seen. Then the fault is tried again.
    #[cold]
    fn split(&self, me: CpuNumber, reading: &Reading<'_>, seen: Seen<'_>) -> Option<(Fault, u32)> {
        let mut taken_out = TakenOut::default();
        let mut changes = Changes::new(&self.tables, reading, me, &mut taken_out);
        let split = changes.split(seen);
        // Nothing was taken out, so there is nothing to free.
        let _ = changes.flush(&self.roots).release(None);
        (split == Err(NotNow::OutOfFrames)).then_some((Fault::OutOfMemory, 1))
    }
}
