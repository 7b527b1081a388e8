// SPDX-License-Identifier: MIT OR Apache-2.0
//! The reference TSC page, which turns a TSC value into the partition's time without an exit (TLFS, "Timers").

use crate::PAGE_SIZE;
use crate::layout::assert_layout;
use crate::open_set::open_set;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// The page that [`REFERENCE_TSC`](crate::msr::REFERENCE_TSC) places. The hypervisor writes it at any time.
///
/// A reader takes the sequence, the TSC, scale and offset, and the sequence again, and starts over where it changed.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
pub struct ReferenceTscPage {
    /// Changes with scale or offset.
    pub sequence: TscSequence,
    /// Reserved.
    pub reserved: u32,
    /// The factor, a fraction of 2^64.
    pub scale: u64,
    /// What is added, in 100 ns.
    pub offset: i64,
    /// Reserved.
    pub reserved_tail: [u64; 509],
}

assert_layout!(ReferenceTscPage, 4096, { sequence: 0, reserved: 4, scale: 8, offset: 16, reserved_tail: 24 });
const _: () = assert!(align_of::<ReferenceTscPage>() == PAGE_SIZE);

/// The sequence number of a [`ReferenceTscPage`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct TscSequence(pub u32);

open_set! {
    TscSequence(u32);
    /// Scale and offset mean nothing now: read [`TIME_REF_COUNT`](crate::msr::TIME_REF_COUNT) instead.
    INVALID = 0, "the page is not valid";
}

/// The partition's reference time at `tsc`, in 100 ns, by the `scale` and `offset` of a valid page.
#[must_use]
pub const fn reference_time(tsc: u64, scale: u64, offset: i64) -> u64 {
    let scaled = (tsc as u128 * scale as u128) >> 64;
    (scaled as u64).wrapping_add_signed(offset)
}

#[cfg(test)]
mod tests {
    use super::reference_time;

    #[test]
    fn time_keeps_the_upper_half_of_the_product() {
        // 10 MHz of reference time from a TSC of 2.5 GHz: a factor of 1/250.
        let scale = u64::MAX / 250;
        assert_eq!(reference_time(2_500_000_000, scale, 0), 9_999_999);
        assert_eq!(reference_time(u64::MAX, u64::MAX, 0), u64::MAX - 1);
    }

    #[test]
    fn offset_is_signed() {
        assert_eq!(reference_time(1 << 63, 2, -1), 0);
        assert_eq!(reference_time(1 << 63, 2, 41), 42);
    }
}
