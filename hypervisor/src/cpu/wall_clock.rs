// SPDX-License-Identifier: MIT OR Apache-2.0
//! What time it is: read from the machine's own clock, once, at the start.

use crate::cpu::hardware::PortIo;
use crate::devices::rtc;
use crate::devices::rtc::CENTURY;
use crate::devices::rtc::date::Date;

/// The registers of the time, in the order of [`read_registers`], and of what tells how they are spelled.
const REGISTERS: [u8; 7] = [0x00, 0x02, 0x04, 0x07, 0x08, 0x09, CENTURY];
const A: u8 = 0x0A;
const B: u8 = 0x0B;
/// An update is in progress, or about to be.
const UPDATE_IN_PROGRESS: u8 = 1 << 7;
/// Looks at the clock before it is given up: an update takes two milliseconds, a look a microsecond or so.
const PATIENCE: u32 = 100_000;
/// 2025-01-01, for a machine without a clock, or one that shows another century.
const UNKNOWN: u64 = 1_735_689_600;
/// A clock that is right shows one of these years.
const PLAUSIBLE: core::ops::Range<u32> = 2020..2200;

/// The time of day, in UTC, at one time of the machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallClock {
    /// Seconds since 1970,
    seconds: u64,
    /// when the machine's time was this.
    at: u64,
}

impl WallClock {
    /// Reads the machine's clock, which is taken to show UTC; `now` is the machine's time. One that is not there, or wrong, is taken
    /// to show the start of 2025.
    pub fn read(ports: &impl PortIo, now: u64) -> Self {
        let date = read_date(ports).filter(|date| PLAUSIBLE.contains(&date.year));
        Self { seconds: date.map_or(UNKNOWN, Date::seconds), at: now }
    }

    /// Seconds since 1970 when the machine's time, which has `hz` ticks in a second, is `now`.
    #[must_use]
    pub fn seconds_at(self, now: u64, hz: u64) -> u64 {
        self.seconds + now.saturating_sub(self.at) / hz.max(1)
    }
}

/// What the clock shows, between two updates.
fn read_date(ports: &impl PortIo) -> Option<Date> {
    let register = |register: u8| {
        ports.write_u8(rtc::INDEX, register);
        ports.read_u8(rtc::DATA)
    };
    let between_updates = || (0..PATIENCE).any(|_| register(A) & UPDATE_IN_PROGRESS == 0);
    let read = || between_updates().then(|| REGISTERS.map(register));
    let mut registers = read()?;
    for again in core::iter::repeat_with(read).take(4) {
        if again? == registers {
            return Some(rtc::date_of(registers, register(B)));
        }
        registers = again?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    /// A clock that stands still, spelled as register B says.
    struct Cmos {
        index: Cell<u8>,
        registers: [u8; 128],
    }

    impl PortIo for Cmos {
        fn read_u8(&self, port: u16) -> u8 {
            if port == 0x71 { self.registers[usize::from(self.index.get())] } else { 0xFF }
        }

        fn write_u8(&self, port: u16, value: u8) {
            assert_eq!(port, 0x70, "nothing is set");
            self.index.set(value);
        }

        fn read_u32(&self, _: u16) -> u32 {
            u32::MAX
        }

        fn write_u16(&self, _: u16, _: u16) {}
    }

    fn cmos(registers: &[(usize, u8)]) -> Cmos {
        let mut cmos = Cmos { index: Cell::new(0), registers: [0; 128] };
        registers.iter().for_each(|&(register, value)| cmos.registers[register] = value);
        cmos
    }

    #[test]
    fn the_clock_is_read_as_it_is_spelled() {
        let decimal =
            [(0, 0x56), (2, 0x34), (4, 0x92), (7, 0x29), (8, 0x02), (9, 0x24), (0x32, 0x20), (0xB, 0)];
        let clock = WallClock::read(&cmos(&decimal), 1_000);
        assert_eq!(clock.seconds_at(1_000, 10), 1_709_210_096, "2024-02-29 12:34:56");
        assert_eq!(clock.seconds_at(1_039, 10), 1_709_210_099);
        assert_eq!(clock.seconds_at(0, 10), 1_709_210_096, "time never goes back");
    }

    #[test]
    fn a_clock_that_is_absent_or_updates_for_ever_shows_2025() {
        let absent = cmos(&(0..128).map(|register| (register, 0xFF)).collect::<Vec<_>>());
        assert_eq!(WallClock::read(&absent, 0).seconds_at(0, 1), UNKNOWN);
        assert_eq!(WallClock::read(&cmos(&[]), 0).seconds_at(0, 1), UNKNOWN, "the year 0");
    }
}
