// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is to be flushed: a run of guest-physical pages, or all of them.

use crate::memory::FRAME;
use crate::mmu::GuestPhysical;
use hyperv_bindings::hypercall::MAX_GUEST_PHYSICAL_RANGES;
use hyperv_bindings::hypercall::PageRanges;
use hyperv_bindings::hypercall::PageSpan;

/// Guest-physical pages of 4 KiB whose translations were taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// All that there are.
    All,
    /// `count` pages from the one on that `start` lies in.
    Run {
        /// Any address in the first page.
        start: GuestPhysical,
        /// How many.
        count: u64,
    },
}

impl Pages {
    /// All pages that one entry at `level` (1: a page table's) translates, for any address among them.
    #[must_use]
    pub const fn of_entry(address: GuestPhysical, level: u32) -> Self {
        let count = 1 << (9 * (level - 1));
        Self::Run { start: GuestPhysical(address.0 & !(count * FRAME - 1)), count }
    }

    pub(super) const fn is_none(self) -> bool {
        matches!(self, Self::Run { count: 0, .. })
    }

    /// The elements of a flush list, or `None` where one call cannot take them all: then it is the whole space.
    pub(super) fn list(self) -> Option<PageRanges> {
        let Self::Run { start, count } = self else { return None };
        let ranges = PageRanges::of(PageSpan { first_page: start.0 / FRAME, pages: count })?;
        (ranges.remaining() <= MAX_GUEST_PHYSICAL_RANGES as u64).then_some(ranges)
    }
}
