// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory of one guest: what is where, what is mapped, and how both change while its vCPUs run.

mod access;
mod fault;
mod removal;
mod writes;

pub use super::backing::Ram;
pub use super::entry::Access;
pub use super::slots::Content;
pub use super::slots::OverlayPage;
pub use fault::Fault;

use super::published::Published;
use super::slots::Slots;
use super::table::Tables;
use crate::cpu::CpuNumber;
use crate::cpu::number;
use crate::memory::Commitment;
use crate::memory::FRAME;
use crate::memory::OutOfFrames;
use crate::mmu::Coherence;
use crate::mmu::flush::Root;
use crate::mmu::flush::Roots;
use crate::mmu::grace::Reading;
use crate::mmu::lock::Mutex;
use alloc::sync::Arc;
use core::fmt;
use core::ops::Range;

/// What the processor's extended page tables have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Accessed and dirty bits.
    pub accessed_dirty: bool,
}

/// Why a page does not lie where it was to: all is as before.
#[derive(Clone, Copy, Debug)]
pub enum NotOverlaid {
    /// The guest has no memory there.
    NoMemory,
    /// There is not enough memory for tables.
    OutOfFrames(OutOfFrames),
}

impl fmt::Display for NotOverlaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("a page is to lie over memory, and the guest has none there"),
            Self::OutOfFrames(error) => error.fmt(f),
        }
    }
}

/// Memory of one guest.
#[derive(Debug)]
pub struct GuestSpace {
    slots: Published<Slots>,
    tables: Tables,
    /// Held by who changes slots.
    changing: Mutex<()>,
    root: Arc<Root>,
    roots: Roots,
    features: Features,
}

impl GuestSpace {
    /// With nothing in it.
    pub fn new(coherence: Arc<Coherence>, features: Features) -> Result<Self, OutOfFrames> {
        let slots = Slots::default();
        // Each CPU may hold a table for a moment that another one's makes needless.
        let set_aside = slots.tables_needed() + coherence.cpus().count() as u64;
        let tables = Tables::new(Commitment::new(set_aside)?, Arc::clone(&coherence))?;
        let roots = Roots::new(Arc::clone(&coherence));
        let root = roots.create(tables.pointer(features.accessed_dirty));
        Ok(Self {
            slots: Published::new(coherence, slots),
            tables,
            changing: Mutex::new(()),
            root,
            roots,
            features,
        })
    }

    /// The root of its tables, for [`Roots::load`].
    #[must_use]
    pub fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// All roots that translate it, and who runs on them.
    #[must_use]
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Puts `content` at the guest-physical addresses of `range`, whole frames; what was there goes. Comes back when no vCPU
    /// and no device sees anything else there. Afterwards each fault can be resolved: all tables that it could take are set aside.
    ///
    /// # Panics
    /// If the range is empty, has no whole frames, or ends above 2^48, or the RAM is shorter; or if `me` reads: faults of our own.
    pub fn set(&self, me: CpuNumber, range: Range<u64>, content: Content) -> Result<(), OutOfFrames> {
        let frames = frames(&range);
        self.change(me, frames, |slots, frames| slots.with(frames, Some(content)))
    }

    /// Takes away what is at the guest-physical addresses of `range`. Comes back when nobody sees it any more.
    ///
    /// # Panics
    /// As [`GuestSpace::set`].
    pub fn remove(&self, me: CpuNumber, range: Range<u64>) -> Result<(), OutOfFrames> {
        self.change(me, frames(&range), |slots, frames| slots.with(frames, None))
    }

    /// Has `page` lie over the guest frame `at`, and nowhere else; with `None` it lies nowhere. What it hides comes back
    /// unharmed when it goes. Comes back when nobody sees anything else there.
    ///
    /// # Panics
    /// If `me` reads: it would wait for itself.
    pub fn overlay(&self, me: CpuNumber, page: &OverlayPage, at: Option<u64>) -> Result<(), NotOverlaid> {
        let _changing = self.changing.lock();
        let (before, slots) = self.with_slots(me, |now| (now.overlaid(page), now.with_overlay(page, at)));
        let slots = slots.ok_or(NotOverlaid::NoMemory)?;
        let stale =
            [before, at].map(|frame| frame.map_or(0..0, |frame| slots.to_be_zapped(frame..frame + 1)));
        self.put(me, slots, stale).map_err(NotOverlaid::OutOfFrames)
    }

    fn change(
        &self,
        me: CpuNumber,
        frames: Range<u64>,
        change: impl FnOnce(&Slots, Range<u64>) -> Slots,
    ) -> Result<(), OutOfFrames> {
        let _changing = self.changing.lock();
        let slots = self.with_slots(me, |now| change(now, frames.clone()));
        let stale = slots.to_be_zapped(frames);
        self.put(me, slots, [stale])
    }

    /// Puts `slots` in the place of those that are there, from which they differ in `stale`. Under the lock of who changes slots.
    fn put<const RANGES: usize>(
        &self,
        me: CpuNumber,
        slots: Slots,
        stale: [Range<u64>; RANGES],
    ) -> Result<(), OutOfFrames> {
        let (needed_before, needed) = (self.with_slots(me, Slots::tables_needed), slots.tables_needed());
        if needed > needed_before {
            self.tables.memory().grow(needed - needed_before)?;
        }
        // Zapped once nobody maps any more what only the slots before have.
        self.slots.replace(me, slots, || stale.into_iter().for_each(|frames| self.zap_frames(me, frames)));
        // Other CPUs may be about to give tables back.
        while !self.tables.memory().shrink(needed_before.saturating_sub(needed)) {
            self.coherence().kick.relax();
        }
        Ok(())
    }

    /// Bytes of the tables.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.tables.memory().taken() * FRAME
    }

    /// Bytes of the RAM and ROM that the guest sees.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.with_slots(number::current(), Slots::bytes)
    }

    /// Bytes of physical memory behind them so far.
    #[must_use]
    pub fn backed_bytes(&self) -> u64 {
        self.with_slots(number::current(), Slots::backed_bytes)
    }

    /// Bytes that are set aside for it beside its memory: for its tables, and for the record of what is behind it, if all of it is
    /// backed page by page.
    #[must_use]
    pub fn set_aside_bytes(&self) -> u64 {
        self.tables.memory().promised() * FRAME + self.with_slots(number::current(), Slots::record_bytes)
    }

    fn coherence(&self) -> &Coherence {
        self.roots.coherence()
    }

    fn section(&self, me: CpuNumber) -> Reading<'_> {
        self.coherence().grace.read(me)
    }

    fn with_slots<R>(&self, me: CpuNumber, act: impl FnOnce(&Slots) -> R) -> R {
        act(self.slots.read(&self.section(me)))
    }
}

impl Drop for GuestSpace {
    fn drop(&mut self) {
        self.roots.retire(&self.root);
    }
}

/// The guest frames of a range of addresses.
fn frames(range: &Range<u64>) -> Range<u64> {
    assert!((range.start | range.end).is_multiple_of(FRAME), "{range:x?} has no whole frames");
    range.start / FRAME..range.end / FRAME
}

#[cfg(test)]
#[cfg(feature = "loom")]
mod loom;
#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;
