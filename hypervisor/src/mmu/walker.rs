// SPDX-License-Identifier: MIT OR Apache-2.0
//! The processor's walk of the second level, for tests: it knows nothing of sections, markers and bits that it ignores.

// UNSAFETY: follows the tables by the addresses in their entries, as the processor does.
#![expect(unsafe_code)]

use super::atomic::Ordering;
use super::entry::Entry;
use super::table::LEVELS;
use super::table::frames_of;
use super::words::INDEX_BITS;
use super::words::WORDS;
use super::words::WordPage;
use crate::memory::FRAME;

/// What a CPU may keep of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Translation {
    /// Physical address of the frame.
    pub(crate) address: u64,
    /// Level of the entry that maps it.
    pub(crate) level: u32,
    /// Writes are allowed.
    pub(crate) write: bool,
    /// The entry's dirty bit is set, so the CPU need not look there again to write.
    pub(crate) dirty: bool,
    /// The entry's accessed bit is set, so the CPU does not set it again.
    pub(crate) accessed: bool,
}

/// Walks from the root that an EPT pointer leads to; `None` is an EPT violation. Sets accessed and dirty bits, if the pointer says
/// so (SDM vol. 3, "Accessed and Dirty Flags for EPT").
pub(crate) fn walk(pointer: u64, frame: u64, write: bool) -> Option<Translation> {
    let accessed_dirty = pointer & 1 << 6 != 0;
    let (mut table, mut level) = (pointer & !(FRAME - 1), LEVELS);
    loop {
        // SAFETY: tests let it walk only as long as somebody's flush would wait for it; what is gone nevertheless is rubble.
        let word = &unsafe { WordPage::at(table) }[(frame >> (INDEX_BITS * (level - 1))) as usize % WORDS];
        let entry = Entry::from_bits(word.load(Ordering::Acquire));
        if !(entry.read() || entry.write() || entry.execute()) || write && !entry.write() {
            return None;
        }
        assert!(entry.present(), "the processor uses an entry that we take for absent: {entry:?}");
        let leaf = level == 1 || entry.large();
        let touched = entry.with_accessed(true).with_dirty(entry.dirty() || leaf && write);
        if accessed_dirty && touched != entry {
            let (old, new) = (entry.into_bits(), touched.into_bits());
            if word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
        }
        if leaf {
            let address = entry.address() + frame % frames_of(level) * FRAME;
            let (dirty, accessed) = (touched.dirty(), accessed_dirty || entry.accessed());
            return Some(Translation { address, level, write: entry.write(), dirty, accessed });
        }
        (table, level) = (entry.address(), level - 1);
    }
}
