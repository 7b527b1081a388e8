// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who gets which part of a guest's RAM while a kernel is loaded: nothing outside of it, and nothing twice.

use super::Reason;
use alloc::vec::Vec;
use core::ops::Range;

const PAGE: u64 = 4096;

/// The RAM below 4 GiB that kernels and their files may be loaded to, and what of it is taken.
pub(super) struct Placement {
    ram: Range<u64>,
    claims: Vec<Claim>,
}

/// A part that is taken, and by what.
struct Claim {
    range: Range<u64>,
    by: &'static str,
}

impl Placement {
    /// All of `ram`, which ends at 4 GiB at the latest, is free.
    pub(super) fn new(ram: Range<u64>) -> Self {
        assert!(ram.end <= 1 << 32, "what is entered in 32-bit mode reaches 4 GiB and no more");
        Self { ram, claims: Vec::new() }
    }

    /// Takes `bytes` bytes at `start`.
    pub(super) fn claim(&mut self, by: &'static str, start: u64, bytes: u64) -> Result<(), Reason> {
        let outside = Reason::OutsideRam { what: by, start, bytes, ram: self.ram.clone() };
        let Some(end) =
            start.checked_add(bytes).filter(|&end| self.ram.start <= start && end <= self.ram.end)
        else {
            return Err(outside);
        };
        if let Some(other) = self.taken(&(start..end)) {
            return Err(Reason::Overlap { what: by, start, bytes, other: other.by });
        }
        self.claims.push(Claim { range: start..end, by });
        Ok(())
    }

    /// Takes `bytes` bytes at the highest page border where they are free and have no address above `last`.
    pub(super) fn claim_highest(&mut self, by: &'static str, bytes: u64, last: u64) -> Result<u32, Reason> {
        let no_room = Reason::NoRoom { bytes, last };
        let mut end = self.ram.end.min(last.saturating_add(1));
        // Each round but the last steps below one more claim.
        loop {
            let start = end.checked_sub(bytes).ok_or(no_room.clone())? / PAGE * PAGE;
            let Some(other) = self.taken(&(start..start + bytes)) else {
                self.claim(by, start, bytes).map_err(|_| no_room.clone())?;
                return u32::try_from(start).map_err(|_| no_room);
            };
            end = other.range.start;
        }
    }

    /// Takes `bytes` bytes at the first page border behind all that is taken; where that is too high, the highest free one.
    pub(super) fn claim_behind(&mut self, by: &'static str, bytes: u64) -> Result<u32, Reason> {
        let end = self.claims.iter().map(|claim| claim.range.end).max().unwrap_or(self.ram.start);
        let start = end.next_multiple_of(PAGE);
        match (u32::try_from(start), self.claim(by, start, bytes)) {
            (Ok(start), Ok(())) => Ok(start),
            _ => self.claim_highest(by, bytes, u64::MAX),
        }
    }

    fn taken(&self, range: &Range<u64>) -> Option<&Claim> {
        self.claims.iter().find(|claim| claim.range.start < range.end && range.start < claim.range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_highest_free_place_is_taken() {
        let mut placement = Placement::new(0x10_0000..0x20_0000);
        assert_eq!(placement.claim_highest("a", 0x1001, u64::MAX), Ok(0x1F_E000));
        assert_eq!(placement.claim_highest("b", 0x1000, u64::MAX), Ok(0x1F_D000));
        assert_eq!(placement.claim_highest("c", 1, 0x1F_FFFF), Ok(0x1F_C000));
        assert_eq!(placement.claim_highest("d", 1, 0x18_0000), Ok(0x18_0000));
        assert_eq!(placement.claim_highest("e", 1, 0x17_FFFF), Ok(0x17_F000));
        assert_eq!(
            placement.claim_highest("f", 0x1_0000_0000, u64::MAX).unwrap_err(),
            Reason::NoRoom { bytes: 0x1_0000_0000, last: u64::MAX }
        );
        placement.claim_highest("g", 1, 0xF_FFFF).unwrap_err();
    }

    #[test]
    fn the_place_behind_all_others_is_taken_or_the_highest() {
        let mut placement = Placement::new(0x10_0000..0x20_0000);
        placement.claim("kernel", 0x12_0000, 0x1001).unwrap();
        assert_eq!(placement.claim_behind("a", 0x1001), Ok(0x12_2000));
        assert_eq!(placement.claim_behind("b", 1), Ok(0x12_4000));
        placement.claim("high", 0x1F_F000, 1).unwrap();
        assert_eq!(placement.claim_behind("c", 0x1001), Ok(0x1F_D000));
    }

    proptest! {
        #[test]
        fn claims_are_in_ram_and_disjoint(
            asks in prop::collection::vec((0..3, 0u64..0x30_0000, 1u64..0x8_0000), 1..20),
        ) {
            let mut placement = Placement::new(0x10_0000..0x20_0000);
            for (way, at, bytes) in asks {
                let _ = match way {
                    0 => placement.claim("fixed", at, bytes),
                    1 => placement.claim_behind("behind", bytes).map(drop),
                    _ => placement.claim_highest("highest", bytes, at).map(drop),
                };
            }
            let mut claims = placement.claims;
            claims.sort_by_key(|claim| claim.range.start);
            prop_assert!(claims.iter().all(|c| 0x10_0000 <= c.range.start && c.range.end <= 0x20_0000));
            prop_assert!(claims.is_sorted_by(|a, b| a.range.end <= b.range.start));
        }
    }
}
