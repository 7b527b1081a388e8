// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a test program prints, line by line: Rust's own harness, one test at a time, and whoever prints like it.

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it promises.
    Passed,
    /// Otherwise.
    Failed,
    /// It was not run, for this reason.
    Skipped(String),
}

/// What one line means.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Tests start now.
    Begin,
    /// A test ended.
    Ended(String, Outcome),
    /// A figure that a test measured.
    Figure(String),
}

/// Reads the lines of one test program.
#[derive(Debug, Default)]
pub struct Reader {
    /// A test whose output got between its name and its result.
    open: Option<String>,
    /// The test whose output is being read, and what was read of it.
    failure: Option<(String, Vec<String>)>,
    failures: Vec<(String, String)>,
}

impl Reader {
    /// Takes the next line.
    pub fn line(&mut self, line: &str) -> Option<Event> {
        if let Some(name) = failure_title(line) {
            self.close_failure();
            self.failure = Some((name.to_owned(), Vec::new()));
            return None;
        }
        if self.failure.is_some() {
            self.failure_line(line);
            return None;
        }
        if line.starts_with("running ") && line.contains(" test") {
            return Some(Event::Begin);
        }
        if line.starts_with("bench: ") {
            return Some(Event::Figure(line.to_owned()));
        }
        if let Some((name, rest)) = line.strip_prefix("test ").and_then(|line| line.split_once(" ... ")) {
            // The heading of a failed test's output is without this.
            let name = name.strip_suffix(" - should panic").unwrap_or(name);
            self.open = Some(name.to_owned());
            return self.result(rest);
        }
        self.result(line)
    }

    /// What failed tests printed, by name.
    pub fn into_failures(mut self) -> Vec<(String, String)> {
        self.close_failure();
        self.failures
    }

    fn result(&mut self, text: &str) -> Option<Event> {
        let outcome = match text.split_once(", ").unwrap_or((text, "")) {
            ("ok", _) => Outcome::Passed,
            ("FAILED", _) => Outcome::Failed,
            ("ignored", reason) => Outcome::Skipped(reason.to_owned()),
            _ => return None,
        };
        Some(Event::Ended(self.open.take()?, outcome))
    }

    fn failure_line(&mut self, line: &str) {
        // After the last output comes a list of the names.
        if line == "failures:" {
            self.close_failure();
        } else if let Some((_, output)) = &mut self.failure {
            output.push(line.to_owned());
        }
    }

    fn close_failure(&mut self) {
        if let Some((name, output)) = self.failure.take() {
            self.failures.push((name, output.join("\n").trim().to_owned()));
        }
    }
}

fn failure_title(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Event>, Vec<(String, String)>) {
        let mut reader = Reader::default();
        let events = text.lines().filter_map(|line| reader.line(line)).collect();
        (events, reader.into_failures())
    }

    fn ended(name: &str, outcome: Outcome) -> Event {
        Event::Ended(name.into(), outcome)
    }

    #[test]
    fn results_are_read_whatever_tests_print() {
        let (events, _) = read(
            "\nrunning 4 tests\ntest a::b ... ok\ntest c ... a child prints\nand more\nok\n\
             test f ... FAILED\ntest d - should panic ... ok\ntest e ... ignored, takes an hour\nbench: cpuid 250\n\n\
             test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured\n",
        );
        let expected = [
            Event::Begin,
            ended("a::b", Outcome::Passed),
            ended("c", Outcome::Passed),
            ended("f", Outcome::Failed),
            ended("d", Outcome::Passed),
            ended("e", Outcome::Skipped("takes an hour".into())),
            Event::Figure("bench: cpuid 250".into()),
        ];
        assert_eq!(events, expected);
    }

    #[test]
    fn failures_are_told_apart() {
        let (events, failures) = read(
            "failures:\n\n---- c stdout ----\nexpected 1\ntest x ... ok\n\n\
             ---- d stdout ----\nexpected 2\n\nfailures:\n    c\n    d\n\ntest result: FAILED. 0 passed; 2 failed\n",
        );
        assert_eq!(events, []);
        let expected = [("c", "expected 1\ntest x ... ok"), ("d", "expected 2")];
        assert_eq!(failures, expected.map(|(name, output)| (name.to_owned(), output.to_owned())));
    }
}
