// SPDX-License-Identifier: MIT OR Apache-2.0
//! A set of interrupt vectors whose highest member is found without a loop.

/// The 256 bits of an IRR, ISR or TMR.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct VectorSet {
    /// As the registers show them: bit `v % 32` of word `v / 32` is vector `v`.
    words: [u32; 8],
    /// One bit for each word that is not zero. It is asked before each VM entry whether anything is pending;
    /// this makes the answer one compare.
    occupied: u8,
}

impl VectorSet {
    pub(super) fn insert(&mut self, vector: u8) {
        self.words[word_of(vector)] |= bit_of(vector);
        self.occupied |= 1 << word_of(vector);
    }

    /// Takes `vector` out; tells whether it was there.
    pub(super) fn remove(&mut self, vector: u8) -> bool {
        let word = &mut self.words[word_of(vector)];
        let was_there = *word & bit_of(vector) != 0;
        *word &= !bit_of(vector);
        if *word == 0 {
            self.occupied &= !(1 << word_of(vector));
        }
        was_there
    }

    pub(super) fn contains(&self, vector: u8) -> bool {
        self.words[word_of(vector)] & bit_of(vector) != 0
    }

    #[inline]
    pub(super) fn highest(&self) -> Option<u8> {
        let word = self.occupied.checked_ilog2()? as u8;
        let bit = self.words[usize::from(word)].ilog2() as u8;
        Some(word * 32 + bit)
    }

    /// The 32 vectors from `index * 32` on, as a register shows them; the index wraps at eight.
    pub(super) fn word(&self, index: u8) -> u32 {
        self.words[usize::from(index % 8)]
    }
}

fn word_of(vector: u8) -> usize {
    usize::from(vector / 32)
}

fn bit_of(vector: u8) -> u32 {
    1 << (vector % 32)
}

#[cfg(test)]
mod tests {
    use super::VectorSet;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn agrees_with_an_ordered_set(steps in prop::collection::vec((any::<bool>(), any::<u8>()), 0..400)) {
            let mut set = VectorSet::default();
            let mut model = BTreeSet::new();
            for (insert, vector) in steps {
                if insert {
                    set.insert(vector);
                    model.insert(vector);
                } else {
                    prop_assert_eq!(set.remove(vector), model.remove(&vector));
                }
                prop_assert_eq!(set.highest(), model.last().copied());
                prop_assert_eq!(set.contains(vector), model.contains(&vector));
            }
            for vector in 0..=u8::MAX {
                let shown = set.word(vector / 32) & (1 << (vector % 32)) != 0;
                prop_assert_eq!(shown, model.contains(&vector));
            }
        }
    }
}
