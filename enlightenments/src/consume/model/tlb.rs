// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the model's CPUs remember of our second-level tables: everything that nobody flushed.

use std::cell::RefCell;
use std::collections::BTreeSet;

/// One page of 4 KiB, as one CPU has it from one root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::consume) struct Translation {
    pub(in crate::consume) cpu: u32,
    /// The address of the root table.
    pub(in crate::consume) root: u64,
    /// Guest-physical address divided by 4096.
    pub(in crate::consume) page: u64,
}

#[derive(Debug, Default)]
pub(in crate::consume) struct Tlbs {
    held: RefCell<BTreeSet<Translation>>,
}

impl Tlbs {
    pub(in crate::consume) fn fill(&self, translations: impl IntoIterator<Item = Translation>) {
        self.held.borrow_mut().extend(translations);
    }

    /// Everything that was filled in and not flushed.
    pub(in crate::consume) fn held(&self) -> Vec<Translation> {
        self.held.borrow().iter().copied().collect()
    }

    pub(super) fn flush_space(&self, root: u64) {
        self.held.borrow_mut().retain(|translation| translation.root != root);
    }

    pub(super) fn flush_pages(&self, root: u64, first: u64, count: u64) {
        let flushed = |held: &Translation| held.root == root && (first..first + count).contains(&held.page);
        self.held.borrow_mut().retain(|translation| !flushed(translation));
    }
}
