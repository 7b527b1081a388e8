// SPDX-License-Identifier: MIT OR Apache-2.0
//! A limit on what a guest can have told in the log: so much in a second, and how much was left out.

use core::fmt;
use spin::Mutex;

/// The limit of one virtual machine.
#[derive(Debug)]
pub struct RateLimit {
    most: u32,
    /// Ticks of the time that it is asked with in a second.
    second: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the second began that is looked at.
    began: u64,
    /// Reports that were told since then.
    told: u32,
    left_out: u64,
}

/// How many reports were left out before one that is told. It is printed behind that: nothing, or " (12 reports left out)".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut(u64);

impl RateLimit {
    /// So many reports in a second of `hz` ticks.
    #[must_use]
    pub const fn new(most: u32, hz: u64) -> Self {
        Self { most, second: hz, state: Mutex::new(State { began: 0, told: 0, left_out: 0 }) }
    }

    /// Whether a report may be told at `now`, in ticks.
    #[must_use]
    pub fn admit(&self, now: u64) -> Option<LeftOut> {
        let mut state = self.state.lock();
        // Another CPU's time may be a little before that of the one that began the second.
        if now.saturating_sub(state.began) >= self.second {
            (state.began, state.told) = (now, 0);
        }
        if state.told >= self.most {
            state.left_out = state.left_out.saturating_add(1);
            return None;
        }
        state.told += 1;
        Some(LeftOut(core::mem::take(&mut state.left_out)))
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(" (1 report left out)"),
            reports => write!(f, " ({reports} reports left out)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u64 = 1000;

    #[test]
    fn so_many_reports_a_second_are_told_and_the_next_one_says_how_many_were_not() {
        let limit = RateLimit::new(3, HZ);
        let told = |at: core::ops::Range<u64>| at.filter_map(|now| limit.admit(now)).collect::<Vec<_>>();
        assert_eq!(told(5000..5100), [LeftOut(0); 3]);
        assert_eq!(told(5100..6000), []);
        assert_eq!(told(6000..6010), [LeftOut(997), LeftOut(0), LeftOut(0)]);
        assert_eq!(told(100_000..100_002), [LeftOut(7), LeftOut(0)]);
    }

    #[test]
    fn a_time_before_the_last_one_is_of_the_same_second() {
        let limit = RateLimit::new(1, HZ);
        assert!(limit.admit(5000).is_some());
        assert!(limit.admit(4990).is_none());
        assert!(limit.admit(6000).is_some());
    }

    #[test]
    fn what_was_left_out_is_told_in_words() {
        assert_eq!(
            [0, 1, 2].map(|reports| LeftOut(reports).to_string()),
            ["", " (1 report left out)", " (2 reports left out)"]
        );
    }
}
