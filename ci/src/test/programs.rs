// SPDX-License-Identifier: MIT OR Apache-2.0
//! Test programs: several at a time, each running one test at a time, so that each test's duration is its own.

use std::collections::VecDeque;
use std::io::BufRead;
use std::io::BufReader;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;

use crate::cargo;
use crate::cargo::Executable;
use crate::interrupt::Interrupt;
use crate::steps;
use crate::test::libtest::Event;
use crate::test::libtest::Outcome;
use crate::test::libtest::Reader;
use crate::test::report::Report;
use crate::workshop::Workshop;

/// A program that runs tests.
#[derive(Debug)]
pub struct Program {
    /// What its tests' names start with.
    label: String,
    command: Command,
    /// What the names contain of those of its tests that are run.
    part: Option<&'static str>,
}

/// What the thread that watches a program tells.
enum News {
    Ended { name: String, outcome: Outcome, took: Duration },
    Explained { name: String, output: String },
    Figure(String),
    Broken(anyhow::Error),
}

impl Program {
    /// A test program of the leg `host` that cargo built.
    pub fn host(test: Executable) -> Self {
        let crate_name = test.crate_folder.file_name().unwrap_or_default().to_string_lossy();
        let label = format!("host {crate_name}");
        Self::of(label, test)
    }

    /// The system tests of this leg.
    pub fn system(leg: &str, test: Executable) -> Self {
        let mut program = Self::of(leg.to_owned(), test);
        program.command.arg(format!("--leg={leg}"));
        program
    }

    fn of(label: String, test: Executable) -> Self {
        let mut command = Command::new(test.file);
        command.current_dir(test.crate_folder).arg("--test-threads=1");
        // The system tests run cargo themselves, and by then there is nothing left to build.
        command.env("CARGO_TERM_QUIET", "true");
        Self { label, command, part: None }
    }

    /// The tests of this program that explore every order in which processors may see each other's accesses. Its other
    /// tests do not work on the explorer's atomics.
    pub fn loom(test: Executable) -> Self {
        Self { label: "host loom".into(), part: Some("loom::"), ..Self::host(test) }
    }

    /// The tests of this program that forget one thing at a time, and see that it is caught.
    pub fn mutations(test: Executable) -> Self {
        Self { part: Some("mutations::"), ..Self::of("host mutations".into(), test) }
    }

    /// The examples in the documentation of what `packages`, arguments of cargo, select.
    pub fn documentation(workshop: &Workshop, packages: &[&str]) -> Self {
        let mut command = cargo::command();
        command.current_dir(workshop.root()).args(["test", "--doc"]).args(packages);
        // Quiet for cargo is terse for its tests, unless they are told otherwise.
        command.args(["--quiet", "--", "--format=pretty", "--test-threads=1"]);
        Self { label: "host documentation".into(), command, part: None }
    }

    /// Makes it run those of its tests that `filter` selects; `false` where there are none.
    fn select(&mut self, filter: &str) -> Result<bool> {
        let Some(part) = self.part else {
            self.command.arg(filter);
            return Ok(true);
        };
        let mut list = Command::new(self.command.get_program());
        let list = steps::output(list.args(["--list", "--format=terse"]))?;
        let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
        let chosen: Vec<&str> = names.filter(|name| name.contains(part) && name.contains(filter)).collect();
        // Several filters would select what any of them fits.
        self.command.arg("--exact").args(&chosen);
        Ok(!chosen.is_empty())
    }
}

/// Runs `programs`, adding their tests to `report` as they end.
///
/// # Errors
/// When a program cannot be started, or all were interrupted.
pub fn run(
    workshop: &Workshop,
    programs: Vec<Program>,
    filter: Option<&str>,
    report: &mut Report,
) -> Result<()> {
    let queue = Mutex::new(VecDeque::from(programs));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let workers = thread::available_parallelism()?.get();
    let (sender, news) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..workers {
            let sender = sender.clone();
            scope.spawn(move || {
                while let Some(program) = next() {
                    let Some(filter) = own_filter(&program.label, filter.unwrap_or_default()) else {
                        continue;
                    };
                    if let Err(error) = watch(&workshop.interrupt, program, filter, &sender) {
                        // Nobody listens any more when another program was broken, too.
                        let _ = sender.send(News::Broken(error));
                        return;
                    }
                }
            });
        }
        drop(sender);
        for news in news {
            match news {
                News::Ended { name, outcome, took } => report.ended(&name, outcome, took),
                News::Explained { name, output } => report.explain(&name, output),
                News::Figure(figure) => println!("{figure}"),
                News::Broken(error) => return Err(error),
            }
        }
        Ok(())
    })
}

/// What selects tests of the program `label` if `filter` is a part of names as they are printed, label included; an
/// empty text selects all, and `None` says that no test of this program can be meant.
fn own_filter<'a>(label: &str, filter: &'a str) -> Option<&'a str> {
    if label.contains(filter) {
        return Some("");
    }
    let of_this_program = filter.strip_prefix(label).and_then(|filter| filter.strip_prefix(' '));
    // A space follows a label. Names of documentation have some, too, but rustdoc takes each word for a filter of its own.
    of_this_program.map_or((!filter.contains(' ')).then_some(filter), |name| name.split(' ').next())
}

/// Whether a program with tests that failed, or none, ended before its last test did. A test program's status is 101
/// when tests failed, and that of the system tests is 1.
fn broke_off(status: ExitStatus, failed: bool) -> bool {
    let ended_itself = status.success() || failed && matches!(status.code(), Some(1 | 101));
    !ended_itself
}

/// Runs one program, with those of its tests that `filter` selects, to its end.
fn watch(interrupt: &Interrupt, mut program: Program, filter: &str, sender: &Sender<News>) -> Result<()> {
    if !program.select(filter)? {
        return Ok(());
    }
    let Program { label, mut command, .. } = program;
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = interrupt.spawn(&mut command)?;
    let output = running.child().stdout.take().context("a test program has no standard output")?;
    let mut reader = Reader::default();
    let mut failed = false;
    let mut last = Instant::now();
    for line in BufReader::new(output).split(b'\n') {
        match reader.line(&String::from_utf8_lossy(&line?)) {
            Some(Event::Begin) => last = Instant::now(),
            Some(Event::Ended(name, outcome)) => {
                failed |= outcome == Outcome::Failed;
                let name = format!("{label} {name}");
                sender.send(News::Ended { name, outcome, took: last.elapsed() })?;
                last = Instant::now();
            }
            Some(Event::Figure(figure)) => sender.send(News::Figure(figure))?,
            None => {}
        }
    }
    for (name, output) in reader.into_failures() {
        sender.send(News::Explained { name: format!("{label} {name}"), output })?;
    }
    let status = running.wait()?;
    if broke_off(status, failed) {
        // The test that it was in never ended.
        let name = format!("{label} (the test program)");
        sender.send(News::Ended { name: name.clone(), outcome: Outcome::Failed, took: last.elapsed() })?;
        sender.send(News::Explained {
            name,
            output: format!("ended with {status}; see above for what it said"),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_filter_is_a_part_of_the_name_that_is_printed() {
        assert_eq!(own_filter("host evmcs", "evmcs"), Some(""));
        assert_eq!(own_filter("host evmcs", "host evmcs"), Some(""));
        assert_eq!(own_filter("host evmcs", "host evmcs field::tests::a"), Some("field::tests::a"));
        assert_eq!(own_filter("host evmcs", "field"), Some("field"));
        assert_eq!(own_filter("host ci", "host evmcs field"), None);
        assert_eq!(own_filter("host documentation", "host documentation a.rs - (line 7)"), Some("a.rs"));
    }

    #[test]
    fn an_abort_after_a_failed_test_is_noticed() {
        let exited = |code: i32| ExitStatus::from_raw(code << 8);
        assert!(!broke_off(exited(0), false));
        assert!(!broke_off(exited(101), true) && !broke_off(exited(1), true));
        assert!(broke_off(exited(101), false) && broke_off(exited(1), false));
        assert!(broke_off(exited(2), true));
        assert!(broke_off(ExitStatus::from_raw(6), true));
    }
}
