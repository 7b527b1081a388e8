// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the clock's registers spell numbers and hours (MC146818A data sheet, "Time, Calendar, and Alarm Locations").

use super::b;

/// Afternoon, where hours go to 12.
const PM: u8 = 1 << 7;

/// How numbers and hours are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spelling {
    /// Register B, DM: binary rather than decimal digits.
    pub(super) binary: bool,
    /// Register B, 24/12: hours go to 23.
    pub(super) hours_24: bool,
}

impl Spelling {
    /// As register B says.
    pub(super) fn of(mode: u8) -> Self {
        Self { binary: mode & b::BINARY != 0, hours_24: mode & b::HOURS_24 != 0 }
    }

    pub(super) fn number(self, value: u8) -> u8 {
        if self.binary { value } else { value / 10 % 10 * 16 + value % 10 }
    }

    pub(super) fn read_number(self, spelled: u8) -> u8 {
        if self.binary { spelled } else { (spelled >> 4) * 10 + (spelled & 0xF) }
    }

    pub(super) fn hour(self, hour: u8) -> u8 {
        if self.hours_24 {
            return self.number(hour);
        }
        let of_12 = if hour.is_multiple_of(12) { 12 } else { hour % 12 };
        self.number(of_12) | if hour >= 12 { PM } else { 0 }
    }

    pub(super) fn read_hour(self, spelled: u8) -> u8 {
        if self.hours_24 {
            return self.read_number(spelled);
        }
        self.read_number(spelled & !PM) % 12 + if spelled & PM != 0 { 12 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::Spelling;

    #[test]
    fn what_is_spelled_is_read_back() {
        for (binary, hours_24) in [(false, false), (false, true), (true, false), (true, true)] {
            let spelling = Spelling { binary, hours_24 };
            for number in 0..100 {
                assert_eq!(spelling.read_number(spelling.number(number)), number);
            }
            for hour in 0..24 {
                assert_eq!(spelling.read_hour(spelling.hour(hour)), hour);
            }
        }
    }

    #[test]
    fn midnight_and_noon_are_12() {
        let spelling = Spelling { binary: false, hours_24: false };
        assert_eq!(
            [0, 1, 11, 12, 13, 23].map(|hour| spelling.hour(hour)),
            [0x12, 0x01, 0x11, 0x92, 0x81, 0x91]
        );
    }
}
