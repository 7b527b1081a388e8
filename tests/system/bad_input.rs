// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is missing or broken gets one line that says so; Satori neither panics nor runs on as if nothing were.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use ci::bundle::Manifest;
use ci::bundle::VirtualMachine;
use ci::image::Bundle;
use ci::lab::Console;
use ci::lab::Processor;
use ci::lab::Session;

use crate::Hardware;
use crate::Lab;
use crate::guests;
use crate::report::Report;
use crate::test;

/// Until the line, on this machine's clock.
const TIME_TO_TELL: Duration = Duration::from_secs(60);
/// For what comes after it.
const TIME_TO_END: Duration = Duration::from_secs(20);

/// Satori's last line.
const POWERING_OFF: &str = "] INFO  powering off";

/// Runs the tests with bad input.
///
/// # Errors
/// On an interrupt.
pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let without = |processor| lab.boot(Bundle::Missing, Hardware { processor, ..Hardware::default() });
    test(report, "bad_input::a_cpu_without_vmx_gets_one_line", || {
        halts_after(without(Processor::WithoutVmx)?, "no VMX")
    })?;
    test(report, "bad_input::a_cpu_without_ept_gets_one_line", || {
        halts_after(without(Processor::WithoutEpt)?, "EPT")
    })?;
    let with = |bundle| lab.boot(bundle, Hardware::default());
    test(report, "bad_input::no_bundle_gets_one_line", || ends_after(with(Bundle::Missing)?, "no bundle"))?;
    test(report, "bad_input::a_bundle_that_is_no_archive_gets_one_line", || {
        let mut noise: u32 = 1;
        let bytes = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            noise.to_le_bytes()[3]
        });
        ends_after(with(Bundle::Raw(bytes.take(100_000).collect()))?, "bundle: ")
    })?;
    test(report, "bad_input::a_kernel_that_is_none_does_not_start", || {
        let folder = tempfile::tempdir()?;
        let kernel = folder.path().join("kernel");
        fs::write(&kernel, "This is no kernel.")?;
        let mut machines = vec![VirtualMachine::new("linux", 64, kernel)];
        machines.extend(guests::named(lab, &["reset"])?);
        runs_the_other(
            with(Bundle::Of(Manifest::in_turn(machines)))?,
            "vm linux: not started: linux.kernel: ",
        )
    })?;
    test(report, "bad_input::a_vm_larger_than_the_machine_does_not_start", || {
        let mut machines = guests::named(lab, &["cpuid", "reset"])?;
        machines[0].memory_mib = 1 << 20;
        let with = with(Bundle::Of(Manifest::in_turn(machines)))?;
        runs_the_other(with, "vm cpuid: not started: 1048576 MiB are asked for")
    })
}

/// Satori says `line` as its only error, of the first VM, and runs the second to its end.
fn runs_the_other(mut session: Session, line: &str) -> Result<()> {
    tells(&mut session, line)?;
    tells_no_error_before(&mut session, "vm reset: ended: reset")?;
    tells_no_error_before(&mut session, POWERING_OFF)?;
    session.wait_for_power_off(TIME_TO_END)
}

/// Satori says `line` as its only error, and ends as it does after its last VM.
fn ends_after(mut session: Session, line: &str) -> Result<()> {
    tells(&mut session, line)?;
    tells_no_error_before(&mut session, POWERING_OFF)?;
    session.wait_for_power_off(TIME_TO_END)
}

/// Satori says `line` as its only error, and that it has halted.
fn halts_after(mut session: Session, line: &str) -> Result<()> {
    tells(&mut session, line)?;
    tells_no_error_before(&mut session, "] ERROR halted")
}

/// The lines up to the one with `text` have neither an error nor a panic.
fn tells_no_error_before(session: &mut Session, text: &str) -> Result<()> {
    while let Some(line) = session.line(TIME_TO_END)? {
        if line.contains(text) {
            return Ok(());
        }
        ensure!(!line.contains("] ERROR ") && !line.contains("PANIC"), "and then: {line}");
    }
    bail!("the machine ended without {text:?}")
}

fn tells(session: &mut Session, expected: &str) -> Result<()> {
    while let Some(line) = session.line(TIME_TO_TELL)? {
        ensure!(!line.contains("PANIC"), "{line}");
        if line.contains("] ERROR ") {
            ensure!(line.contains(expected), "expected {expected:?} first, but: {line}");
            return Ok(());
        }
    }
    bail!("the machine ended without {expected:?}")
}
