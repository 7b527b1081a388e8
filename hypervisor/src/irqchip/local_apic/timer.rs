// SPDX-License-Identifier: MIT OR Apache-2.0
//! The APIC timer, computed from the clock: nothing ticks (SDM vol. 3, "APIC Timer").

use core::num::NonZeroU32;

/// What the timer does with its count; bits 18:17 of its local vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimerMode {
    /// Counts down once and stops at zero.
    OneShot,
    /// Starts again from the initial count.
    Periodic,
    /// Expires when the guest's TSC reaches IA32_TSC_DEADLINE; the counts have no meaning.
    TscDeadline,
}

impl TimerMode {
    /// The mode that the two-bit field names. The reserved encoding acts as one-shot.
    pub(super) fn from_bits(bits: u8) -> Self {
        match bits {
            0b01 => Self::Periodic,
            0b10 => Self::TscDeadline,
            _ => Self::OneShot,
        }
    }
}

/// The count registers of one local APIC. All times are in ticks of the guest's TSC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timer {
    /// TSC ticks in one tick of the timer's input clock, before the divider.
    input_tick: NonZeroU32,
    /// Bits 0, 1 and 3 of the divide configuration register, as written.
    divide: u32,
    initial_count: u32,
    /// When the count reaches zero next; `None` while the timer stands still.
    deadline: Option<u64>,
}

impl Timer {
    /// The bits of the divide configuration register that mean something.
    pub(super) const DIVIDE_BITS: u32 = 0b1011;

    pub(super) fn new(input_tick: NonZeroU32) -> Self {
        Self { input_tick, divide: 0, initial_count: 0, deadline: None }
    }

    pub(super) fn input_tick(&self) -> NonZeroU32 {
        self.input_tick
    }

    #[inline]
    pub(super) fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    pub(super) fn initial_count(&self) -> u32 {
        self.initial_count
    }

    pub(super) fn divide(&self) -> u32 {
        self.divide
    }

    /// A write to the initial count: starts the timer, or stops it where the count is zero.
    pub(super) fn start(&mut self, initial_count: u32, now: u64) {
        self.initial_count = initial_count;
        self.deadline = (initial_count != 0).then(|| now.saturating_add(self.period()));
    }

    /// A write to IA32_TSC_DEADLINE; zero disarms.
    pub(super) fn arm(&mut self, deadline: u64) {
        self.deadline = (deadline != 0).then_some(deadline);
    }

    pub(super) fn disarm(&mut self) {
        self.deadline = None;
    }

    /// The current count at `now`; zero in TSC-deadline mode.
    pub(super) fn current_count(&self, mode: TimerMode, now: u64) -> u32 {
        let Some(deadline) = self.deadline else { return 0 };
        let left = match mode {
            TimerMode::TscDeadline => 0,
            _ if now < deadline => deadline - now,
            // Expired and reloaded; whoever runs the vCPU has not told us yet.
            TimerMode::Periodic => self.period() - (now - deadline) % self.period(),
            TimerMode::OneShot => 0,
        };
        // More than the initial count is left only where the clock was set back.
        left.div_ceil(self.tick()).min(u64::from(self.initial_count)) as u32
    }

    /// A write to the divide configuration: what is left of the count goes on at the new pace.
    pub(super) fn set_divide(&mut self, divide: u32, mode: TimerMode, now: u64) {
        let left = u64::from(self.current_count(mode, now));
        self.divide = divide & Self::DIVIDE_BITS;
        if self.deadline.is_some() && mode != TimerMode::TscDeadline {
            self.deadline = Some(now.saturating_add(left.saturating_mul(self.tick())));
        }
    }

    /// The guest has moved its TSC on by `change`, modulo 2^64. The count runs on the bus clock, which knows nothing of that;
    /// a TSC deadline stays what it is.
    pub(super) fn shift_clock(&mut self, mode: TimerMode, change: u64) {
        if mode != TimerMode::TscDeadline {
            self.deadline = self.deadline.map(|deadline| deadline.wrapping_add(change));
        }
    }

    /// Tells whether the timer has reached zero by `now`, and re-arms it where it is periodic. Periods that
    /// nobody looked at count as one.
    pub(super) fn expire(&mut self, mode: TimerMode, now: u64) -> bool {
        let Some(deadline) = self.deadline.filter(|&deadline| deadline <= now) else { return false };
        self.deadline = (mode == TimerMode::Periodic).then(|| {
            let missed = (now - deadline) / self.period();
            deadline.saturating_add((missed + 1).saturating_mul(self.period()))
        });
        true
    }

    /// TSC ticks in one step of the count. "Divide Configuration Register": 000 divides by 2, 110 by 128 and
    /// 111 by 1.
    fn tick(&self) -> u64 {
        let field = (self.divide >> 1) & 0b100 | self.divide & 0b11;
        u64::from(self.input_tick.get()) << ((field + 1) & 0b111)
    }

    /// TSC ticks from one expiry to the next; at least one, whatever the guest wrote.
    fn period(&self) -> u64 {
        u64::from(self.initial_count).saturating_mul(self.tick()).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::Timer;
    use super::TimerMode;
    use core::num::NonZeroU32;
    use proptest::prelude::*;

    const DIVIDE_BY_1: u32 = 0b1011;
    const DIVIDE_BY_2: u32 = 0b0000;
    const DIVIDE_BY_16: u32 = 0b0011;
    const DIVIDE_BY_128: u32 = 0b1010;

    fn timer(divide: u32) -> Timer {
        let mut timer = Timer::new(NonZeroU32::MIN);
        timer.set_divide(divide, TimerMode::OneShot, 0);
        timer
    }

    #[test]
    fn divider_is_as_encoded() {
        // "Divide Configuration Register".
        for (divide, ticks) in [(DIVIDE_BY_1, 1), (DIVIDE_BY_2, 2), (DIVIDE_BY_16, 16), (DIVIDE_BY_128, 128)]
        {
            let mut timer = timer(divide);
            timer.start(10, 1000);
            assert_eq!(timer.deadline(), Some(1000 + 10 * ticks));
        }
    }

    #[test]
    fn one_shot_stops_at_zero() {
        let mut timer = timer(DIVIDE_BY_1);
        timer.start(100, 50);
        assert_eq!(timer.current_count(TimerMode::OneShot, 50), 100);
        assert_eq!(timer.current_count(TimerMode::OneShot, 149), 1);
        assert!(!timer.expire(TimerMode::OneShot, 149));
        assert_eq!(timer.current_count(TimerMode::OneShot, 1000), 0);
        assert!(timer.expire(TimerMode::OneShot, 150));
        assert_eq!(timer.deadline(), None);
        assert!(!timer.expire(TimerMode::OneShot, 1000));
    }

    #[test]
    fn zero_initial_count_stops_the_timer() {
        let mut timer = timer(DIVIDE_BY_1);
        timer.start(100, 0);
        timer.start(0, 10);
        assert_eq!(timer.deadline(), None);
        assert_eq!(timer.current_count(TimerMode::Periodic, 20), 0);
    }

    #[test]
    fn missed_periods_collapse_into_one() {
        let mut timer = timer(DIVIDE_BY_1);
        timer.start(100, 0);
        assert!(timer.expire(TimerMode::Periodic, 100 * 1_000_000_000 + 7));
        assert_eq!(timer.deadline(), Some(100 * 1_000_000_001));
        assert!(!timer.expire(TimerMode::Periodic, 100 * 1_000_000_000 + 8));
    }

    #[test]
    fn new_divider_keeps_what_is_left() {
        let mut timer = timer(DIVIDE_BY_2);
        timer.start(100, 0);
        timer.set_divide(DIVIDE_BY_16, TimerMode::OneShot, 2 * 60);
        assert_eq!(timer.current_count(TimerMode::OneShot, 2 * 60), 40);
        assert_eq!(timer.deadline(), Some(2 * 60 + 40 * 16));
    }

    #[test]
    fn clock_that_is_set_back_shows_no_more_than_the_initial_count() {
        let mut timer = timer(DIVIDE_BY_1);
        timer.start(u32::MAX, 1 << 40);
        assert_eq!(timer.current_count(TimerMode::OneShot, 0), u32::MAX);
    }

    proptest! {
        #[test]
        fn agrees_with_a_timer_that_ticks(
            count in 1_u32..50,
            divide in prop::sample::select(vec![DIVIDE_BY_1, DIVIDE_BY_2, DIVIDE_BY_16]),
            periodic in any::<bool>(),
            looks in prop::collection::vec(1_u64..200, 1..50),
        ) {
            let mode = if periodic { TimerMode::Periodic } else { TimerMode::OneShot };
            let mut timer = timer(divide);
            timer.start(count, 0);
            let pace = timer.tick();
            let (mut now, mut ticking) = (0, count);
            for ahead in looks {
                let mut expired = false;
                for _ in 0..ahead {
                    now += 1;
                    if now % pace == 0 && ticking != 0 {
                        ticking -= 1;
                        expired |= ticking == 0;
                        if ticking == 0 && periodic {
                            ticking = count;
                        }
                    }
                }
                prop_assert_eq!(timer.current_count(mode, now), ticking);
                prop_assert_eq!(timer.expire(mode, now), expired);
                prop_assert_eq!(timer.current_count(mode, now), ticking);
            }
        }
    }

    #[test]
    fn counts_do_not_notice_that_the_tsc_is_moved_and_deadlines_do() {
        let mut timer = Timer::new(NonZeroU32::MIN);
        timer.set_divide(0b1011, TimerMode::OneShot, 0);
        timer.start(100, 1_000);
        timer.shift_clock(TimerMode::OneShot, 5_000);
        assert_eq!(timer.current_count(TimerMode::OneShot, 6_040), 60);
        timer.shift_clock(TimerMode::OneShot, 5_000_u64.wrapping_neg());
        assert_eq!(timer.deadline(), Some(1_100));
        timer.arm(1_500);
        timer.shift_clock(TimerMode::TscDeadline, 5_000);
        assert_eq!(timer.deadline(), Some(1_500));
    }
}
