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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a2_an_entry_is_flushed_from_its_first_page_on_in_full() {
        let address = GuestPhysical(0x1_2345_6789);
        let pages = |level| Pages::of_entry(address, level);
        assert_eq!(pages(1), Pages::Run { start: GuestPhysical(0x1_2345_6000), count: 1 });
        assert_eq!(pages(2), Pages::Run { start: GuestPhysical(0x1_2340_0000), count: 512 });
        assert_eq!(pages(3), Pages::Run { start: GuestPhysical(0x1_0000_0000), count: 512 * 512 });
        assert_eq!(pages(4), Pages::Run { start: GuestPhysical(0), count: 512 * 512 * 512 });
    }

    #[test]
    fn a_run_begins_with_the_page_around_its_start() {
        let mut list = Pages::Run { start: GuestPhysical(0x1FFF), count: 2 }.list().unwrap();
        assert_eq!(list.next().unwrap().as_simple(), PageSpan { first_page: 1, pages: 2 });
    }

    #[test]
    fn what_no_list_can_hold_is_the_whole_space() {
        assert!(Pages::All.list().is_none());
        assert!(Pages::Run { start: GuestPhysical(u64::MAX), count: u64::MAX }.list().is_none());
        assert!(Pages::of_entry(GuestPhysical(0), 4).list().is_none());
        assert!(Pages::Run { start: GuestPhysical(u64::MAX), count: 1 }.list().is_some());
    }
}
