// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extended page tables: guest-physical to physical, four levels, with 4 KiB, 2 MiB and 1 GiB pages.

// UNSAFETY: follows the tables by the physical addresses in their entries.
#![expect(unsafe_code)]

use crate::memory::FRAME;
use crate::memory::Frames;
use crate::memory::OutOfFrames;
use crate::memory::PAGE_1G;
use crate::memory::PAGE_2M;
use crate::memory::physical;
use crate::mmu::GuestPhysical;
use bitfield_struct::bitfield;
use core::mem;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;

/// An entry of a table (SDM vol. 3, "EPT Translation Mechanism").
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct EptEntry {
    /// Reads are allowed.
    pub read: bool,
    /// Writes are allowed.
    pub write: bool,
    /// Instruction fetches are allowed.
    pub execute: bool,
    /// Memory type of a page.
    #[bits(3)]
    pub memory_type: u8,
    /// The guest's PAT does not count.
    pub ignore_pat: bool,
    /// Maps a page of 2 MiB or 1 GiB rather than naming a table.
    pub large: bool,
    /// Set by the CPU on any access.
    pub accessed: bool,
    /// Set by the CPU on a write.
    pub dirty: bool,
    __: bool,
    /// Ours: the entry is in use. A bit of its own, so that an entry without any permission can still be present.
    pub present: bool,
    /// Number of the frame, page or table that it leads to.
    #[bits(40)]
    pub frame: u64,
    #[bits(12)]
    __: u16,
}

/// Write-back, of SDM vol. 3, "EPT and Memory Typing".
const WRITE_BACK: u8 = 6;
const LEVELS: u32 = 4;
const ENTRIES: usize = 512;

impl EptEntry {
    fn table(address: u64) -> Self {
        Self::new()
            .with_read(true)
            .with_write(true)
            .with_execute(true)
            .with_present(true)
            .with_frame(address / FRAME)
    }

    fn page(address: u64, large: bool) -> Self {
        Self::table(address).with_memory_type(WRITE_BACK).with_large(large)
    }
}

/// The tables of one guest.
#[derive(Debug)]
pub struct Ept {
    root: Frames,
    /// Whether a 1 GiB page may be mapped by one entry.
    pages_1g: bool,
    tables: u64,
}

impl Ept {
    /// Tables that map nothing.
    pub fn new(pages_1g: bool) -> Result<Self, OutOfFrames> {
        Ok(Self { root: Frames::one()?, pages_1g, tables: 1 })
    }

    /// Value for the VMCS's EPT pointer: write-back tables, four levels, accessed and dirty bits where the CPU has them
    /// (SDM vol. 3, "Format of Extended-Page-Table Pointer").
    #[must_use]
    pub fn pointer(&self, accessed_dirty: bool) -> u64 {
        self.root.address()
            | u64::from(WRITE_BACK)
            | u64::from(LEVELS - 1) << 3
            | u64::from(accessed_dirty) << 6
    }

    /// Bytes that the tables take.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.tables * FRAME
    }

    /// Lends `frames` to the guest as RAM from `guest` on, all accesses allowed. They must stay for as long as a vCPU runs on
    /// these tables.
    ///
    /// # Panics
    /// If a part is mapped already, or the address is not that of a whole frame: a fault of our own.
    pub fn map(&mut self, guest: GuestPhysical, frames: &Frames) -> Result<(), OutOfFrames> {
        self.map_range(guest, frames.address(), frames.bytes())
    }

    /// Maps `bytes` from `guest` on to what lies at `host`, with pages as large as both addresses allow.
    fn map_range(&mut self, guest: GuestPhysical, host: u64, bytes: u64) -> Result<(), OutOfFrames> {
        assert!((guest.0 | host | bytes).is_multiple_of(FRAME), "only whole frames are mapped");
        let mut done = 0;
        while done < bytes {
            let (at, to) = (guest.0 + done, host + done);
            let fits = |page: u64| (at | to).is_multiple_of(page) && bytes - done >= page;
            let (page, level) = match () {
                () if self.pages_1g && fits(PAGE_1G) => (PAGE_1G, 3),
                () if fits(PAGE_2M) => (PAGE_2M, 2),
                () => (FRAME, 1),
            };
            let slot = self.slot(at, level)?;
            let new = EptEntry::page(to, level > 1);
            let old = slot.swap(new.into_bits(), Ordering::Relaxed);
            assert!(!EptEntry::from_bits(old).present(), "guest-physical {at:#x} is mapped twice");
            done += page;
        }
        Ok(())
    }

    /// Where `guest` leads: physical address and bytes of the page around it.
    #[must_use]
    pub fn translate(&self, guest: GuestPhysical) -> Option<(u64, u64)> {
        let mut table = self.root.address();
        for level in (1..=LEVELS).rev() {
            // SAFETY: the root, or what an entry in use leads to.
            let slot = unsafe { &entries(table)[index(guest.0, level)] };
            let entry = EptEntry::from_bits(slot.load(Ordering::Relaxed));
            if !entry.present() {
                return None;
            }
            table = entry.frame() * FRAME;
            if level == 1 || entry.large() {
                let page = page_size(level);
                return Some((table + guest.0 % page, page));
            }
        }
        None
    }

    /// The entry of `address` in its table of `level`, with the tables above it made where they are missing.
    fn slot(&mut self, address: u64, level: u32) -> Result<&AtomicU64, OutOfFrames> {
        let mut table = self.root.address();
        for above in (level + 1..=LEVELS).rev() {
            // SAFETY: the root, or what an entry in use leads to.
            let slot = unsafe { &entries(table)[index(address, above)] };
            let mut entry = EptEntry::from_bits(slot.load(Ordering::Relaxed));
            if !entry.present() {
                let frame = Frames::one()?;
                entry = EptEntry::table(frame.address());
                mem::forget(frame);
                self.tables += 1;
                slot.store(entry.into_bits(), Ordering::Relaxed);
            }
            assert!(!entry.large(), "guest-physical {address:#x} is mapped twice");
            table = entry.frame() * FRAME;
        }
        // SAFETY: what an entry in use leads to.
        Ok(unsafe { &entries(table)[index(address, level)] })
    }
}

impl Drop for Ept {
    fn drop(&mut self) {
        free_below(self.root.address(), LEVELS);
    }
}

/// Gives back the tables that the table at `address` leads to.
fn free_below(address: u64, level: u32) {
    if level == 1 {
        return;
    }
    // SAFETY: called for the root and for what entries in use lead to, while the `Ept` is being dropped.
    for slot in unsafe { entries(address) } {
        let entry = EptEntry::from_bits(slot.load(Ordering::Relaxed));
        if entry.present() && !entry.large() {
            let table = entry.frame() * FRAME;
            free_below(table, level - 1);
            // SAFETY: `slot` made this table out of a frame and forgot it there; no entry leads to it any more.
            drop(unsafe { Frames::from_forgotten(table, FRAME) });
        }
    }
}

/// The entries of the table at `address`.
///
/// # Safety
/// It is the root or what an entry in use leads to, and the `Ept` lives for `'a`.
unsafe fn entries<'a>(address: u64) -> &'a [AtomicU64; ENTRIES] {
    // SAFETY: such a frame is a table for as long as the `Ept` lives, and only touched as atomics.
    unsafe { &*physical::pointer(address).cast::<[AtomicU64; ENTRIES]>() }
}

fn page_size(level: u32) -> u64 {
    FRAME << (9 * (level - 1))
}

fn index(address: u64, level: u32) -> usize {
    (address / page_size(level)) as usize % ENTRIES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_as_large_as_both_addresses_allow() {
        let mut ept = Ept::new(true).unwrap();
        ept.map_range(GuestPhysical(0), 5 * PAGE_1G, PAGE_1G + PAGE_2M + FRAME).unwrap();
        assert_eq!(ept.translate(GuestPhysical(0x1234)), Some((5 * PAGE_1G + 0x1234, PAGE_1G)));
        assert_eq!(ept.translate(GuestPhysical(PAGE_1G + 5)), Some((6 * PAGE_1G + 5, PAGE_2M)));
        assert_eq!(ept.translate(GuestPhysical(PAGE_1G + PAGE_2M)), Some((6 * PAGE_1G + PAGE_2M, FRAME)));
        assert_eq!(ept.translate(GuestPhysical(PAGE_1G + PAGE_2M + FRAME)), None);
        assert_eq!(ept.held_bytes(), 4 * FRAME);
    }

    #[test]
    fn an_odd_host_address_gets_small_pages() {
        let mut ept = Ept::new(true).unwrap();
        ept.map_range(GuestPhysical(0), PAGE_2M + FRAME, PAGE_2M).unwrap();
        assert_eq!(ept.translate(GuestPhysical(PAGE_2M - 1)), Some((2 * PAGE_2M + FRAME - 1, FRAME)));
    }

    #[test]
    fn without_1g_pages_there_are_none() {
        let mut ept = Ept::new(false).unwrap();
        ept.map_range(GuestPhysical(0), 0, PAGE_1G).unwrap();
        assert_eq!(ept.translate(GuestPhysical(PAGE_1G - 1)), Some((PAGE_1G - 1, PAGE_2M)));
    }

    #[test]
    #[should_panic(expected = "mapped twice")]
    fn mapping_twice_is_caught() {
        let mut ept = Ept::new(true).unwrap();
        ept.map_range(GuestPhysical(0), 0, PAGE_1G).unwrap();
        ept.map_range(GuestPhysical(FRAME), 0, FRAME).unwrap();
    }

    #[test]
    fn the_pointer_tells_levels_and_memory_type() {
        let ept = Ept::new(true).unwrap();
        assert_eq!(ept.pointer(true) & 0xfff, 0x5e);
        assert_eq!(ept.pointer(false) & 0xfff, 0x1e);
    }
}
