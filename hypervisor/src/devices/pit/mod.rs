// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programmable interval timer of a PC, an 8254 (Intel, 82C54 data sheet, October 1994), and what port 0x61 has of it.
//!
//! Channel 0 interrupts. Channel 2 is gated, and its output is seen, by port 0x61. Channel 1 once refreshed memory.

mod counter;
#[cfg(test)]
mod tests;

use super::rate::Rate;
use counter::Counter;
use counter::Mode;

/// The port of channel 0; those of the others are next, and then the control word's.
pub const FIRST: u16 = 0x40;
/// The port of the control word.
pub const CONTROL: u16 = 0x43;
/// System control port B, of which this timer has the most.
pub const PORT_B: u16 = 0x61;
/// Ticks in a second.
pub const HZ: u32 = 1_193_182;
/// Its global system interrupt: that of ISA's IRQ 0, as the MADT tells.
pub const GSI: usize = 2;

/// Bits of [`PORT_B`].
mod port_b {
    pub(super) const GATE_2: u8 = 1 << 0;
    pub(super) const SPEAKER: u8 = 1 << 1;
    pub(super) const REFRESH: u8 = 1 << 4;
    pub(super) const OUTPUT_2: u8 = 1 << 5;
}

/// Channel 0 interrupts no more often than this, in a second: what a guest misses of a faster one is one interrupt. It is beyond
/// what guests ask for in earnest, and leaves time for them and for others.
const MOST_INTERRUPTS: u64 = 10_000;

/// A refresh is requested with each so many ticks, as a power of two: 13.4 µs, where a PC had 15.
const REFRESH_SHIFT: u32 = 4;

/// Bits of the read-back command; 3:1 are the channels.
mod read_back {
    pub(super) const NO_STATUS: u8 = 1 << 4;
    pub(super) const NO_COUNT: u8 = 1 << 5;
}

/// Which byte of a count a read or a write is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Low,
    High,
    /// The low one, and then the high one.
    Both,
}

/// A counter as its port shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Channel {
    counter: Counter,
    access: Access,
    /// The low byte, when the next write is the high one.
    low: Option<u8>,
    /// The next read is the high byte.
    reads_high: bool,
    latched_count: Option<u16>,
    latched_status: Option<u8>,
}

impl Channel {
    fn new(gate: bool) -> Self {
        Self {
            counter: Counter::new(gate),
            access: Access::Both,
            low: None,
            reads_high: false,
            latched_count: None,
            latched_status: None,
        }
    }

    fn program(&mut self, access: Access, mode: Mode, bcd: bool) {
        self.counter.program(mode, bcd);
        *self = Self { counter: self.counter, access, ..Self::new(false) };
    }

    fn write(&mut self, value: u8, tick: u64) {
        let count = match (self.access, self.low.take()) {
            (Access::Low, _) => u16::from(value),
            (Access::High, _) => u16::from(value) << 8,
            (Access::Both, Some(low)) => u16::from_le_bytes([low, value]),
            (Access::Both, None) => {
                self.low = Some(value);
                self.counter.stop();
                return;
            }
        };
        self.counter.write(count, tick);
    }

    fn read(&mut self, tick: u64) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let [low, high] = match self.latched_count {
            Some(count) => count,
            None => self.counter.read(tick),
        }
        .to_le_bytes();
        let is_last = self.access != Access::Both || self.reads_high;
        let is_high = self.access == Access::High || self.access == Access::Both && self.reads_high;
        self.reads_high = !is_last;
        if is_last {
            self.latched_count = None;
        }
        if is_high { high } else { low }
    }

    /// What is latched already stays.
    fn latch_count(&mut self, tick: u64) {
        let count = self.counter.read(tick);
        self.latched_count.get_or_insert(count);
    }

    fn latch_status(&mut self, tick: u64) {
        let access = match self.access {
            Access::Low => 1,
            Access::High => 2,
            Access::Both => 3,
        };
        let status = u8::from(self.counter.output(tick)) << 7
            | u8::from(self.counter.is_null(tick)) << 6
            | access << 4
            | self.counter.mode().bits() << 1
            | u8::from(self.counter.bcd());
        self.latched_status.get_or_insert(status);
    }
}

/// The timer. Times are ticks of the machine's.
#[derive(Clone, Debug)]
pub struct Pit {
    rate: Rate,
    channels: [Channel; 3],
    speaker: bool,
    /// Where its clock stood when channel 0 was looked at last: what it did before is done.
    seen: u64,
    /// The interrupt's line. It rises with the output of channel 0, and falls when that does by being programmed; when it falls by
    /// itself nobody looks.
    line: bool,
    /// The machine's time before which the line does not rise by itself.
    not_before: u64,
    /// The least of the machine's time between two interrupts.
    least_period: u64,
}

impl Pit {
    /// A timer where all channels stand still; the machine's time has so many ticks in a second.
    #[must_use]
    pub fn new(machine_hz: u64) -> Self {
        let channels = [true, true, false].map(Channel::new);
        Self {
            rate: Rate::new(HZ, machine_hz),
            channels,
            speaker: false,
            seen: 0,
            line: false,
            not_before: 0,
            least_period: machine_hz / MOST_INTERRUPTS,
        }
    }

    /// Reads the port of a channel. That of the control word reads as all ones.
    #[inline]
    pub fn read(&mut self, port: u16, now: u64) -> u8 {
        let tick = self.rate.ticks(now);
        let Some(channel) = self.channels.get_mut(usize::from(port.wrapping_sub(FIRST))) else {
            return u8::MAX;
        };
        if port != FIRST {
            // Nobody asks whether its output has risen.
            channel.counter.settle(tick);
        }
        channel.read(tick)
    }

    /// Writes to the port of a channel, or of the control word. What channel 0 does next may be another thing from here on.
    pub fn write(&mut self, port: u16, value: u8, now: u64) {
        let tick = self.rate.ticks(now);
        let before = self.channels[0].counter;
        if port == CONTROL {
            self.control(value, tick);
        } else if let Some(channel) = self.channels.get_mut(usize::from(port.wrapping_sub(FIRST))) {
            channel.write(value, tick);
        }
        let counter = &self.channels[0].counter;
        if *counter != before {
            self.line = counter.output(tick);
            self.seen = self.seen.max(tick);
        }
    }

    /// Reads [`PORT_B`].
    pub fn read_port_b(&mut self, now: u64) -> u8 {
        let tick = self.rate.ticks(now);
        let counter = &mut self.channels[2].counter;
        counter.settle(tick);
        let bits = [
            (counter.gate(), port_b::GATE_2),
            (self.speaker, port_b::SPEAKER),
            (tick >> REFRESH_SHIFT & 1 != 0, port_b::REFRESH),
            (counter.output(tick), port_b::OUTPUT_2),
        ];
        bits.into_iter().filter(|&(set, _)| set).fold(0, |value, (_, bit)| value | bit)
    }

    /// Writes to [`PORT_B`].
    pub fn write_port_b(&mut self, value: u8, now: u64) {
        self.speaker = value & port_b::SPEAKER != 0;
        self.channels[2].counter.set_gate(value & port_b::GATE_2 != 0, self.rate.ticks(now));
    }

    /// The line of the interrupt.
    #[must_use]
    pub fn interrupt_line(&self) -> bool {
        self.line
    }

    /// When the line rises next by itself.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let rise = self.channels[0].counter.next_rise(self.seen)?;
        Some(self.rate.time(rise).max(self.not_before))
    }

    /// Whether the line has risen by `now` since this was asked last. How often is not told.
    pub fn expire(&mut self, now: u64) -> bool {
        if self.next_deadline().is_none_or(|deadline| deadline > now) {
            return false;
        }
        self.seen = self.seen.max(self.rate.ticks(now));
        self.channels[0].counter.settle(self.seen);
        self.not_before = now.saturating_add(self.least_period);
        self.line = true;
        true
    }

    fn control(&mut self, value: u8, tick: u64) {
        let select = usize::from(value >> 6);
        let Some(channel) = self.channels.get_mut(select) else { return self.read_back(value, tick) };
        let access = match value >> 4 & 3 {
            0 => return channel.latch_count(tick),
            1 => Access::Low,
            2 => Access::High,
            _ => Access::Both,
        };
        channel.program(access, Mode::from_bits(value >> 1), value & 1 != 0);
    }

    /// "Read-Back Command".
    fn read_back(&mut self, value: u8, tick: u64) {
        for (number, channel) in self.channels.iter_mut().enumerate() {
            if value & 2 << number == 0 {
                continue;
            }
            if value & read_back::NO_COUNT == 0 {
                channel.latch_count(tick);
            }
            if value & read_back::NO_STATUS == 0 {
                channel.latch_status(tick);
            }
        }
    }
}
