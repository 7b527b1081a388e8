// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much work a program does: all of it, or less where each exit costs a hundred times as much.

use crate::start_info;

/// What is all of the work.
pub const FULL: u64 = 1000;

/// Of `full` rounds, those that are to be done: as many thousandths as `effort=` says on the command line, at least one,
/// and all where it says nothing.
#[must_use]
pub fn of(full: u64) -> u64 {
    part(full, start_info::number("effort").unwrap_or(FULL))
}

/// Of `full` rounds, those that are done with that effort.
#[must_use]
pub fn part(full: u64, effort: u64) -> u64 {
    (full.saturating_mul(effort) / FULL).clamp(full.min(1), full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_work_is_always_done_and_never_more_than_all() {
        assert_eq!([0, 1, 10, 500, 1000, u64::MAX].map(|effort| part(400, effort)), [1, 1, 4, 200, 400, 400]);
        assert_eq!(part(0, 10), 0);
    }
}
