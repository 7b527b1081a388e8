// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which pages were written to: logged by taking the right to write away, page by page, until the next write.
//!
//! What is writable and dirty was written to since it was protected; what a removal or software took note of is in the log. A
//! page that is asked for is protected first and read from outside later, so that a write comes before or is told next time.

use super::GuestSpace;
use super::frames;
use crate::cpu::CpuNumber;
use crate::memory::OutOfFrames;
use core::ops::Range;

/// Frames that one call tells about.
const WINDOW: u64 = 64;

impl GuestSpace {
    /// From here on writes to all memory that lies in part at the guest-physical addresses of `range` are logged; what was written
    /// before does not count.
    ///
    /// # Panics
    /// If the range has no whole frames, or `me` reads: faults of our own.
    pub fn start_log(&self, me: CpuNumber, range: Range<u64>) -> Result<(), OutOfFrames> {
        let _changing = self.changing.lock();
        let frames = frames(&range);
        let slots = self.with_slots(me, |slots| slots.with_logs(&frames, true))?;
        // Protected once all who map know of the log.
        self.slots.replace(me, slots, || {
            self.make(me, |changes, slots| {
                for slot in slots.iter().filter(|slot| slot.log().is_some() && slot.meets(&frames)) {
                    changes.protect(slot.frames.clone(), &mut |_, _| {});
                }
            });
        });
        Ok(())
    }

    /// Which of the frames from `first` on, the first `count` of at most 64, were written to since the last call: bit `n` for frame
    /// `first + n`. They are logged anew. Frames without a log were not written to.
    pub fn fetch_log(&self, me: CpuNumber, first: u64, count: u64) -> u64 {
        let wanted = first..first.saturating_add(count.min(WINDOW));
        self.make(me, |changes, slots| {
            let mut written = 0;
            for slot in slots.iter() {
                let Some(log) = slot.log() else { continue };
                let frames = wanted.start.max(slot.frames.start)..wanted.end.min(slot.frames.end);
                if frames.is_empty() {
                    continue;
                }
                let within = frames.clone();
                changes.protect(frames.clone(), &mut |page, dirty| {
                    let page = page.start.max(within.start)..page.end.min(within.end);
                    written |= page.filter(|_| dirty).fold(0, |bits, frame| bits | 1 << (frame - first));
                });
                written |= log.take(frames.start, frames.end - frames.start) << (frames.start - first);
            }
            written
        })
    }

    /// Writes are logged no more. Pages become writable again, and large ones again by [`GuestSpace::collapse`].
    ///
    /// # Panics
    /// As [`GuestSpace::start_log`].
    pub fn stop_log(&self, me: CpuNumber, range: Range<u64>) {
        let _changing = self.changing.lock();
        // No log takes no memory.
        if let Ok(slots) = self.with_slots(me, |slots| slots.with_logs(&frames(&range), false)) {
            self.slots.replace(me, slots, || {});
        }
    }
}
