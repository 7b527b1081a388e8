// SPDX-License-Identifier: MIT OR Apache-2.0
//! Seconds since 1970, and the date and time of day that they are.

/// Seconds in a day.
pub(super) const DAY: u64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: u64 = 719_468;
/// Days in 400 years.
const ERA: u64 = 146_097;

/// A date and a time of day, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Anno Domini.
    pub year: u32,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

impl Date {
    /// The date so many seconds after 1970 began.
    #[must_use]
    pub fn at(seconds: u64) -> Self {
        let (days, in_day) = (seconds / DAY + DAYS_TO_1970, seconds % DAY);
        // Years begin in March here, so that a leap day is the last.
        let in_era = days % ERA;
        let year_of_era = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
        let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * in_year + 2) / 153;
        let month = (from_march + 2) % 12 + 1;
        let year = days / ERA * 400 + year_of_era + u64::from(month <= 2);
        Self {
            year: u32::try_from(year).unwrap_or(u32::MAX),
            month: month as u8,
            day: (in_year - (153 * from_march + 2) / 5 + 1) as u8,
            hour: (in_day / 3_600) as u8,
            minute: (in_day / 60 % 60) as u8,
            second: (in_day % 60) as u8,
        }
    }

    /// Seconds since 1970 began. What is out of range counts on into what is next, and before 1970 is 1970.
    #[must_use]
    pub fn seconds(self) -> u64 {
        let Self { year, month, day, hour, minute, second } = self;
        let (year, month) = (u64::from(year), u64::from(month.clamp(1, 12)));
        let year = year.saturating_sub(u64::from(month <= 2));
        let from_march = (month + 9) % 12;
        let in_year = (153 * from_march + 2) / 5 + u64::from(day.max(1)) - 1;
        let days = year * 365 + year / 4 - year / 100 + year / 400 + in_year;
        let in_day = u64::from(hour) * 3_600 + u64::from(minute) * 60 + u64::from(second);
        days.saturating_sub(DAYS_TO_1970) * DAY + in_day
    }

    /// 1 is Sunday.
    #[must_use]
    pub fn day_of_week(self) -> u8 {
        // 1970 began on a Thursday.
        ((self.seconds() / DAY + 4) % 7 + 1) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::Date;
    use proptest::prelude::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, year, month, day, day_of_week) in [
            (0, 1970, 1, 1, 5),
            (951_782_400, 2000, 2, 29, 3),
            (951_868_800, 2000, 3, 1, 4),
            (1_709_164_800, 2024, 2, 29, 5),
            (1_767_225_599, 2025, 12, 31, 4),
            (4_107_542_400, 2100, 3, 1, 2),
        ] {
            let date = Date::at(seconds);
            assert_eq!(
                (date.year, date.month, date.day, date.day_of_week()),
                (year, month, day, day_of_week)
            );
        }
        let last = Date { year: 2025, month: 12, day: 31, hour: 23, minute: 59, second: 59 };
        assert_eq!(Date::at(1_767_225_599), last);
    }

    proptest! {
        #[test]
        fn a_date_is_the_second_that_it_was_made_from(seconds in 0..1_u64 << 40) {
            prop_assert_eq!(Date::at(seconds).seconds(), seconds);
        }

        #[test]
        fn no_date_panics(year: u32, month: u8, day: u8, hour: u8, minute: u8, second: u8) {
            let _ = Date { year, month, day, hour, minute, second }.day_of_week();
        }
    }
}
