// SPDX-License-Identifier: MIT OR Apache-2.0
//! Three virtual machines at once, with all of Hyper-V's interface in use.

use anyhow::Result;
use ci::lab::KvmHost;
use ci::lab::Launch;

use crate::kvm::Payload;
use crate::report::Report;
use crate::test;
use crate::three_machines;
use crate::three_machines::NAME;

/// Adds what the test runs, if `report` wants it.
///
/// # Errors
/// When a part of it cannot be had.
pub fn prepare(payload: &mut Payload<'_>, report: &Report) -> Result<Option<Launch>> {
    if !report.wants(NAME) {
        return Ok(None);
    }
    let files = tempfile::tempdir()?;
    let manifest = three_machines::manifest(payload.lab, files.path())?;
    payload.add_manifest("three-machines.tar", manifest).map(Some)
}

/// Runs it.
///
/// # Errors
/// When the KVM host has ended, or on an interrupt.
pub fn run(launch: &Launch, host: &mut KvmHost, report: &mut Report) -> Result<()> {
    test(report, NAME, || three_machines::judge(&mut host.run(launch)?))
}
