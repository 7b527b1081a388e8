// SPDX-License-Identifier: MIT OR Apache-2.0
//! A panic of Satori's is told to L0, which ends the machine for it.

use std::time::Duration;

use agent::protocol::End;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use ci::lab::KvmHost;
use ci::lab::Launch;

use crate::guests;
use crate::kvm::Payload;
use crate::lines::lines_to_the_end;
use crate::report::Report;
use crate::test;

/// Until the next line, on this machine's clock.
const TIME_TO_TELL: Duration = Duration::from_secs(120);

const TEST: &str = "crash::a_panic_is_told_to_l0";

/// Adds what the test runs, if `report` wants it.
///
/// # Errors
/// When it cannot be built.
pub fn prepare(payload: &mut Payload<'_>, report: &Report) -> Result<Option<Launch>> {
    if !report.wants(TEST) {
        return Ok(None);
    }
    let launch = payload.add("crash.tar", guests::named(payload.lab, &["reset"])?)?;
    Ok(Some(Launch { command_line: "when-done=panic".into(), ..launch }))
}

/// Runs the test.
///
/// # Errors
/// When the KVM host has ended, or on an interrupt.
pub fn run(launch: &Launch, host: &mut KvmHost, report: &mut Report) -> Result<()> {
    test(report, TEST, || {
        let mut run = host.run(launch)?;
        let lines = lines_to_the_end(&mut run, TIME_TO_TELL)?;
        ensure!(lines.iter().any(|line| line.contains("PANIC in Satori")), "Satori did not panic");
        let cause = &run.end().context("the machine did not end")?.cause;
        ensure!(cause == End::GUEST_PANIC, "the machine ended by {cause}");
        Ok(())
    })
}
