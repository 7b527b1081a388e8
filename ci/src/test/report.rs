// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the tests went: a line for each, what the failed ones printed, and the sum.

use std::time::Duration;

use crate::test::libtest::Outcome;

/// The sum of all tests so far.
#[derive(Debug, Default)]
pub struct Report {
    passed: usize,
    skipped: usize,
    /// Names of the failed tests, each with what it printed.
    failures: Vec<(String, String)>,
}

impl Report {
    /// Counts a test that ended, and prints its line.
    pub fn ended(&mut self, name: &str, outcome: Outcome, took: Duration) {
        let took = took.as_secs_f64();
        match outcome {
            Outcome::Passed => {
                self.passed += 1;
                println!("{name} ... ok ({took:.3} s)");
            }
            Outcome::Failed => {
                self.failures.push((name.to_owned(), String::new()));
                println!("{name} ... FAILED ({took:.3} s)");
            }
            Outcome::Skipped(reason) => {
                self.skipped += 1;
                let reason = if reason.is_empty() { "without a reason" } else { &reason };
                println!("{name} ... skipped: {reason} ({took:.3} s)");
            }
        }
    }

    /// Keeps what the failed test `name` printed.
    pub fn explain(&mut self, name: &str, output: String) {
        if let Some(failure) = self.failures.iter_mut().find(|failure| failure.0 == name) {
            failure.1 = output;
        }
    }

    /// Prints what the failed tests printed.
    pub fn print_failures(&self) {
        for (name, output) in &self.failures {
            println!("\n---- {name}\n{output}");
        }
        if !self.failures.is_empty() {
            println!();
        }
    }

    /// The closing line.
    #[must_use]
    pub fn summary(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failures.len(), self.skipped)
    }

    /// Whether there was no test at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.passed + self.skipped + self.failures.len() == 0
    }

    /// Whether no test failed.
    #[must_use]
    pub fn all_passed(&self) -> bool {
        self.failures.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_counts_each_test_once() {
        let mut report = Report::default();
        assert!(report.is_empty());
        report.ended("a", Outcome::Passed, Duration::ZERO);
        report.ended("b", Outcome::Skipped("why".into()), Duration::ZERO);
        assert!(report.all_passed() && !report.is_empty());
        report.ended("c", Outcome::Failed, Duration::ZERO);
        report.explain("c", "what it printed".into());
        assert!(!report.all_passed());
        assert_eq!(report.summary(), "1 passed, 1 failed, 1 skipped");
        assert_eq!(report.failures, [("c".to_owned(), "what it printed".to_owned())]);
    }
}
