// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the answer to a leaf lies: laid out at compile time, so that finding it takes a few compares.

use super::policy::FIRST_HYPERVISOR;
use super::policy::MAX_BASIC;
use super::policy::MAX_EXTENDED;
use super::policy::MAX_HYPERVISOR;
use super::policy::POLICY;
use super::policy::Row;
use super::policy::Subleaves;

const BASIC_SLOTS: usize = MAX_BASIC as usize + 1;
const HYPERVISOR_SLOTS: usize = (MAX_HYPERVISOR - FIRST_HYPERVISOR) as usize + 1;
const FIRST_EXTENDED: u32 = 0x8000_0000;
const EXTENDED_SLOTS: usize = (MAX_EXTENDED - FIRST_EXTENDED) as usize + 1;

/// How many answers a table holds. The first is that of all leaves that the policy leaves out.
pub(super) const ANSWERS: usize = lay_out().1;

const SLOT_COUNT: usize = BASIC_SLOTS + HYPERVISOR_SLOTS + EXTENDED_SLOTS;

static SLOTS: [Slot; SLOT_COUNT] = lay_out().0;

/// What is to be filled in when an answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completion {
    None,
    /// Leaf 01H: the APIC ID and OSXSAVE.
    Version,
    /// Leaf 0BH: the x2APIC ID, and the sub-leaf that was asked for.
    Topology,
    /// Leaf 0DH: the sizes for the current XCR0.
    ExtendedState,
}

impl Completion {
    const fn of(leaf: u32) -> Self {
        match leaf {
            0x1 => Self::Version,
            0xB => Self::Topology,
            0xD => Self::ExtendedState,
            _ => Self::None,
        }
    }
}

/// The answers of one leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    first: u8,
    /// The sub-leaf from which on all have the same answer.
    last: u8,
    pub completion: Completion,
}

impl Slot {
    const ABSENT: Self = Self { first: 0, last: 0, completion: Completion::None };

    /// The index of the answer to `subleaf`.
    #[inline]
    pub fn answer(&self, subleaf: u32) -> usize {
        usize::from(self.first) + subleaf.min(u32::from(self.last)) as usize
    }
}

/// The slot of a leaf. One that is out of range has the highest basic leaf's, as on a processor.
#[inline]
pub(super) fn of(leaf: u32) -> &'static Slot {
    &SLOTS[index_of(leaf)]
}

#[inline]
const fn index_of(leaf: u32) -> usize {
    match leaf {
        0..=MAX_BASIC => leaf as usize,
        FIRST_HYPERVISOR..=MAX_HYPERVISOR => BASIC_SLOTS + (leaf - FIRST_HYPERVISOR) as usize,
        FIRST_EXTENDED..=MAX_EXTENDED => BASIC_SLOTS + HYPERVISOR_SLOTS + (leaf - FIRST_EXTENDED) as usize,
        _ => MAX_BASIC as usize,
    }
}

/// Gives each leaf of the policy a run of answers, with one of zeros after its last sub-leaf.
const fn lay_out() -> ([Slot; SLOT_COUNT], usize) {
    let mut slots = [Slot::ABSENT; SLOT_COUNT];
    let mut answers = 1;
    let mut row = 0;
    while row < POLICY.len() {
        let leaf = POLICY[row].leaf;
        assert!(
            index_of(leaf) != MAX_BASIC as usize || leaf == MAX_BASIC,
            "a leaf of the policy is out of range"
        );
        let first = answers;
        let mut subleaves = 0;
        while row < POLICY.len() && POLICY[row].leaf == leaf {
            subleaves = after(&POLICY[row], subleaves);
            row += 1;
        }
        // The answer after the last sub-leaf stays zero; a leaf without sub-leaves has none to follow.
        answers = first + subleaves as usize + 1;
        assert!(answers <= u8::MAX as usize);
        slots[index_of(leaf)] =
            Slot { first: first as u8, last: subleaves as u8, completion: Completion::of(leaf) };
    }
    (slots, answers)
}

/// The sub-leaf that follows those of `row`, which itself has to start at `next`.
const fn after(row: &Row, next: u32) -> u32 {
    match row.subleaves {
        Subleaves::Ignored => {
            assert!(next == 0, "a leaf has sub-leaves, or it has none");
            0
        }
        Subleaves::One(subleaf) => {
            assert!(subleaf == next, "the sub-leaves of a leaf follow each other");
            subleaf + 1
        }
        Subleaves::Span(first, last) => {
            assert!(first == next && first <= last, "the sub-leaves of a leaf follow each other");
            last + 1
        }
    }
}
