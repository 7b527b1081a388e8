// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is where in a guest's physical address space: RAM, ROM, devices; nothing elsewhere.

use super::backing::Ram;
use super::dirty_log::DirtyLog;
use super::entry::Access;
use super::entry::Rights;
use super::paging::Leaf;
use super::paging::NotNow;
use super::table::GUEST_FRAMES;
use super::table::LEVELS;
use super::table::frames_of;
use crate::memory::FRAME;
use crate::memory::OutOfFrames;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

/// A page of its own, to be laid over a guest's memory.
#[derive(Debug)]
pub struct OverlayPage {
    ram: Arc<Ram>,
    writable: bool,
}

impl OverlayPage {
    /// With this content, which the guest can read and execute.
    pub fn read_only(content: &[u8; FRAME as usize]) -> Result<Self, OutOfFrames> {
        let ram = Ram::new(FRAME)?;
        // Nobody else brings it at the same time.
        ram.write(0, 0, content).map_err(|_| OutOfFrames { bytes: FRAME })?;
        Ok(Self { ram, writable: false })
    }

    /// All zero, and the guest can write to it.
    pub fn writable() -> Result<Self, OutOfFrames> {
        Ok(Self { ram: Ram::new(FRAME)?, writable: true })
    }

    fn slot(&self, frame: u64) -> Slot {
        let ram = Arc::clone(&self.ram);
        let content = if self.writable { Content::Ram(ram) } else { Content::Rom(ram) };
        Slot::new(frame..frame + 1, content)
    }
}

/// What is to be at a range of guest-physical addresses.
#[derive(Clone, Debug)]
pub enum Content {
    /// RAM, from its beginning on; as much of it as the range is long.
    Ram(Arc<Ram>),
    /// RAM that the guest can only read and execute.
    Rom(Arc<Ram>),
    /// Registers: each access goes to who plays the device.
    Device,
    /// Registers that the processor plays, which knows them by this page. To software that acts for the guest it is no memory.
    Played(Arc<Ram>),
}

/// Memory at a run of guest frames.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Whose frames they are.
    pub ram: Arc<Ram>,
    /// The guest frame where the RAM's first frame is, or would be.
    origin: u64,
    /// The guest may write to it.
    pub writable: bool,
    /// It is there for the processor, which plays registers in its place.
    pub played: bool,
    /// Writes are logged.
    pub log: Option<Arc<DirtyLog>>,
}

/// A run of guest frames with one content.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Which they are.
    pub frames: Range<u64>,
    /// What is behind them: memory, or a device.
    pub memory: Option<Memory>,
}

impl Slot {
    fn new(frames: Range<u64>, content: Content) -> Self {
        let (ram, writable, played) = match content {
            Content::Ram(ram) => (ram, true, false),
            Content::Rom(ram) => (ram, false, false),
            Content::Played(ram) => (ram, true, true),
            Content::Device => return Self { frames, memory: None },
        };
        assert!(frames.end - frames.start <= ram.frames(), "the RAM is shorter than its place");
        let origin = frames.start;
        Self { frames, memory: Some(Memory { ram, origin, writable, played, log: None }) }
    }

    /// The memory behind it that is the guest's to use.
    #[must_use]
    pub fn content(&self) -> Option<&Memory> {
        self.memory.as_ref().filter(|memory| !memory.played)
    }

    /// Whether it has some of `frames`.
    #[must_use]
    pub fn meets(&self, frames: &Range<u64>) -> bool {
        self.frames.start < frames.end && frames.start < self.frames.end
    }

    /// Where writes to it are logged, if they are.
    #[must_use]
    pub fn log(&self) -> Option<&DirtyLog> {
        self.memory.as_ref()?.log.as_deref()
    }

    /// Whether `next` is more of the same memory.
    fn is_continued_by(&self, next: &Self) -> bool {
        let (Some(memory), Some(other)) = (&self.memory, &next.memory) else { return false };
        self.frames.end == next.frames.start && memory.goes_on(other)
    }

    fn part(&self, frames: Range<u64>) -> Option<Self> {
        let frames = self.frames.start.max(frames.start)..self.frames.end.min(frames.end);
        (!frames.is_empty()).then(|| Self { frames, memory: self.memory.clone() })
    }

    /// Whether the entry of a table of `level` that decides about `frame` decides about frames of this slot alone.
    fn has_all_around(&self, frame: u64, level: u32) -> bool {
        let first = frame - frame % frames_of(level);
        self.frames.start <= first && first + frames_of(level) <= self.frames.end
    }

    /// Tables below the root that it takes if each page is mapped by itself.
    fn tables_needed(&self) -> u64 {
        let of_level =
            |level| (self.frames.end - 1) / frames_of(level) - self.frames.start / frames_of(level) + 1;
        (2..=LEVELS).map(of_level).sum()
    }

    /// How `memory`, which is this slot's, is to be mapped at `frame` for `access`; brought, if it is not there yet. Where writes
    /// are logged only a write makes it writable, and it counts as written at once: not every CPU tells.
    pub fn leaf(&self, memory: &Memory, frame: u64, access: Access) -> Result<Leaf, NotNow> {
        let backed = memory.ram.back(memory.index(frame))?;
        let write = memory.writable && (memory.log.is_none() || access.write);
        let large = backed.large && !(memory.log.is_some() && write);
        let level = if large && memory.is_aligned() && self.has_all_around(frame, 2) { 2 } else { 1 };
        let rights = Rights { write, dirty: write && access.write };
        Ok(Leaf { address: backed.address, level, rights })
    }

    /// Whether a large page could map all around `frame`.
    pub fn fits_large(&self, frame: u64) -> bool {
        let Some(memory) = &self.memory else { return false };
        let large = || memory.ram.look(memory.index(frame)).is_some_and(|backed| backed.large);
        memory.log.is_none() && memory.is_aligned() && self.has_all_around(frame, 2) && large()
    }
}

impl Memory {
    /// The number in the RAM of what is at a guest frame.
    #[must_use]
    #[inline]
    pub fn index(&self, frame: u64) -> u64 {
        frame - self.origin
    }

    /// Software has written to a guest frame. After the write: then it is told with this one, or with the next.
    pub fn mark_written(&self, frame: u64) {
        if let Some(log) = &self.log {
            log.mark(frame..frame + 1);
        }
    }

    /// Whether it is the same memory, at the same place.
    fn goes_on(&self, other: &Self) -> bool {
        let logs_alike = match (&self.log, &other.log) {
            (None, None) => true,
            (Some(log), Some(other)) => Arc::ptr_eq(log, other),
            _ => false,
        };
        let alike = (self.origin, self.writable) == (other.origin, other.writable);
        Arc::ptr_eq(&self.ram, &other.ram) && alike && logs_alike
    }

    /// Whether a large page of the RAM can lie under a large entry.
    fn is_aligned(&self) -> bool {
        self.origin.is_multiple_of(frames_of(2))
    }
}

/// All slots of a guest, in order and apart.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    slots: Vec<Slot>,
    /// Those of the slots that hide something, in the order in which they were laid.
    overlays: Vec<Overlay>,
}

/// A page that hides what is under it, and does it no harm (TLFS, "GPA Overlay Pages").
#[derive(Clone, Debug)]
struct Overlay {
    slot: Slot,
    hidden: Option<Slot>,
}

impl Overlay {
    fn is_of(&self, page: &OverlayPage) -> bool {
        self.slot.memory.as_ref().is_some_and(|memory| Arc::ptr_eq(&memory.ram, &page.ram))
    }
}

impl Slots {
    /// With `overlays` over `slots`.
    fn covered(mut slots: Vec<Slot>, overlays: impl Iterator<Item = Slot>) -> Self {
        let mut laid = Vec::new();
        for slot in overlays {
            let hidden = find(&slots, slot.frames.start).and_then(|under| under.part(slot.frames.clone()));
            slots = placed(&slots, &slot.frames, Some(slot.clone()));
            laid.push(Overlay { slot, hidden });
        }
        Self { slots, overlays: laid }
    }

    /// What is there without the overlays.
    fn bare(&self) -> Vec<Slot> {
        let lifted = |slots: Vec<Slot>, overlay: &Overlay| {
            placed(&slots, &overlay.slot.frames, overlay.hidden.clone())
        };
        self.overlays.iter().rev().fold(self.slots.clone(), lifted)
    }

    /// The slot of a guest frame.
    #[must_use]
    #[inline]
    pub fn find(&self, frame: u64) -> Option<&Slot> {
        find(&self.slots, frame)
    }

    /// The guest frame over which `page` lies, if it does.
    #[must_use]
    pub fn overlaid(&self, page: &OverlayPage) -> Option<u64> {
        self.overlays.iter().find(|overlay| overlay.is_of(page)).map(|overlay| overlay.slot.frames.start)
    }

    /// The same, but that `page` lies over the guest frame `at`, and nowhere else; with `None` it lies nowhere. There is none if no
    /// memory is at that frame.
    #[must_use]
    pub fn with_overlay(&self, page: &OverlayPage, at: Option<u64>) -> Option<Self> {
        let bare = self.bare();
        if at.is_some_and(|at| find(&bare, at).and_then(Slot::content).is_none()) {
            return None;
        }
        let others = self.overlays.iter().filter(|overlay| !overlay.is_of(page));
        let new = at.map(|at| page.slot(at));
        Some(Self::covered(bare, others.map(|overlay| overlay.slot.clone()).chain(new)))
    }

    /// The next frame with memory behind it, after one that has none.
    #[must_use]
    pub fn next_after(&self, frame: u64) -> Option<u64> {
        let later = self.slots.iter().filter(|slot| slot.frames.start > frame && slot.memory.is_some());
        later.map(|slot| slot.frames.start).next()
    }

    /// Guest frames were written to.
    pub fn mark(&self, frames: &Range<u64>) {
        for slot in self.slots.iter().filter(|slot| slot.meets(frames)) {
            if let Some(log) = slot.log() {
                log.mark(frames.clone());
            }
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    /// Whether any writes are logged.
    #[must_use]
    pub fn any_logged(&self) -> bool {
        self.slots.iter().any(|slot| slot.log().is_some())
    }

    fn memories(&self) -> impl Iterator<Item = &Memory> {
        self.slots.iter().filter_map(|slot| slot.memory.as_ref())
    }

    /// The same, but with that content at `frames`; or with nothing there.
    ///
    /// # Panics
    /// If guests have no such frames, or there is less RAM: a fault of our own.
    #[must_use]
    pub fn with(&self, frames: Range<u64>, content: Option<Content>) -> Self {
        assert!(frames.start < frames.end && frames.end <= GUEST_FRAMES, "no place for a slot: {frames:x?}");
        let slot = content.map(|content| Slot::new(frames.clone(), content));
        Self::covered(placed(&self.bare(), &frames, slot), self.overlay_slots())
    }

    /// The same, but that the writes to all memory that lies in part in `frames` are logged, from the beginning on; or not at all.
    pub fn with_logs(&self, frames: &Range<u64>, logged: bool) -> Result<Self, OutOfFrames> {
        let mut slots = self.bare();
        for slot in slots.iter_mut().filter(|slot| slot.meets(frames)) {
            if let Some(memory) = slot.memory.as_mut().filter(|memory| !memory.played) {
                memory.log = None;
                if logged {
                    memory.log = Some(Arc::new(DirtyLog::new(slot.frames.clone())?));
                }
            }
        }
        Ok(Self::covered(slots, self.overlay_slots()))
    }

    fn overlay_slots(&self) -> impl Iterator<Item = Slot> {
        self.overlays.iter().map(|overlay| overlay.slot.clone())
    }

    /// Which frames are to be zapped when `frames` are not what they were. Where nothing is left, all around them up to the next
    /// slots: tables go that translate nothing else, for they would be missed elsewhere.
    #[must_use]
    pub fn to_be_zapped(&self, frames: Range<u64>) -> Range<u64> {
        // An overlay may have stayed at one end.
        let ends = [frames.start, frames.end - 1];
        if ends.iter().all(|&frame| self.find(frame).is_some()) {
            return frames;
        }
        let start = self.slots.iter().map(|slot| slot.frames.end).filter(|&end| end <= frames.start).max();
        let end = self.slots.iter().map(|slot| slot.frames.start).filter(|&start| start >= frames.end).min();
        start.unwrap_or(0)..end.unwrap_or(GUEST_FRAMES)
    }

    /// Tables that are needed at most, the root's among them.
    #[must_use]
    pub fn tables_needed(&self) -> u64 {
        1 + self.slots.iter().map(Slot::tables_needed).sum::<u64>()
    }

    /// Bytes of memory that the guest sees.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let frames = |slot: &Slot| slot.content().map_or(0, |_| slot.frames.end - slot.frames.start);
        self.slots.iter().map(frames).sum::<u64>() * FRAME
    }

    /// Bytes of physical memory behind it: what is seen twice counts once.
    #[must_use]
    pub fn backed_bytes(&self) -> u64 {
        self.sum_over_rams(Ram::backed_bytes)
    }

    /// Bytes that are set aside for the record of what is behind it.
    #[must_use]
    pub fn record_bytes(&self) -> u64 {
        self.sum_over_rams(Ram::record_bytes)
    }

    fn sum_over_rams(&self, bytes: impl Fn(&Ram) -> u64) -> u64 {
        let rams: Vec<_> = self.memories().map(|memory| &memory.ram).collect();
        let first_seen = |n: usize| !rams[..n].iter().any(|other| Arc::ptr_eq(other, rams[n]));
        (0..rams.len()).filter(|&n| first_seen(n)).map(|n| bytes(rams[n])).sum()
    }
}

/// The slot of a guest frame.
#[inline]
fn find(slots: &[Slot], frame: u64) -> Option<&Slot> {
    let after = slots.partition_point(|slot| slot.frames.start <= frame);
    let slot = slots.get(after.checked_sub(1)?)?;
    slot.frames.contains(&frame).then_some(slot)
}

/// The same, but with that slot at `frames`; or with nothing there. What goes on in the next slot becomes one with it: only
/// within a slot are there large pages.
fn placed(slots: &[Slot], frames: &Range<u64>, slot: Option<Slot>) -> Vec<Slot> {
    let before = slots.iter().filter_map(|slot| slot.part(0..frames.start));
    let after = slots.iter().filter_map(|slot| slot.part(frames.end..GUEST_FRAMES));
    let mut whole: Vec<Slot> = Vec::new();
    for slot in before.chain(slot).chain(after) {
        match whole.last_mut() {
            Some(last) if last.is_continued_by(&slot) => last.frames.end = slot.frames.end,
            _ => whole.push(slot),
        }
    }
    whole
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;
