// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real-time clock of a PC with its CMOS memory (Motorola, MC146818A data sheet, 1984), computed from the machine's time.
//!
//! Its oscillator always runs, whatever the divider bits of register A say. An update of the time is done at once; the time at
//! which it is announced is that of the data sheet.

pub mod date;
mod fields;
#[cfg(test)]
mod tests;

use super::rate::Rate;
use date::DAY;
use date::Date;
use fields::Spelling;

/// The port that selects a register. Its bit 7 masks NMIs on a PC, of which this one has none.
pub const INDEX: u16 = 0x70;
/// The port of the selected register.
pub const DATA: u16 = 0x71;
/// Its global system interrupt.
pub const GSI: usize = 8;
/// The register of the century, as the FADT tells.
pub const CENTURY: u8 = 0x32;

/// Bytes of CMOS memory, the registers included.
const BYTES: usize = 128;
/// Ticks of its crystal in a second, and that as a power of two.
const HZ: u32 = 1 << HZ_SHIFT;
const HZ_SHIFT: u32 = 15;
/// So many ticks before an update it is announced: 244 µs.
const ANNOUNCED: u64 = 8;

// Registers. Those of the time are 0, 2, 4 and 6 to 9; an alarm is behind each of the first three.
const SECONDS: u8 = 0x00;
const SECONDS_ALARM: u8 = 0x01;
const MINUTES: u8 = 0x02;
const MINUTES_ALARM: u8 = 0x03;
const HOURS: u8 = 0x04;
const HOURS_ALARM: u8 = 0x05;
const DAY_OF_WEEK: u8 = 0x06;
const DAY_OF_MONTH: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const A: u8 = 0x0A;
const B: u8 = 0x0B;
const C: u8 = 0x0C;
const D: u8 = 0x0D;

/// Register A: an update is about to come; the rate of the periodic interrupt in 3:0; the usual divider and rate.
mod a {
    pub(super) const UPDATE_IN_PROGRESS: u8 = 1 << 7;
    pub(super) const RATE: u8 = 0xF;
    pub(super) const AT_RESET: u8 = 0x26;
}

/// Register B. Its enabling bits are at the places of what they enable in register C.
mod b {
    pub(super) const BINARY: u8 = 1 << 2;
    pub(super) const HOURS_24: u8 = 1 << 1;
    pub(super) const SET: u8 = 1 << 7;
}

/// Register C.
mod c {
    pub(super) const UPDATE: u8 = 1 << 4;
    pub(super) const ALARM: u8 = 1 << 5;
    pub(super) const PERIODIC: u8 = 1 << 6;
    pub(super) const INTERRUPT: u8 = 1 << 7;
}

/// Register D: RAM and time are valid.
const VALID: u8 = 1 << 7;
/// An alarm's register that holds this or more is always met.
const ANY: u8 = 0xC0;

/// The date that such a clock shows, by what its registers 0, 2, 4, 7, 8, 9 and [`CENTURY`] hold, and register B.
#[must_use]
pub fn date_of([second, minute, hour, day, month, year, century]: [u8; 7], mode: u8) -> Date {
    let spelling = Spelling::of(mode);
    let number = |spelled| spelling.read_number(spelled);
    Date {
        year: u32::from(number(century)) * 100 + u32::from(number(year)),
        month: number(month),
        day: number(day),
        hour: spelling.read_hour(hour),
        minute: number(minute),
        second: number(second),
    }
}

/// What CMOS memory tells of the machine, at the places that QEMU and Bochs have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Where RAM below 4 GiB ends: its bytes, and those of the hole below 1 MiB.
    pub low_memory: u64,
    /// Bytes of RAM from 4 GiB on.
    pub high_memory: u64,
    /// How many vCPUs there are.
    pub vcpus: u32,
}

/// The clock. Times are ticks of the machine's.
#[derive(Clone, Debug)]
pub struct Rtc {
    rate: Rate,
    /// What the clock is ahead of its crystal, which was zero with the machine's time; in ticks of the crystal, modulo 2^64.
    ahead: u64,
    index: u8,
    /// All that is only stored. The registers of the time count while it is being set.
    memory: [u8; BYTES],
    /// Events that register C tells of, whether enabled or not.
    events: u8,
    /// The crystal's tick up to which events have been noted.
    seen: u64,
}

impl Rtc {
    /// A clock that shows `seconds` since 1970 when the machine's time, which has `machine_hz` ticks in a second, is `now`.
    #[must_use]
    pub fn new(machine_hz: u64, now: u64, seconds: u64, contents: Contents) -> Self {
        let rate = Rate::new(HZ, machine_hz);
        let mut memory = [0; BYTES];
        memory[usize::from(A)] = a::AT_RESET;
        memory[usize::from(B)] = b::HOURS_24;
        contents.write(&mut memory);
        let seen = rate.ticks(now);
        let ahead = (seconds << HZ_SHIFT).wrapping_sub(seen);
        Self { rate, ahead, index: 0, memory, events: 0, seen }
    }

    /// Reads [`DATA`]. [`INDEX`] reads as all ones.
    pub fn read(&mut self, port: u16, now: u64) -> u8 {
        let tick = self.rate.ticks(now);
        match (port, self.index) {
            (DATA, A) => self.memory[usize::from(A)] | self.update_in_progress(tick),
            (DATA, C) => {
                self.see(tick);
                let shown = self.events | if self.interrupt_line() { c::INTERRUPT } else { 0 };
                self.events = 0;
                shown
            }
            (DATA, D) => VALID,
            (DATA, register) if is_time(register) && !self.is_being_set() => {
                self.time_register(register, tick)
            }
            (DATA, register) => self.memory[usize::from(register)],
            _ => u8::MAX,
        }
    }

    /// Writes to one of the ports. What the clock does next may be another thing from here on.
    pub fn write(&mut self, port: u16, value: u8, now: u64) {
        let tick = self.rate.ticks(now);
        match port {
            INDEX => self.index = value & 0x7F,
            DATA => {
                self.see(tick);
                self.write_register(self.index, value, tick);
            }
            _ => {}
        }
    }

    /// The line of the interrupt.
    #[must_use]
    pub fn interrupt_line(&self) -> bool {
        self.events & self.memory[usize::from(B)] != 0
    }

    /// Notes what has happened up to `now`.
    pub fn expire(&mut self, now: u64) {
        self.see(self.rate.ticks(now));
    }

    /// When the line will rise by itself; `None` while it is asserted, for then only the guest can let it rise anew.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        if self.interrupt_line() {
            return None;
        }
        let enabled = |event| self.memory[usize::from(B)] & event != 0;
        let (seen, runs) = (self.seen, !self.is_being_set());
        let periodic =
            self.period().filter(|_| enabled(c::PERIODIC)).map(|period| (seen / period + 1) * period);
        let update = (runs && enabled(c::UPDATE)).then(|| self.next_second());
        let alarm = if runs && enabled(c::ALARM) { self.next_alarm() } else { None };
        [periodic, update, alarm].into_iter().flatten().min().map(|tick| self.rate.time(tick))
    }

    /// Notes what has happened up to a tick of the crystal.
    fn see(&mut self, tick: u64) {
        if tick <= self.seen {
            return;
        }
        if self.period().is_some_and(|period| tick / period > self.seen / period) {
            self.events |= c::PERIODIC;
        }
        if !self.is_being_set() {
            if self.next_second() <= tick {
                self.events |= c::UPDATE;
            }
            if self.next_alarm().is_some_and(|alarm| alarm <= tick) {
                self.events |= c::ALARM;
            }
        }
        self.seen = tick;
    }

    /// Ticks between two periodic events ("Periodic Interrupt Rate").
    fn period(&self) -> Option<u64> {
        match self.memory[usize::from(A)] & a::RATE {
            0 => None,
            rate @ 1..=2 => Some(1 << (rate + 6)),
            rate => Some(1 << (rate - 1)),
        }
    }

    /// The crystal's tick at which the next second begins that was not seen.
    fn next_second(&self) -> u64 {
        let clock = self.seen.wrapping_add(self.ahead);
        self.seen + (u64::from(HZ) - clock % u64::from(HZ))
    }

    /// The crystal's tick at which the next second begins that the alarm is for.
    fn next_alarm(&self) -> Option<u64> {
        let spelling = self.spelling();
        let at = |register: u8| self.memory[usize::from(register)];
        let wanted = |register, read: fn(Spelling, u8) -> u8| {
            Some(at(register)).filter(|&value| value < ANY).map(|value| read(spelling, value))
        };
        let hour = match at(HOURS_ALARM) {
            ANY.. => None,
            spelled => Some(spelling.read_hour(spelled)),
        };
        let alarm = Alarm {
            hour,
            minute: wanted(MINUTES_ALARM, Spelling::read_number),
            second: wanted(SECONDS_ALARM, Spelling::read_number),
        };
        let next = self.next_second();
        let in_day = (next.wrapping_add(self.ahead) >> HZ_SHIFT) % DAY;
        alarm.seconds_from(in_day).map(|seconds| next + (seconds << HZ_SHIFT))
    }

    fn update_in_progress(&self, tick: u64) -> u8 {
        let left = u64::from(HZ) - tick.wrapping_add(self.ahead) % u64::from(HZ);
        if left <= ANNOUNCED && !self.is_being_set() { a::UPDATE_IN_PROGRESS } else { 0 }
    }

    fn is_being_set(&self) -> bool {
        self.memory[usize::from(B)] & b::SET != 0
    }

    fn spelling(&self) -> Spelling {
        Spelling::of(self.memory[usize::from(B)])
    }

    fn date(&self, tick: u64) -> Date {
        Date::at(tick.wrapping_add(self.ahead) >> HZ_SHIFT)
    }

    fn time_register(&self, register: u8, tick: u64) -> u8 {
        let (date, spelling) = (self.date(tick), self.spelling());
        match register {
            SECONDS => spelling.number(date.second),
            MINUTES => spelling.number(date.minute),
            HOURS => spelling.hour(date.hour),
            DAY_OF_WEEK => spelling.number(date.day_of_week()),
            DAY_OF_MONTH => spelling.number(date.day),
            MONTH => spelling.number(date.month),
            YEAR => spelling.number((date.year % 100) as u8),
            _ => spelling.number((date.year / 100 % 100) as u8),
        }
    }

    fn write_register(&mut self, register: u8, value: u8, tick: u64) {
        let stored = usize::from(register);
        match register {
            A => self.memory[stored] = value & !a::UPDATE_IN_PROGRESS,
            B => self.write_b(value, tick),
            C | D => {}
            _ if is_time(register) && !self.is_being_set() => {
                self.store_time(tick);
                self.memory[stored] = value;
                self.set_time(tick);
            }
            _ => self.memory[stored] = value,
        }
    }

    /// While SET is set the time stands still. It goes on from what its registers hold then. SET clears the enabling of updates.
    fn write_b(&mut self, value: u8, tick: u64) {
        let was_being_set = self.is_being_set();
        let is_being_set = value & b::SET != 0;
        if is_being_set && !was_being_set {
            self.store_time(tick);
        }
        self.memory[usize::from(B)] = if is_being_set { value & !c::UPDATE } else { value };
        if was_being_set && !is_being_set {
            self.set_time(tick);
        }
    }

    /// The registers hold the time as it is.
    fn store_time(&mut self, tick: u64) {
        for register in (0..BYTES as u8).filter(|&register| is_time(register)) {
            self.memory[usize::from(register)] = self.time_register(register, tick);
        }
    }

    /// The time is what the registers hold. The second goes on where it is.
    fn set_time(&mut self, tick: u64) {
        let at = |register: u8| self.memory[usize::from(register)];
        let date = date_of([SECONDS, MINUTES, HOURS, DAY_OF_MONTH, MONTH, YEAR, CENTURY].map(at), at(B));
        let in_second = tick.wrapping_add(self.ahead) % u64::from(HZ);
        self.ahead = ((date.seconds() << HZ_SHIFT) + in_second).wrapping_sub(tick);
    }
}

/// What an alarm wants; `None` is anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Alarm {
    hour: Option<u8>,
    minute: Option<u8>,
    second: Option<u8>,
}

impl Alarm {
    /// Seconds from the one of a day that is `start` to the first that is wanted; `None` if none ever is.
    fn seconds_from(self, start: u64) -> Option<u64> {
        let can_be = |wanted: Option<u8>, limit: u8| wanted.is_none_or(|wanted| wanted < limit);
        if !(can_be(self.hour, 24) && can_be(self.minute, 60) && can_be(self.second, 60)) {
            return None;
        }
        let meets = |wanted: Option<u8>, value: u64| wanted.is_none_or(|wanted| u64::from(wanted) == value);
        let mut at = start;
        // Hour by hour, then minute by minute, then second by second: some two hundred steps at most.
        while at < start + DAY + 3_600 {
            at = match () {
                () if !meets(self.hour, at / 3_600 % 24) => (at / 3_600 + 1) * 3_600,
                () if !meets(self.minute, at / 60 % 60) => (at / 60 + 1) * 60,
                () if !meets(self.second, at % 60) => at + 1,
                () => return Some(at - start),
            };
        }
        None
    }
}

impl Contents {
    fn write(self, memory: &mut [u8; BYTES]) {
        let Self { low_memory, high_memory, vcpus } = self;
        const KIB: u64 = 10;
        const MIB: u64 = 20;
        let clamped = |value: u64, most: u64| value.min(most);
        let words = [
            // KiB below 1 MiB that are RAM, and from there on, twice.
            (0x15, clamped(low_memory >> KIB, 640)),
            (0x17, clamped(low_memory.saturating_sub(1 << MIB) >> KIB, 0xFFFF)),
            (0x30, clamped(low_memory.saturating_sub(1 << MIB) >> KIB, 0xFFFF)),
            // From 16 MiB on, and from 4 GiB on, in 64 KiB.
            (0x34, clamped(low_memory.saturating_sub(16 << MIB) >> 16, 0xFFFF)),
            (0x5B, clamped(high_memory >> 16, 0xFF_FFFF)),
        ];
        for (at, value) in words {
            memory[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
        }
        memory[0x5D] = (clamped(high_memory >> 16, 0xFF_FFFF) >> 16) as u8;
        // The number of the last CPU.
        memory[0x5F] = clamped(u64::from(vcpus.saturating_sub(1)), 0xFF) as u8;
    }
}

fn is_time(register: u8) -> bool {
    matches!(register, SECONDS | MINUTES | HOURS | DAY_OF_WEEK..=YEAR | CENTURY)
}
