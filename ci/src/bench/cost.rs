// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the counts would come to on a real machine: an estimate, from published figures.
//!
//! The emulator takes one tick for each instruction, an exit from a guest included. Processors take thousands for an exit and
//! the entry after it. docs/benchmarks.md has the sources with what was found there, and what this leaves out.

use crate::bench::figures::Figure;

/// Cycles from a guest to who runs it and back, by the hardware alone.
///
/// "The direct cost on its own is high: 2,000 cycles", on a Xeon X5570: Landau, Ben-Yehuda, Gordon, "SplitX: Split
/// Guest/Hypervisor Execution on Multi-Core", table 1.
pub const ROUND_TRIP_CYCLES: f64 = 2000.0;

/// Instructions that a cycle ends. An assumption: code between exits finds cold caches, and few have measured it.
pub const INSTRUCTIONS_PER_CYCLE: f64 = 1.0;

/// Where the figures come from, in a line for below a table.
pub const SOURCE: &str = "Estimated cycles: instructions at an assumed 1 per cycle, and 2000 for each exit and the entry after it, \
    as SplitX (Landau et al.) gives for a Xeon X5570. No machine has measured them; docs/benchmarks.md says what they leave out.";

/// Estimated cycles of an operation, where it is known how often a processor would leave a guest for it.
#[must_use]
pub fn estimated_cycles(figure: &Figure) -> Option<u64> {
    // Of a nested guest's exit the processor knows nothing; what it takes are the transitions that L0 makes of it.
    let round_trips = if figure.setting.is_nested() { figure.transitions } else { figure.exits }?;
    let cycles = figure.instructions as f64 / INSTRUCTIONS_PER_CYCLE + round_trips * ROUND_TRIP_CYCLES;
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
        assert_eq!(cycles(Setting::Satori), Some(2200));
        assert_eq!(cycles(Setting::SatoriOnKvm), Some(4200));
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
