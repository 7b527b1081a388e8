// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines with several CPUs: all of them come up, and each runs a guest's vCPU.

use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use ci::bundle::VirtualMachine;
use ci::lab::Console;

use crate::Lab;
use crate::guests;
use crate::lines::line_with;
use crate::lines::number_before;
use crate::report::Report;
use crate::test;

/// After the VM, on this machine's clock.
const TIME_TO_END: Duration = Duration::from_secs(30);

/// Runs the tests.
///
/// # Errors
/// On an interrupt.
pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    for cpus in [1, 2, 4, 8] {
        test(report, &format!("cpus::{cpus}_run"), || all_run(lab, cpus))?;
    }
    Ok(())
}

fn all_run(lab: &Lab, cpus: u32) -> Result<()> {
    let guest = guests::named(lab, &["all_cpus"])?.remove(0);
    let mut session = lab.boot_machines(vec![VirtualMachine { vcpus: cpus, ..guest }], cpus)?;
    let line = line_with(&mut session, " CPU(s)")?;
    ensure!(number_before(&line, " CPU(s)")? == u64::from(cpus), "of {cpus} CPUs the report says: {line}");
    let line = line_with(&mut session, "verdict: ")?;
    ensure!(line == "verdict: pass", "{line}");
    line_with(&mut session, "vm all-cpus: ended: powered off")?;
    session.wait_for_power_off(TIME_TO_END)
}
