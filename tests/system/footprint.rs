// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Satori takes for itself, as its boot report says.

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use ci::lab::Session;

use crate::Lab;
use crate::guests;
use crate::report::Report;
use crate::test;

/// Until a line of the report, on this machine's clock.
const TIME_TO_TELL: Duration = Duration::from_secs(60);
/// SPECIFICATION.md, promises 1 and 2.
const SATORI_KIB: u64 = 8 << 10;
const VM_KIB: u64 = 1 << 10;

/// Runs the test.
///
/// # Errors
/// On an interrupt.
pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    test(report, "footprint::satori_and_each_vm_stay_within_what_is_promised", || {
        let mut session = lab.boot_machines(guests::named(lab, &["cpuid", "reset"])?)?;
        let line = line_with(&mut session, " INFO  Satori takes ")?;
        let satori = number_before(&line, " KiB, image")?;
        ensure!(satori <= SATORI_KIB, "Satori takes {satori} KiB, more than {SATORI_KIB}");
        for vm in ["cpuid", "reset"] {
            let line = line_with(&mut session, &format!(" vm {vm}: started: "))?;
            let own = number_before(&line, " KiB of Satori's own")?;
            ensure!(own <= VM_KIB, "{vm} costs {own} KiB, more than {VM_KIB}");
        }
        Ok(())
    })
}

fn line_with(session: &mut Session, text: &str) -> Result<String> {
    while let Some(line) = session.line(TIME_TO_TELL)? {
        if line.contains(text) {
            return Ok(line);
        }
    }
    bail!("the machine ended without {text:?}")
}

fn number_before(line: &str, unit: &str) -> Result<u64> {
    let (before, _) = line.split_once(unit).with_context(|| format!("no {unit:?} in {line:?}"))?;
    let digits = before.rsplit(' ').next().unwrap_or_default();
    digits.parse().with_context(|| format!("no number before {unit:?} in {line:?}"))
}
