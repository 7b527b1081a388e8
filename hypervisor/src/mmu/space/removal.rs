// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mappings that go while what is behind them stays: the next access brings them back.

use super::GuestSpace;
use super::frames;
use crate::cpu::CpuNumber;
use crate::mmu::changes::Changes;
use crate::mmu::changes::TakenOut;
use crate::mmu::slots::Slots;
use crate::mmu::table::GUEST_FRAMES;
use core::ops::Range;

impl GuestSpace {
    /// Takes away all mappings of the guest-physical addresses of `range`. Comes back when no CPU uses any that was there when it
    /// was called.
    ///
    /// # Panics
    /// If the range has no whole frames, or `me` reads: faults of our own.
    pub fn zap(&self, me: CpuNumber, range: Range<u64>) {
        self.zap_frames(me, frames(&range));
    }

    pub(super) fn zap_frames(&self, me: CpuNumber, mut frames: Range<u64>) {
        while !frames.is_empty() {
            frames = self.make(me, |changes, _| changes.remove(frames));
        }
    }

    /// Takes away small mappings in the guest-physical addresses of `range` where large ones are possible: the next access
    /// brings these.
    ///
    /// # Panics
    /// As [`GuestSpace::zap`].
    pub fn collapse(&self, me: CpuNumber, range: Range<u64>) {
        let mut frames = frames(&range);
        while !frames.is_empty() {
            frames = self.make(me, |changes, slots| {
                let fits = |first: u64| slots.find(first).is_some_and(|slot| slot.fits_large(first));
                changes.collapse(frames, fits)
            });
        }
    }

    /// Whether the page at a guest frame, small or large, was accessed since it was mapped or this was asked last. Where the CPU
    /// does not tell, a page that is mapped was accessed, and it is taken away. No page is at a frame that guests do not have.
    pub fn age(&self, me: CpuNumber, frame: u64) -> bool {
        if frame >= GUEST_FRAMES {
            return false;
        }
        self.make(me, |changes, _| {
            if self.features.accessed_dirty {
                return changes.take_accessed(frame);
            }
            let _ = changes.remove(frame..frame + 1);
            changes.are_any()
        })
    }

    /// Makes changes, and all that must follow.
    pub(super) fn make<R>(&self, me: CpuNumber, act: impl FnOnce(&mut Changes<'_, '_>, &Slots) -> R) -> R {
        let mut taken_out = TakenOut::default();
        let reading = self.section(me);
        let slots = self.slots.read(&reading);
        let mut changes = Changes::new(&self.tables, &reading, me, &mut taken_out);
        let done = act(&mut changes, slots);
        let flushed = changes.flush(&self.roots);
        let mut mark = |frames: Range<u64>| slots.mark(&frames);
        let retired = flushed.release(if slots.any_logged() { Some(&mut mark) } else { None });
        drop(reading);
        retired.free(&self.tables);
        done
    }
}
