// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a local APIC's registers stand that a processor with APIC virtualization reads and writes by itself while the guest
//! runs (SDM vol. 3, "Virtual APIC State"): laid out as in the APIC's page, with or without such a processor.

use super::Part;
use super::register::Register;
use crate::memory::Frames;
use alloc::boxed::Box;
use core::array;
use core::fmt;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;

/// Words of 64 bits from one register to the next, 16 bytes further on.
const STRIDE: usize = 2;
/// As many as have registers.
const WORDS: usize = 0x40 * STRIDE;

/// The registers. Whoever has them is alone with them while the vCPU is out of its guest.
pub(super) enum RegisterPage {
    /// Where no processor looks.
    Own(Box<[AtomicU64; WORDS]>),
    /// In a frame, which the VMCS names, for a processor that plays this part.
    Frame(Frames, Part),
}

impl RegisterPage {
    /// All zeros, in memory of our own.
    pub(super) fn own() -> Self {
        Self::Own(Box::new(array::from_fn(|_| AtomicU64::new(0))))
    }

    /// The physical address of the frame that has them.
    pub(super) fn address(&self) -> Option<u64> {
        match self {
            Self::Own(_) => None,
            Self::Frame(frame, _) => Some(frame.address()),
        }
    }

    /// What a processor plays of them.
    #[inline]
    pub(super) fn part(&self) -> Option<Part> {
        match self {
            Self::Own(_) => None,
            Self::Frame(_, part) => Some(*part),
        }
    }

    /// Whether a processor may change the sets of vectors while the guest runs.
    #[inline]
    pub(super) fn is_shared(&self) -> bool {
        self.part() == Some(Part::Whole)
    }

    /// What a register shows.
    #[inline]
    pub(super) fn get(&self, register: Register) -> u32 {
        self.word(register).load(Ordering::Relaxed) as u32
    }

    /// Has a register show `value`.
    #[inline]
    pub(super) fn set(&self, register: Register, value: u32) {
        self.word(register).store(value.into(), Ordering::Relaxed);
    }

    /// The highest bit that is set in the eight words of a set from that register on.
    #[inline]
    pub(super) fn highest_of_set(&self, first: Register) -> Option<u8> {
        let words = &self.words()[first.number() * STRIDE..][..8 * STRIDE];
        (0..8).rev().find_map(|word| {
            let bit = (words[word * STRIDE].load(Ordering::Relaxed) as u32).checked_ilog2()?;
            Some((word * 32) as u8 + bit as u8)
        })
    }

    /// All zeros.
    pub(super) fn clear(&self) {
        self.words().iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    fn word(&self, register: Register) -> &AtomicU64 {
        &self.words()[register.number() * STRIDE]
    }

    fn words(&self) -> &[AtomicU64] {
        match self {
            Self::Own(words) => &words[..],
            Self::Frame(frame, _) => &frame.words()[..WORDS],
        }
    }
}

impl Clone for RegisterPage {
    fn clone(&self) -> Self {
        let copy = Self::own();
        for (to, from) in copy.words().iter().zip(self.words()) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        copy
    }
}

impl fmt::Debug for RegisterPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisterPage").field("address", &self.address()).finish_non_exhaustive()
    }
}
