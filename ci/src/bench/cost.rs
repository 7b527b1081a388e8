// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the counts would come to on a real machine: an estimate, from published figures.
//!
//! The emulator takes one tick for each instruction, an exit from a guest included. Processors take hundreds or thousands of cycles
//! for an exit and the entry after it. docs/benchmarks.md has the sources with what was found there, and what this leaves out.

use crate::bench::figures::Figure;

/// Cycles from a guest to who runs it and back, by the hardware alone: what published figures of KVM's CPUID leave for it.
///
/// "With a single vCPU pinned to a single pCPU, the average latency for a CPUID exit goes from 1018 => 1027 cycles": S. Christopherson,
/// and a median of 1098 by B. Kauer: Linux' KVM list, December 2024. Here KVM takes some 1110 instructions for it.
pub const ROUND_TRIP_CYCLES: f64 = 500.0;

/// Instructions that a cycle ends. An assumption, the same for all.
pub const INSTRUCTIONS_PER_CYCLE: f64 = 2.0;

/// Where the figures come from, in a line for below a table.
pub const SOURCE: &str = "Estimated cycles: instructions at an assumed 2 per cycle, and 500 for each exit and the entry after it, so that \
    a CPUID in KVM comes to what its developers measured (1018 to 1098 cycles). No machine has measured these; docs/benchmarks.md has \
    the sources, and what this leaves out.";

/// How often the processor leaves a guest for an operation and enters one again, where that is known. Of a nested guest's exit it knows
/// nothing; what it takes are the transitions that L0 makes of it.
#[must_use]
pub fn round_trips(figure: &Figure) -> Option<f64> {
    if figure.setting.is_nested() { figure.transitions } else { figure.exits }
}

/// Estimated cycles of an operation, where it is known how often a processor would leave a guest for it.
#[must_use]
pub fn estimated_cycles(figure: &Figure) -> Option<u64> {
    let cycles =
        figure.instructions as f64 / INSTRUCTIONS_PER_CYCLE + round_trips(figure)? * ROUND_TRIP_CYCLES;
    Some(cycles.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::Setting;
    use crate::bench::figures::made_up::figure;

    #[test]
    fn one_level_is_charged_for_exits_and_nesting_for_transitions() {
        let counts = [Some(1.0), Some(2.0)];
        let cycles = |setting| estimated_cycles(&figure("cpuid", setting, 200, counts));
        assert_eq!(cycles(Setting::Satori), Some(600));
        assert_eq!(cycles(Setting::SatoriOnKvm), Some(1100));
    }

    #[test]
    fn what_was_published_comes_out() {
        let published = [
            (figure("cpuid", Setting::Kvm, 1110, [Some(1.0), None]), 1018.0..1098.0),
            (figure("cpuid", Setting::KvmOnKvm, 13_405, [Some(1.0), Some(3.0)]), 8000.0..9000.0),
        ];
        for (figure, range) in published {
            let cycles = estimated_cycles(&figure).unwrap() as f64;
            assert!(range.contains(&cycles), "{cycles}");
        }
    }

    #[test]
    fn without_a_count_there_is_no_estimate() {
        let without = |setting, counts| estimated_cycles(&figure("cpuid", setting, 200, counts));
        assert_eq!(without(Setting::Satori, [None, Some(1.0)]), None);
        assert_eq!(without(Setting::SatoriOnKvm, [Some(1.0), None]), None);
    }

    #[test]
    fn what_is_said_below_the_table_is_what_is_calculated() {
        assert!(SOURCE.contains(&format!(" {ROUND_TRIP_CYCLES} for each exit")));
        assert!(SOURCE.contains(&format!(" {INSTRUCTIONS_PER_CYCLE} per cycle")));
    }
}
