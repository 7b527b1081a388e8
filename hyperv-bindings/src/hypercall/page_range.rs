// SPDX-License-Identifier: MIT OR Apache-2.0
//! The elements of flush lists: a first page and how many follow, in the two encodings that sources disagree on.
//!
//! The TLFS gives the low twelve bits to the number of further pages, 1 to 4096 pages in all. Other sources,
//! Microsoft's own among them, keep bit 11 for large pages, which leaves 1 to 2048. The calls for linear addresses say
//! by a flag which it is; call 0x00B0 has no flag. So what we emit never has bit 11: [`PageRange`] holds at most 2048
//! pages, and means the same in both.

use bitfield_struct::bitfield;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// Pages of 4 KiB in a [`PageRange`], at most.
pub const MAX_PAGES_PER_RANGE: u64 = 2048;

/// Page numbers have 52 bits.
const PAGE_NUMBERS: u64 = 1 << 52;

/// Consecutive pages of 4 KiB: what an element of a list means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSpan {
    /// The address of the first page divided by 4096.
    pub first_page: u64,
    /// How many pages.
    pub pages: u64,
}

/// One element of a list.
///
/// One that is read from a guest can hold anything: take it [`as_simple`](Self::as_simple) or
/// [`as_extended`](Self::as_extended), as the call says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct PageRange(u64);

impl PageRange {
    /// Encodes a span so that both encodings read it alike.
    ///
    /// `None` where it is empty, longer than [`MAX_PAGES_PER_RANGE`] or has a page number of more than 52 bits.
    #[must_use]
    pub const fn new(span: PageSpan) -> Option<Self> {
        if span.pages == 0 || span.pages > MAX_PAGES_PER_RANGE || span.first_page > PAGE_NUMBERS - span.pages
        {
            return None;
        }
        Some(Self(span.first_page << 12 | (span.pages - 1)))
    }

    /// Takes an element as it was found.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The element as it goes over the interface.
    #[must_use]
    pub const fn into_bits(self) -> u64 {
        self.0
    }

    /// What it means in the simple encoding.
    #[must_use]
    pub const fn as_simple(self) -> PageSpan {
        SimplePageRange::from_bits(self.0).span()
    }

    /// What it means in the extended encoding, large pages or not.
    #[must_use]
    pub const fn as_extended(self) -> PageSpan {
        let range = ExtendedPageRange::from_bits(self.0);
        if range.large_page() { LargePageRange::from_bits(self.0).span() } else { range.span() }
    }
}

/// The simple encoding, of which the TLFS speaks.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct SimplePageRange {
    /// Pages beyond the first.
    #[bits(12)]
    pub additional_pages: u16,
    /// The first page's address divided by 4096.
    #[bits(52)]
    pub first_page: u64,
}

impl SimplePageRange {
    /// The pages that are meant.
    #[must_use]
    pub const fn span(self) -> PageSpan {
        PageSpan { first_page: self.first_page(), pages: self.additional_pages() as u64 + 1 }
    }
}

/// The extended encoding, while [`large_page`](Self::large_page) is clear.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct ExtendedPageRange {
    /// Pages beyond the first.
    #[bits(11)]
    pub additional_pages: u16,
    /// The element is a [`LargePageRange`].
    pub large_page: bool,
    /// The first page's address divided by 4096.
    #[bits(52)]
    pub first_page: u64,
}

impl ExtendedPageRange {
    /// The pages that are meant.
    #[must_use]
    pub const fn span(self) -> PageSpan {
        PageSpan { first_page: self.first_page(), pages: self.additional_pages() as u64 + 1 }
    }
}

/// The extended encoding with [`large_page`](Self::large_page) set.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct LargePageRange {
    /// Large pages beyond the first.
    #[bits(11)]
    pub additional_pages: u16,
    /// Set.
    pub large_page: bool,
    /// The pages are of 1 GiB, not of 2 MiB.
    pub gigabyte_pages: bool,
    #[bits(8)]
    __: u8,
    /// The first page's address divided by 2 MiB, whatever the size of the pages.
    #[bits(43)]
    pub first_large_page: u64,
}

impl LargePageRange {
    /// The pages that are meant, in pages of 4 KiB.
    #[must_use]
    pub const fn span(self) -> PageSpan {
        let pages_each = if self.gigabyte_pages() { 512 * 512 } else { 512 };
        PageSpan {
            first_page: self.first_large_page() * 512,
            pages: (self.additional_pages() as u64 + 1) * pages_each,
        }
    }
}

/// The elements that a span of any length needs, in order.
#[derive(Clone, Debug)]
pub struct PageRanges {
    rest: PageSpan,
}

impl PageRanges {
    /// `None` where the span reaches beyond page numbers of 52 bits. An empty one needs no element.
    #[must_use]
    pub const fn of(span: PageSpan) -> Option<Self> {
        match span.first_page.checked_add(span.pages) {
            Some(end) if end <= PAGE_NUMBERS => Some(Self { rest: span }),
            _ => None,
        }
    }

    /// How many elements are still to come.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.rest.pages.div_ceil(MAX_PAGES_PER_RANGE)
    }
}

impl Iterator for PageRanges {
    type Item = PageRange;

    fn next(&mut self) -> Option<PageRange> {
        let pages = self.rest.pages.min(MAX_PAGES_PER_RANGE);
        let range = PageRange::new(PageSpan { pages, ..self.rest })?;
        self.rest = PageSpan { first_page: self.rest.first_page + pages, pages: self.rest.pages - pages };
        Some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::ExtendedPageRange;
    use super::LargePageRange;
    use super::MAX_PAGES_PER_RANGE;
    use super::PAGE_NUMBERS;
    use super::PageRange;
    use super::PageRanges;
    use super::PageSpan;
    use super::SimplePageRange;
    use proptest::prelude::*;

    prop_compose! {
        /// Spans from anywhere, the last page included, of up to 510 elements and a bit more.
        fn any_span()(pages in 1..=511 * 2048_u64)
                     (first_page in prop_oneof![0..=PAGE_NUMBERS - pages, Just(PAGE_NUMBERS - pages)], pages in Just(pages))
                     -> PageSpan {
            PageSpan { first_page, pages }
        }
    }

    proptest! {
        #[test]
        fn elements_cover_the_span_once_and_in_order(span in any_span()) {
            let mut next = span.first_page;
            for range in PageRanges::of(span).unwrap() {
                prop_assert_eq!(range.as_simple().first_page, next);
                next += range.as_simple().pages;
            }
            prop_assert_eq!(next, span.first_page + span.pages);
        }

        #[test]
        fn no_element_has_more_than_2048_pages_or_bit_11(span in any_span()) {
            for range in PageRanges::of(span).unwrap() {
                prop_assert!((1..=2048).contains(&range.as_simple().pages));
                prop_assert_eq!(range.into_bits() & 0x800, 0);
            }
        }

        #[test]
        fn both_encodings_agree_on_what_we_emit(span in any_span()) {
            for range in PageRanges::of(span).unwrap() {
                prop_assert_eq!(range.as_simple(), range.as_extended());
            }
        }

        #[test]
        fn remaining_counts_the_elements(span in any_span()) {
            let ranges = PageRanges::of(span).unwrap();
            prop_assert_eq!(ranges.remaining(), ranges.count() as u64);
        }

        #[test]
        fn one_element_decodes_to_what_was_encoded(span in any_span()) {
            let pages = span.pages.min(MAX_PAGES_PER_RANGE);
            let span = PageSpan { pages, ..span };
            prop_assert_eq!(PageRange::new(span).map(PageRange::as_simple), Some(span));
        }

        #[test]
        fn any_element_decodes_without_overflow(bits: u64) {
            for span in [PageRange::from_bits(bits).as_simple(), PageRange::from_bits(bits).as_extended()] {
                prop_assert!(span.first_page.checked_add(span.pages).is_some());
            }
        }
    }

    #[test]
    fn fewest_elements_are_used() {
        let elements = |pages| PageRanges::of(PageSpan { first_page: 7, pages }).unwrap().remaining();
        assert_eq!([0, 1, 2048, 2049, 510 * 2048, 510 * 2048 + 1].map(elements), [0, 1, 1, 2, 510, 511]);
    }

    #[test]
    fn empty_long_or_unaddressable_spans_are_refused() {
        let last = PAGE_NUMBERS - 1;
        assert!(PageRange::new(PageSpan { first_page: 0, pages: 0 }).is_none());
        assert!(PageRange::new(PageSpan { first_page: 0, pages: 2049 }).is_none());
        assert!(PageRange::new(PageSpan { first_page: last, pages: 1 }).is_some());
        assert!(PageRange::new(PageSpan { first_page: last, pages: 2 }).is_none());
        assert!(PageRange::new(PageSpan { first_page: u64::MAX, pages: 1 }).is_none());
        assert!(PageRanges::of(PageSpan { first_page: last, pages: 2 }).is_none());
        assert!(PageRanges::of(PageSpan { first_page: u64::MAX, pages: u64::MAX }).is_none());
    }

    #[test]
    fn encodings_disagree_from_bit_11_on() {
        let range = PageRange::from_bits(0x0000_0000_4020_0800);
        assert_eq!(range.as_simple(), PageSpan { first_page: 0x4_0200, pages: 2049 });
        assert_eq!(range.as_extended(), PageSpan { first_page: 0x4_0200, pages: 512 });
    }

    #[test]
    fn large_pages_count_as_512_or_as_262144() {
        let two_megabytes = LargePageRange::new().with_large_page(true).with_additional_pages(2047);
        assert_eq!(two_megabytes.span().pages, 2048 * 512);
        assert_eq!(two_megabytes.with_gigabyte_pages(true).span().pages, 2048 * 262_144);
        assert_eq!(two_megabytes.with_first_large_page(3).span().first_page, 1536);
    }

    #[test]
    fn fields_lie_where_published() {
        assert_eq!(SimplePageRange::new().with_additional_pages(0xFFF).into_bits(), 0xFFF);
        assert_eq!(SimplePageRange::new().with_first_page(1).into_bits(), 1 << 12);
        assert_eq!(ExtendedPageRange::new().with_additional_pages(0x7FF).into_bits(), 0x7FF);
        assert_eq!(ExtendedPageRange::new().with_large_page(true).into_bits(), 1 << 11);
        assert_eq!(LargePageRange::new().with_gigabyte_pages(true).into_bits(), 1 << 12);
        assert_eq!(LargePageRange::new().with_first_large_page(1).into_bits(), 1 << 21);
    }
}
