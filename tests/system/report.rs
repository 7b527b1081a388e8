// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which tests are wanted, and how they went, in the words of Rust's own test harness.

use std::process::ExitCode;

/// The tests so far.
pub struct Report {
    filters: Vec<String>,
    passed: usize,
    failures: Vec<(String, String)>,
}

impl Report {
    /// A report of the tests whose names contain one of `filters`; of all, if there are none.
    pub fn of_tests_named(filters: impl Iterator<Item = String>) -> Self {
        Self { filters: filters.collect(), passed: 0, failures: Vec::new() }
    }

    /// Whether the test called `name` is to be run.
    pub fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter))
    }

    /// Tells that the tests begin; the time of the first one runs from here.
    pub fn begin(&self) {
        println!("\nrunning tests");
    }

    /// The test `name` ended as it promises.
    pub fn passed(&mut self, name: &str) {
        self.passed += 1;
        println!("test {name} ... ok");
    }

    /// It did not; `why` says what was seen.
    pub fn failed(&mut self, name: &str, why: String) {
        println!("test {name} ... FAILED");
        self.failures.push((name.to_owned(), why));
    }

    /// Tells what failed, and the sum.
    pub fn finish(self) -> ExitCode {
        if !self.failures.is_empty() {
            println!("\nfailures:\n");
        }
        for (name, why) in &self.failures {
            println!("---- {name} stdout ----\n{why}\n");
        }
        let (verdict, code) =
            if self.failures.is_empty() { ("ok", ExitCode::SUCCESS) } else { ("FAILED", ExitCode::FAILURE) };
        // The heading again: after it, no line belongs to the last failure.
        println!("failures:\ntest result: {verdict}. {} passed; {} failed", self.passed, self.failures.len());
        code
    }
}
