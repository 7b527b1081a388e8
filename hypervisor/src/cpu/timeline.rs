// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine's time: the TSC as it ticked when Satori started, whatever it ticks like now.
//!
//! A live migration of the machine below us may exchange the TSC for one of another rate. All that Satori keeps, deadlines, limits
//! and the guests' own clocks, is in ticks of the machine's time, which never change their length. Only who reads the TSC,
//! arms a timer by it, or tells the processor what a guest's is, has to know how the two go together now: a [`Timeline`].

use crate::cpu::hardware::tsc;
use core::num::NonZeroU64;

/// Fractional bits of a multiplier (SDM vol. 3, "TSC Multiplier").
const FRACTION: u32 = 48;
/// The multiplier that changes nothing.
const ONE: u64 = 1 << FRACTION;
/// Parts per million by which two machines of one kind may differ in what their clocks are said to be. It is less than
/// guests' own time keeping puts up with, and to trap each of their reads would cost far more.
const ALIKE_PPM: u128 = 250;

/// How the TSC and the machine's time go together: time is (TSC × multiplier) / 2^48 + offset, modulo 2^64, as VMX scales and
/// offsets it (SDM vol. 3, "Time-Stamp Counter Offsetting and Scaling").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeline {
    multiplier: Multiplier,
    offset: u64,
}

/// Ticks of the machine's time in one of the TSC, as a fraction of 2^48; `None` for one, which on the path of an exit is told from
/// others without a constant in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiplier(Option<NonZeroU64>);

impl Multiplier {
    /// The TSC ticks as it did at the start.
    pub const ONE: Self = Self(None);

    /// For a TSC that ticks at `tsc_hz`, where it ticked at `hz` at the start. `None` if one is zero, or more than 65536 times the
    /// other.
    #[must_use]
    pub fn of(hz: u64, tsc_hz: u64) -> Option<Self> {
        let (hz, tsc_hz) = (u128::from(hz), u128::from(tsc_hz));
        if hz.abs_diff(tsc_hz) * 1_000_000 <= hz * ALIKE_PPM {
            return (hz > 0).then_some(Self::ONE);
        }
        let fraction = (hz << FRACTION).checked_div(tsc_hz)?;
        // With less than 2^32 a deadline's way back would not fit into 64 bits for long, nor be exact.
        let multiplier = u64::try_from(fraction).ok().filter(|fraction| fraction >> (FRACTION - 16) > 0)?;
        Some(Self(NonZeroU64::new(multiplier)))
    }

    /// As the VMCS has it.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0.map_or(ONE, NonZeroU64::get)
    }

    #[inline]
    fn scale(self, ticks: u64) -> u64 {
        self.0.map_or(ticks, |multiplier| scaled(ticks, multiplier))
    }

    /// The fewest ticks of the TSC in which so many of the machine's time pass.
    fn unscale(self, ticks: u64) -> u64 {
        let Some(multiplier) = self.0 else { return ticks };
        let fewest = (u128::from(ticks) << FRACTION).div_ceil(u128::from(multiplier.get()));
        u64::try_from(fewest).unwrap_or(u64::MAX)
    }
}

#[inline(always)]
fn scaled(ticks: u64, multiplier: NonZeroU64) -> u64 {
    ((u128::from(ticks) * u128::from(multiplier.get())) >> FRACTION) as u64
}

impl Timeline {
    /// At the start: the machine's time is the TSC.
    pub const AT_START: Self = Self { multiplier: Multiplier::ONE, offset: 0 };

    /// The time now, on this CPU.
    #[inline]
    #[must_use]
    pub fn now(self) -> u64 {
        self.at(tsc())
    }

    /// The time when the TSC stands at `tsc`.
    #[inline]
    #[must_use]
    pub fn at(self, tsc: u64) -> u64 {
        self.multiplier.scale(tsc).wrapping_add(self.offset)
    }

    /// When the TSC stands at `tsc`: where it will stand once the time is `time`; where it stands if that is past.
    #[must_use]
    pub fn tsc_at(self, time: u64, tsc: u64) -> u64 {
        tsc.saturating_add(self.multiplier.unscale(time.saturating_sub(self.at(tsc))))
    }

    /// Where the TSC will stand once the time is `time`, or now if that is past; any value up to now means that, too.
    #[inline]
    #[must_use]
    pub fn deadline(self, time: u64) -> u64 {
        if self == Self::AT_START { time } else { self.tsc_at(time, tsc()) }
    }

    /// How it goes on when the TSC has been exchanged: it stood at `last`, then `passed` ticks of the machine's time went by, and
    /// now another stands at `first` and ticks as `multiplier` says.
    #[must_use]
    pub fn resumed(self, last: u64, passed: u64, first: u64, multiplier: Multiplier) -> Self {
        let now = self.at(last).wrapping_add(passed);
        Self { multiplier, offset: now.wrapping_sub(multiplier.scale(first)) }
    }

    /// How many ticks of the machine's time pass in one of the TSC.
    #[inline]
    #[must_use]
    pub fn multiplier(self) -> Multiplier {
        self.multiplier
    }

    /// What is added to the scaled TSC.
    #[must_use]
    pub fn offset(self) -> u64 {
        self.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pairs of rates that machines have.
    fn multiplier() -> impl Strategy<Value = Multiplier> {
        (1_000_000..10_000_000_000_u64, 1_000_000..10_000_000_000_u64)
            .prop_map(|(hz, tsc_hz)| Multiplier::of(hz, tsc_hz).expect("within the range"))
    }

    fn timeline() -> impl Strategy<Value = Timeline> {
        (multiplier(), any::<u64>()).prop_map(|(multiplier, offset)| Timeline { multiplier, offset })
    }

    #[test]
    fn at_the_start_time_is_the_tsc() {
        for tsc in [0, 1, 1 << 63, u64::MAX] {
            assert_eq!(Timeline::AT_START.at(tsc), tsc);
            assert_eq!(Timeline::AT_START.tsc_at(u64::MAX, tsc), u64::MAX);
        }
    }

    #[test]
    fn a_tsc_of_twice_the_rate_counts_half() {
        let half = Multiplier::of(3_000_000_000, 6_000_000_000).unwrap();
        assert_eq!(half.bits(), 1 << 47);
        let time = Timeline::AT_START.resumed(1_000, 0, 50_000, half);
        assert_eq!([50_000, 50_002, 52_000].map(|tsc| time.at(tsc)), [1_000, 1_001, 2_000]);
        assert_eq!(time.tsc_at(2_000, 50_000), 52_000);
        assert_eq!(time.tsc_at(999, 50_000), 50_000, "what is past is now");
    }

    #[test]
    fn machines_of_one_kind_are_alike() {
        let hz = 2_400_000_000;
        for tsc_hz in [hz, hz + hz / 4_000, hz - hz / 4_000] {
            assert_eq!(Multiplier::of(hz, tsc_hz), Some(Multiplier::ONE), "{tsc_hz}");
        }
        for tsc_hz in [hz + hz / 3_900, hz - hz / 3_900] {
            assert_ne!(Multiplier::of(hz, tsc_hz), Some(Multiplier::ONE), "{tsc_hz}");
        }
    }

    #[test]
    fn rates_that_do_not_go_together_have_no_multiplier() {
        for (hz, tsc_hz) in [(0, 0), (0, 1), (1, 0), (u64::MAX, 1), (1, u64::MAX), (1 << 40, 1 << 23)] {
            assert_eq!(Multiplier::of(hz, tsc_hz), None, "{hz} to {tsc_hz}");
        }
    }

    proptest! {
        #[test]
        fn any_rates_make_a_multiplier_or_none(hz: u64, tsc_hz: u64) {
            if let Some(multiplier) = Multiplier::of(hz, tsc_hz) {
                let exact = (u128::from(hz) << FRACTION) / u128::from(tsc_hz);
                let off = exact.abs_diff(u128::from(multiplier.bits()));
                prop_assert!(off <= exact * ALIKE_PPM / 999_000);
            }
        }

        #[test]
        fn time_goes_on_where_it_was(before in timeline(), last: u64, passed in 0..1_u64 << 40, first: u64, new in multiplier()) {
            let after = before.resumed(last, passed, first, new);
            prop_assert_eq!(after.at(first), before.at(last).wrapping_add(passed));
        }

        /// As long as the product does not wrap, which at 3 GHz it does after 194 years.
        #[test]
        fn time_never_goes_back(time in timeline(), tsc in 0..1_u64 << 48, later in 0..1_u64 << 48) {
            let passed = time.at(tsc + later).wrapping_sub(time.at(tsc));
            prop_assert!(passed < 1 << 63);
            let exact = (u128::from(later) * u128::from(time.multiplier.bits())) >> FRACTION;
            prop_assert!(u128::from(passed).abs_diff(exact) <= 1);
        }

        /// An interrupt is not early, and by no more than a tick late.
        #[test]
        fn a_deadline_there_and_back_is_the_same(multiplier in multiplier(), tsc in 0..1_u64 << 48, wait in 0..1_u64 << 46) {
            let time = Timeline::AT_START.resumed(0, 1 << 40, tsc, multiplier);
            let deadline = time.at(tsc) + wait;
            let due = time.tsc_at(deadline, tsc);
            prop_assert!(time.at(due) >= deadline);
            prop_assert!(wait == 0 || time.at(due - 1) <= deadline);
        }

        #[test]
        fn no_deadline_overflows(time in timeline(), deadline: u64, tsc: u64) {
            prop_assert!(time.tsc_at(deadline, tsc) >= tsc);
        }
    }
}
