// SPDX-License-Identifier: MIT OR Apache-2.0
//! One counter of the 8254, computed from where its clock stands: nothing ticks (Intel, 82C54 data sheet, "Mode Definitions").

/// What a counter does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Mode 0: the output rises when the count is done.
    InterruptOnTerminalCount,
    /// Mode 1: as mode 0, from each trigger on.
    OneShot,
    /// Mode 2: the output is low for the last tick of each period.
    RateGenerator,
    /// Mode 3: the output is low for the second half of each period.
    SquareWave,
    /// Mode 4: the output is low for one tick when the count is done.
    SoftwareStrobe,
    /// Mode 5: as mode 4, from each trigger on.
    HardwareStrobe,
}

impl Mode {
    /// As a control word has it; 6 and 7 are 2 and 3.
    pub(super) fn from_bits(bits: u8) -> Self {
        match bits & 7 {
            0 => Self::InterruptOnTerminalCount,
            1 => Self::OneShot,
            2 | 6 => Self::RateGenerator,
            3 | 7 => Self::SquareWave,
            4 => Self::SoftwareStrobe,
            _ => Self::HardwareStrobe,
        }
    }

    pub(super) fn bits(self) -> u8 {
        self as u8
    }

    fn is_periodic(self) -> bool {
        matches!(self, Self::RateGenerator | Self::SquareWave)
    }

    /// Whether it starts when the gate rises, and not when a count is written.
    fn is_triggered(self) -> bool {
        matches!(self, Self::OneShot | Self::HardwareStrobe)
    }
}

/// Where a counter is in its count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has no count yet, or awaits a trigger.
    Waits,
    /// It was loaded when its clock stood there.
    Since(u64),
    /// The gate holds it, so many ticks after it was loaded.
    Held(u64),
}

/// A counter: the gate, the count, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counter {
    mode: Mode,
    /// Whether it counts in decimal.
    bcd: bool,
    gate: bool,
    /// What is being counted down from, 1 to 65536.
    count: u32,
    /// What the next period, or the next trigger, begins with.
    next: Option<u32>,
    phase: Phase,
}

impl Counter {
    pub(super) fn new(gate: bool) -> Self {
        let mode = Mode::InterruptOnTerminalCount;
        Self { mode, bcd: false, gate, count: 0x1_0000, next: None, phase: Phase::Waits }
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    pub(super) fn bcd(&self) -> bool {
        self.bcd
    }

    pub(super) fn gate(&self) -> bool {
        self.gate
    }

    /// A control word: the counter stops until it is given a count.
    pub(super) fn program(&mut self, mode: Mode, bcd: bool) {
        *self = Self { mode, bcd, next: None, phase: Phase::Waits, ..*self };
    }

    /// Whether a count was written that the counter has not begun with ("null count").
    pub(super) fn is_null(&self, tick: u64) -> bool {
        self.settled(tick).next.is_some() || self.phase == Phase::Waits && !self.mode.is_triggered()
    }

    /// The first of the two bytes of a count is written: mode 0 stops.
    pub(super) fn stop(&mut self) {
        if self.mode == Mode::InterruptOnTerminalCount {
            self.phase = Phase::Waits;
        }
    }

    /// A count is written, as its register has it: 0 is the most.
    pub(super) fn write(&mut self, written: u16, tick: u64) {
        let count = match (self.bcd, written) {
            (false, 0) => 0x1_0000,
            (false, _) => u32::from(written),
            (true, 0) => 10_000,
            (true, _) => from_bcd(written),
        };
        let takes_at_once =
            !self.mode.is_triggered() && (self.phase == Phase::Waits || !self.mode.is_periodic());
        if takes_at_once {
            self.load(count, tick);
        } else {
            self.next = Some(count);
        }
    }

    /// The gate changes ("Gate Pin Operations Summary").
    pub(super) fn set_gate(&mut self, gate: bool, tick: u64) {
        let rises = gate && !self.gate;
        let falls = !gate && self.gate;
        self.settle(tick);
        self.gate = gate;
        let has_count = self.next.is_some() || self.phase != Phase::Waits;
        match self.phase {
            _ if rises && has_count && (self.mode.is_periodic() || self.mode.is_triggered()) => {
                self.load(self.next.unwrap_or(self.count), tick);
            }
            Phase::Held(passed) if rises => self.phase = Phase::Since(tick.saturating_sub(passed)),
            Phase::Since(start) if falls && !self.mode.is_triggered() => {
                self.phase = Phase::Held(tick.saturating_sub(start));
            }
            _ => {}
        }
    }

    /// The counting element, as software reads it.
    pub(super) fn read(&self, tick: u64) -> u16 {
        let (count, passed) = self.position(tick);
        let value = match self.mode {
            // Each half of the period is counted in steps of two, from an even number on.
            Mode::SquareWave => {
                let half = high_ticks(count);
                let passed = if passed < half { passed } else { passed - half };
                (count & !1).saturating_sub(2 * passed)
            }
            // On from zero it wraps round.
            _ if passed > count => {
                let modulus = if self.bcd { 10_000 } else { 0x1_0000 };
                modulus - (passed - count) % modulus
            }
            _ => count - passed,
        };
        if self.bcd { to_bcd(value % 10_000) } else { value as u16 }
    }

    /// OUT.
    pub(super) fn output(&self, tick: u64) -> bool {
        let (count, passed) = self.position(tick);
        match (self.mode, self.phase) {
            (Mode::InterruptOnTerminalCount, Phase::Waits) => false,
            (Mode::InterruptOnTerminalCount | Mode::OneShot, Phase::Since(_) | Phase::Held(_)) => {
                passed >= count
            }
            // A gate that is low holds the output high.
            (_, Phase::Waits) | (Mode::RateGenerator | Mode::SquareWave, Phase::Held(_)) => true,
            (Mode::RateGenerator, _) => passed + 1 != count,
            (Mode::SquareWave, _) => passed < high_ticks(count),
            (Mode::SoftwareStrobe | Mode::HardwareStrobe, _) => passed != count,
        }
    }

    /// The first tick after `tick` at which the output rises; `None` while it will not.
    pub(super) fn next_rise(&self, tick: u64) -> Option<u64> {
        let Phase::Since(start) = self.phase else { return None };
        let count = u64::from(self.count);
        let first = match self.mode {
            Mode::InterruptOnTerminalCount | Mode::OneShot => start + count,
            Mode::SoftwareStrobe | Mode::HardwareStrobe => start + count + 1,
            // It never falls.
            Mode::RateGenerator | Mode::SquareWave if count == 1 => return None,
            Mode::RateGenerator | Mode::SquareWave => {
                let first = start + count;
                // The periods after the first are as long as was written since.
                let period = u64::from(self.next.unwrap_or(self.count));
                let more = (tick + 1).saturating_sub(first).div_ceil(period);
                return Some(first + more * period);
            }
        };
        (first > tick).then_some(first)
    }

    /// What is counted down from, and the ticks since it was loaded; of periods, in the one that it is in.
    #[inline]
    fn position(&self, tick: u64) -> (u64, u64) {
        let count = u64::from(self.count);
        match self.phase {
            Phase::Waits => (count, 0),
            Phase::Since(start) => {
                let passed = tick.saturating_sub(start);
                if passed >= count && self.mode.is_periodic() {
                    return self.position_in_later_period(start, tick);
                }
                (count, passed)
            }
            Phase::Held(passed) => (count, passed),
        }
    }

    #[cold]
    fn position_in_later_period(&self, start: u64, tick: u64) -> (u64, u64) {
        self.without_periods(start, tick).position(tick)
    }

    /// Forgets periods that are over, and that the output has risen with them. Who does so now and then need not divide else.
    pub(super) fn settle(&mut self, tick: u64) {
        *self = self.settled(tick);
    }

    /// The same without the periods that are over.
    #[inline]
    fn settled(&self, tick: u64) -> Self {
        match self.phase {
            Phase::Since(start)
                if self.mode.is_periodic() && tick.saturating_sub(start) >= u64::from(self.count) =>
            {
                self.without_periods(start, tick)
            }
            _ => *self,
        }
    }

    #[cold]
    fn without_periods(&self, start: u64, tick: u64) -> Self {
        let start = start + u64::from(self.count);
        let count = self.next.unwrap_or(self.count);
        let period = u64::from(count);
        let phase = Phase::Since(start + (tick - start) / period * period);
        Self { count, next: None, phase, ..*self }
    }

    fn load(&mut self, count: u32, tick: u64) {
        // The clock's next pulse loads it; in mode 0 that is counted.
        let start = if self.mode == Mode::InterruptOnTerminalCount { tick + 1 } else { tick };
        self.count = count;
        self.next = None;
        self.phase = if self.gate || self.mode.is_triggered() { Phase::Since(start) } else { Phase::Held(0) };
    }
}

/// How long a square wave is high: the longer half of an odd period.
fn high_ticks(period: u64) -> u64 {
    period.div_ceil(2)
}

/// Four decimal digits. One above 9 counts as what it is, and so may a whole of nothing; there is at least one tick.
fn from_bcd(written: u16) -> u32 {
    (0..4).rev().fold(0, |value, digit| value * 10 + u32::from(written >> (4 * digit) & 0xF)).max(1)
}

fn to_bcd(value: u64) -> u16 {
    (0..4).fold((0, value), |(bcd, left), digit| (bcd | ((left % 10) as u16) << (4 * digit), left / 10)).0
}
