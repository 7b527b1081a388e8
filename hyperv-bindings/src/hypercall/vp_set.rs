// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sets of virtual processors of any size: banks of 64, of which only those in use are sent (TLFS, `HV_VP_SET`).

use crate::layout::assert_layout;
use crate::open_set::open_set;
use core::fmt;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// Virtual processors in a bank.
pub const VPS_PER_BANK: u32 = 64;

/// Banks that a set can have.
pub const MAX_BANKS: usize = 64;

/// How a set is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct VpSetFormat(pub u64);

open_set! {
    VpSetFormat(u64);
    /// By banks.
    SPARSE = 0, "sparse";
    /// All virtual processors of the partition.
    ALL = 1, "all";
}

/// The fixed part of a set. The banks follow: one quad word for each bit in the mask, lowest bank first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VpSetHeader {
    /// How the set is given.
    pub format: VpSetFormat,
    /// Which banks follow, a bit each.
    pub valid_banks_mask: u64,
}

assert_layout!(VpSetHeader, 16, { format: 0, valid_banks_mask: 8 });

impl VpSetHeader {
    /// Quad words that follow: what goes into the call's variable header size.
    #[must_use]
    pub const fn bank_count(&self) -> u16 {
        self.valid_banks_mask.count_ones() as u16
    }
}

/// A set as it was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is no heap here, and sets live shortly")]
pub enum VpSet {
    /// All virtual processors of the partition.
    All,
    /// Those that are listed.
    Sparse(SparseVpSet),
}

impl VpSet {
    /// Decodes a set from its header and the call's variable header, which has to hold exactly the banks.
    ///
    /// A set of all processors may come with banks; they count for the size, and for nothing else.
    pub fn decode(header: VpSetHeader, variable_header: &[u64]) -> Result<Self, VpSetError> {
        if variable_header.len() != usize::from(header.bank_count()) {
            return Err(VpSetError::Size { expected: header.bank_count(), found: variable_header.len() });
        }
        match header.format {
            VpSetFormat::ALL => Ok(Self::All),
            VpSetFormat::SPARSE => {
                Ok(Self::Sparse(SparseVpSet::decode(header.valid_banks_mask, variable_header)))
            }
            format => Err(VpSetError::Format(format)),
        }
    }
}

/// Up to 4096 virtual processors, by VP index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SparseVpSet {
    banks: [u64; MAX_BANKS],
}

impl SparseVpSet {
    /// Nobody.
    pub const EMPTY: Self = Self { banks: [0; MAX_BANKS] };

    /// Adds a virtual processor.
    pub fn insert(&mut self, vp_index: u32) -> Result<(), VpIndexTooLarge> {
        let bank = self.banks.get_mut(bank_of(vp_index)).ok_or(VpIndexTooLarge { vp_index })?;
        *bank |= bit_of(vp_index);
        Ok(())
    }

    /// Whether a virtual processor is in the set.
    #[must_use]
    pub fn contains(&self, vp_index: u32) -> bool {
        self.banks.get(bank_of(vp_index)).is_some_and(|bank| bank & bit_of(vp_index) != 0)
    }

    /// The header that goes with [`banks`](Self::banks).
    #[must_use]
    pub fn header(&self) -> VpSetHeader {
        let used = self.banks.iter().enumerate().filter(|(_, bank)| **bank != 0);
        let valid_banks_mask = used.fold(0, |mask, (number, _)| mask | 1 << number);
        VpSetHeader { format: VpSetFormat::SPARSE, valid_banks_mask }
    }

    /// The banks that follow the header, in order.
    pub fn banks(&self) -> impl Iterator<Item = u64> {
        self.banks.iter().copied().filter(|bank| *bank != 0)
    }

    /// Banks that the mask names and `contents` lacks stay empty.
    fn decode(valid_banks_mask: u64, contents: &[u64]) -> Self {
        let mut set = Self::EMPTY;
        let valid = (0..MAX_BANKS).filter(|number| valid_banks_mask & 1 << number != 0);
        for (number, content) in valid.zip(contents) {
            set.banks[number] = *content;
        }
        set
    }
}

const fn bank_of(vp_index: u32) -> usize {
    (vp_index / VPS_PER_BANK) as usize
}

const fn bit_of(vp_index: u32) -> u64 {
    1 << (vp_index % VPS_PER_BANK)
}

/// A VP index that no set can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VpIndexTooLarge {
    /// The index.
    pub vp_index: u32,
}

impl fmt::Display for VpIndexTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "VP index {} does not fit a VP set, which ends at 4095; name all processors instead",
            self.vp_index
        )
    }
}

impl core::error::Error for VpIndexTooLarge {}

/// Why a set cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VpSetError {
    /// The variable header has another size than the mask says.
    Size {
        /// Quad words by the mask.
        expected: u16,
        /// Quad words in the call.
        found: usize,
    },
    /// The format is none that we know.
    Format(VpSetFormat),
}

impl fmt::Display for VpSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { expected, found } => {
                write!(
                    f,
                    "VP set with {found} banks where its mask has {expected}; send one per bit that is set"
                )
            }
            Self::Format(format) => write!(f, "VP set of format {format}; send 0 (sparse) or 1 (all)"),
        }
    }
}

impl core::error::Error for VpSetError {}

#[cfg(test)]
mod tests {
    use super::SparseVpSet;
    use super::VpIndexTooLarge;
    use super::VpSet;
    use super::VpSetError;
    use super::VpSetFormat;
    use super::VpSetHeader;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set_of(members: &BTreeSet<u32>) -> SparseVpSet {
        let mut set = SparseVpSet::EMPTY;
        for member in members {
            set.insert(*member).unwrap();
        }
        set
    }

    proptest! {
        #[test]
        fn members_are_those_that_were_inserted(members: BTreeSet<u16>) {
            let members: BTreeSet<u32> = members.into_iter().map(|member| u32::from(member) % 4096).collect();
            let set = set_of(&members);
            for vp_index in 0..5000 {
                prop_assert_eq!(set.contains(vp_index), members.contains(&vp_index));
            }
        }

        #[test]
        fn header_counts_as_many_banks_as_follow(members in prop::collection::btree_set(0..4096_u32, 0..200)) {
            let set = set_of(&members);
            let count = usize::from(set.header().bank_count());
            prop_assert_eq!(count, set.banks().count());
            prop_assert_eq!(count, members.iter().map(|member| member / 64).collect::<BTreeSet<_>>().len());
        }

        #[test]
        fn set_decodes_to_what_was_encoded(members in prop::collection::btree_set(0..4096_u32, 0..200)) {
            let set = set_of(&members);
            let banks: Vec<u64> = set.banks().collect();
            prop_assert_eq!(VpSet::decode(set.header(), &banks), Ok(VpSet::Sparse(set)));
        }

        #[test]
        fn any_other_number_of_banks_is_refused(mask: u64, found in 0..100_usize, format in 0..2_u64) {
            let header = VpSetHeader { format: VpSetFormat(format), valid_banks_mask: mask };
            let refused = VpSet::decode(header, &vec![0; found]).is_err();
            prop_assert_eq!(refused, found != mask.count_ones() as usize);
        }
    }

    #[test]
    fn published_example_is_encoded_as_published() {
        let set = set_of(&BTreeSet::from([0, 5, 130]));
        assert_eq!(set.header(), VpSetHeader { format: VpSetFormat(0), valid_banks_mask: 0x05 });
        assert_eq!(set.banks().collect::<Vec<_>>(), [0x21, 0x04]);
    }

    #[test]
    fn banks_may_be_valid_and_empty() {
        let header = VpSetHeader { format: VpSetFormat::SPARSE, valid_banks_mask: 0b110 };
        assert_eq!(VpSet::decode(header, &[0, 1]), Ok(VpSet::Sparse(set_of(&BTreeSet::from([128])))));
    }

    #[test]
    fn banks_of_a_set_of_all_are_skipped_but_counted() {
        let header = VpSetHeader { format: VpSetFormat::ALL, valid_banks_mask: 0b11 };
        assert_eq!(VpSet::decode(header, &[1, 2]), Ok(VpSet::All));
        assert_eq!(VpSet::decode(header, &[]), Err(VpSetError::Size { expected: 2, found: 0 }));
    }

    #[test]
    fn unknown_format_is_refused_and_named() {
        let header = VpSetHeader { format: VpSetFormat(7), valid_banks_mask: 0 };
        assert_eq!(VpSet::decode(header, &[]), Err(VpSetError::Format(VpSetFormat(7))));
    }

    #[test]
    fn last_index_is_4095() {
        let mut set = SparseVpSet::EMPTY;
        assert_eq!(set.insert(4095), Ok(()));
        assert_eq!(set.header().valid_banks_mask, 1 << 63);
        assert_eq!(set.insert(4096), Err(VpIndexTooLarge { vp_index: 4096 }));
        assert!(!set.contains(u32::MAX));
    }
}
