// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device's clock, told from the machine's time by one multiplication.

/// Bits of the multiplier's fraction. At 10 GHz a clock of 32768 Hz is still exact to a part in a billion.
const FRACTION: u32 = 48;

/// How many ticks of a device's clock pass in one of the machine's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(u64);

impl Rate {
    /// A clock of `device_hz` where the machine's time has `machine_hz` ticks in a second. One that is out of all proportion to it
    /// ticks as fast, or as slowly, as can be told.
    #[must_use]
    pub const fn new(device_hz: u32, machine_hz: u64) -> Self {
        let machine_hz = if machine_hz == 0 { 1 } else { machine_hz };
        let multiplier = ((device_hz as u128) << FRACTION) / machine_hz as u128;
        match multiplier {
            0 => Self(1),
            _ if multiplier > u64::MAX as u128 => Self(u64::MAX),
            _ => Self(multiplier as u64),
        }
    }

    /// Where the device's clock stands when the machine's time is `now`; both were zero together.
    #[inline]
    #[must_use]
    pub const fn ticks(self, now: u64) -> u64 {
        ((now as u128 * self.0 as u128) >> FRACTION) as u64
    }

    /// The first time at which [`Self::ticks`] are so many, or the last that there is.
    #[must_use]
    pub const fn time(self, ticks: u64) -> u64 {
        let time = ((ticks as u128) << FRACTION).div_ceil(self.0 as u128);
        if time > u64::MAX as u128 { u64::MAX } else { time as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;
    use proptest::prelude::*;

    #[test]
    fn a_second_has_as_many_ticks_as_the_clock_is_fast() {
        for machine_hz in [1_000_000, 50_000_000, 2_399_999_999, 5_000_000_000] {
            for device_hz in [32_768, 1_193_182, 3_579_545] {
                let rate = Rate::new(device_hz, machine_hz);
                let day = 86_400;
                let off = rate.ticks(day * machine_hz).abs_diff(day * u64::from(device_hz));
                assert!(off <= day * u64::from(device_hz) / 10_000_000, "{device_hz} of {machine_hz}: {off}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_tick_is_reached_at_its_time_and_not_before(device_hz in 1_u32.., machine_hz in 1_u64..1 << 40, ticks in 0..1_u64 << 40) {
            let rate = Rate::new(device_hz, machine_hz);
            let time = rate.time(ticks);
            prop_assume!(time < u64::MAX);
            prop_assert!(rate.ticks(time) >= ticks);
            prop_assert!(time == 0 || rate.ticks(time - 1) < ticks);
        }
    }
}
