// SPDX-License-Identifier: MIT OR Apache-2.0
//! Our memory as the model L0 sees it, and pages that it lays over ours.

// UNSAFETY: L0 reads and writes pages that belong to values of the code under test.
#![expect(unsafe_code)]

use crate::consume::SharedPage;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ptr::NonNull;

#[repr(align(4096))]
#[expect(dead_code, reason = "read and written by address alone")]
struct Page([u8; 4096]);

/// The pages that were asked for, by address. They are never freed.
#[derive(Debug, Default)]
pub(in crate::consume) struct Memory {
    pages: RefCell<BTreeMap<u64, NonNull<u8>>>,
}

impl Memory {
    /// A new page of ours at `address`.
    pub(in crate::consume) fn page(&self, address: u64) -> SharedPage {
        let page = NonNull::from(Box::leak(Box::new(Page([0; 4096])))).cast();
        let earlier = self.pages.borrow_mut().insert(address, page);
        assert!(earlier.is_none(), "one page has this address already");
        // SAFETY: it lives for ever, is aligned, and only this value and L0 use it.
        unsafe { SharedPage::new(page, address) }
    }

    pub(super) fn has(&self, page: u64) -> bool {
        self.pages.borrow().contains_key(&page)
    }

    /// The quad word at `address`, as L0 reads it.
    pub(super) fn read(&self, address: u64) -> u64 {
        assert!(address.is_multiple_of(8));
        let page = self.pages.borrow()[&(address & !0xFFF)];
        // SAFETY: aligned, and inside of the page.
        unsafe { page.add((address & 0xFFF) as usize).cast().read_volatile() }
    }

    /// Has the page and `content` change places. Where we have no memory nobody can tell.
    pub(super) fn exchange(&self, page: u64, content: &mut [u8; 4096]) {
        if let Some(page) = self.pages.borrow().get(&page) {
            // SAFETY: a whole page, of which there are no references.
            unsafe { page.cast().swap(NonNull::from(content)) };
        }
    }
}
