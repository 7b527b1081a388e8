// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much of a CPU a vCPU may have: so many ticks of each period, and none of what it did not use before.
//!
//! What it has had too much in one period, since a turn does not end to the tick, is taken from the next ones: in the long run it has
//! its share and no more.

/// A vCPU's share of time.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Ticks of a period.
    period: u64,
    /// Ticks that it may have of each.
    quota: u64,
    /// When the period began that is looked at.
    began: u64,
    /// Ticks that it has had, since then or too many before.
    used: u64,
}

impl Budget {
    /// `percent` hundredths of each period of so many ticks.
    #[must_use]
    pub fn new(percent: u32, period: u64) -> Self {
        let quota = period.saturating_mul(u64::from(percent)) / 100;
        Self { period: period.max(1), quota: quota.max(1), began: 0, used: 0 }
    }

    /// It has run for so many ticks, until `now`.
    pub fn charge(&mut self, ticks: u64, now: u64) {
        // Before: what it had of the period in which it began to run was due to it there.
        self.used = self.used.saturating_add(ticks);
        self.renew(now);
    }

    /// Ticks that it may run from `now` on.
    #[must_use]
    pub fn left(&mut self, now: u64) -> u64 {
        self.renew(now);
        self.quota.saturating_sub(self.used)
    }

    /// When it may run again, if it has none left at `now`.
    #[must_use]
    pub fn spent_until(&mut self, now: u64) -> Option<u64> {
        self.renew(now);
        // With each period it has its quota again, less what was too much.
        let periods = self.used / self.quota;
        (periods > 0).then(|| self.began.saturating_add(periods.saturating_mul(self.period)))
    }

    fn renew(&mut self, now: u64) {
        let periods = now.saturating_sub(self.began) / self.period;
        self.began += periods * self.period;
        self.used = self.used.saturating_sub(periods.saturating_mul(self.quota));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_left_goes_down_and_comes_back_with_the_next_period() {
        let mut budget = Budget::new(25, 1000);
        assert_eq!(budget.left(5000), 250);
        budget.charge(200, 5300);
        assert_eq!(budget.left(5300), 50);
        budget.charge(50, 5400);
        assert_eq!((budget.left(5999), budget.spent_until(5999)), (0, Some(6000)));
        assert_eq!(budget.left(6000), 250);
    }

    #[test]
    fn what_was_not_used_is_not_saved() {
        let mut budget = Budget::new(25, 1000);
        assert_eq!((budget.left(0), budget.left(1_000_000)), (250, 250));
    }

    #[test]
    fn what_was_too_much_is_taken_from_the_next_periods() {
        let mut budget = Budget::new(25, 1000);
        budget.charge(600, 700);
        assert_eq!((budget.left(700), budget.spent_until(700)), (0, Some(2000)));
        assert_eq!((budget.left(1999), budget.left(2000)), (0, 150));
    }

    proptest! {
        /// Whoever runs whenever it may has its share, less the last period and no more than one turn too much.
        #[test]
        fn in_the_long_run_it_has_its_share(percent in 1_u32..=99, turn in 1_u64..3000, late in 0_u64..100) {
            const PERIOD: u64 = 1000;
            let mut budget = Budget::new(percent, PERIOD);
            let (mut now, mut had) = (0, 0);
            while now < 1000 * PERIOD {
                if let Some(until) = budget.spent_until(now) {
                    prop_assert!(until > now && budget.left(now) == 0);
                    now = until;
                    prop_assert!(budget.left(now) > 0);
                }
                let ran = budget.left(now).min(turn) + late;
                now += ran;
                had += ran;
                budget.charge(ran, now);
            }
            let share = now / 100 * u64::from(percent);
            prop_assert!(had <= share + PERIOD + turn + late, "{had} of {share}");
            prop_assert!(had + 2 * PERIOD >= share, "{had} of {share}");
        }
    }
}
