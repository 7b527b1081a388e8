// SPDX-License-Identifier: MIT OR Apache-2.0
//! A set of interrupt vectors, an IRR, ISR or TMR, as it stands in a page of registers.

use super::register::Register;
use super::register_page::RegisterPage;

/// One of the three registers of 256 bits: bit `v % 32` of word `v / 32` is vector `v`.
#[derive(Clone, Debug)]
pub(super) struct VectorSet {
    /// The register of its first word.
    first: Register,
    /// One bit for each word that is not zero. It is asked before many VM entries whether anything is pending; this makes the
    /// answer one compare. Where a processor changes the sets, too, it says nothing.
    occupied: u8,
}

impl VectorSet {
    /// The set whose words begin at `first`, which are all zero.
    pub(super) fn empty(first: Register) -> Self {
        Self { first, occupied: 0 }
    }

    /// The page was cleared.
    pub(super) fn forget(&mut self) {
        self.occupied = 0;
    }

    pub(super) fn insert(&mut self, page: &RegisterPage, vector: u8) {
        let register = self.register(vector);
        page.set(register, page.get(register) | bit_of(vector));
        self.occupied |= 1 << word_of(vector);
    }

    /// Takes `vector` out; tells whether it was there.
    pub(super) fn remove(&mut self, page: &RegisterPage, vector: u8) -> bool {
        let register = self.register(vector);
        let before = page.get(register);
        let left = before & !bit_of(vector);
        page.set(register, left);
        if left == 0 {
            self.occupied &= !(1 << word_of(vector));
        }
        before != left
    }

    pub(super) fn contains(&self, page: &RegisterPage, vector: u8) -> bool {
        page.get(self.register(vector)) & bit_of(vector) != 0
    }

    #[inline]
    pub(super) fn highest(&self, page: &RegisterPage) -> Option<u8> {
        if page.is_shared() {
            return page.highest_of_set(self.first);
        }
        let mut occupied = self.occupied;
        while let Some(word) = occupied.checked_ilog2() {
            let word = word as u8;
            if let Some(bit) = page.get(self.first.further(word)).checked_ilog2() {
                return Some(word * 32 + bit as u8);
            }
            occupied &= !(1 << word);
        }
        None
    }

    /// The 64 vectors from `index * 64` on; the index wraps at four.
    pub(super) fn quarter(&self, page: &RegisterPage, index: u8) -> u64 {
        let word = |half| u64::from(page.get(self.first.further(index % 4 * 2 + half)));
        word(1) << 32 | word(0)
    }

    fn register(&self, vector: u8) -> Register {
        self.first.further(word_of(vector))
    }
}

fn word_of(vector: u8) -> u8 {
    vector / 32
}

fn bit_of(vector: u8) -> u32 {
    1 << (vector % 32)
}

#[cfg(test)]
mod tests {
    use super::super::Part;
    use super::*;
    use crate::memory::Frames;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// What is done to a set.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Insert(u8),
        Remove(u8),
        /// A processor does one or the other, if it can.
        Played(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            any::<u8>().prop_map(Step::Insert),
            any::<u8>().prop_map(Step::Remove),
            any::<u8>().prop_map(Step::Played),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_an_ordered_set(shared: bool, steps in prop::collection::vec(step(), 0..400)) {
            let frame = || RegisterPage::Frame(Frames::one().expect("the host has memory"), Part::Whole);
            let page = if shared { frame() } else { RegisterPage::own() };
            let mut set = VectorSet::empty(Register::INTERRUPT_REQUEST);
            let mut model = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Insert(vector) => {
                        set.insert(&page, vector);
                        model.insert(vector);
                    }
                    Step::Remove(vector) => prop_assert_eq!(set.remove(&page, vector), model.remove(&vector)),
                    Step::Played(vector) if shared => {
                        let register = set.register(vector);
                        page.set(register, page.get(register) ^ bit_of(vector));
                        if !model.remove(&vector) {
                            model.insert(vector);
                        }
                    }
                    Step::Played(_) => {}
                }
                prop_assert_eq!(set.highest(&page), model.last().copied());
            }
            for vector in 0..=u8::MAX {
                prop_assert_eq!(set.contains(&page, vector), model.contains(&vector));
                let shown = set.quarter(&page, vector / 64) & (1 << (vector % 64)) != 0;
                prop_assert_eq!(shown, model.contains(&vector));
            }
        }
    }
}
