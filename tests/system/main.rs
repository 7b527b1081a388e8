// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system tests: Satori in the emulator, with guest programs and with Linux.
//!
//! They print what Rust's own harness prints with one thread, so that `cargo x test` reads both alike. Arguments select
//! tests by parts of their names; options are those of the other harness and mean nothing here.

mod bad_input;
mod guests;
mod linux;
mod report;

use std::process::ExitCode;

use anyhow::Result;
use ci::interrupt::Interrupted;
use ci::workshop::Workshop;

use report::Report;

fn main() -> ExitCode {
    let mut report =
        Report::of_tests_named(std::env::args().skip(1).filter(|argument| !argument.starts_with('-')));
    match run(&mut report) {
        Ok(()) => report.finish(),
        Err(error) => {
            eprintln!("the system tests broke off: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(report: &mut Report) -> Result<()> {
    let workshop = Workshop::open()?;
    report.begin();
    guests::run(&workshop, report)?;
    linux::run(&workshop, report)?;
    bad_input::run(&workshop, report)
}

/// Runs the test `name`, if it was asked for. Only an interrupt ends more than this test.
fn test(report: &mut Report, name: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    if !report.wants(name) {
        return Ok(());
    }
    match run() {
        Ok(()) => report.passed(name),
        Err(error) if error.is::<Interrupted>() => return Err(error),
        Err(error) => report.failed(name, format!("{error:#}")),
    }
    Ok(())
}
