// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life of virtual machines: they start again as the manifest says, cost nothing once they have ended, and keep to their shares.

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use ci::bundle::Manifest;
use ci::bundle::OnReboot;
use ci::bundle::Restart;
use ci::bundle::VirtualMachine;
use ci::image::Bundle;
use ci::lab::Console;
use ci::lab::Session;

use crate::Hardware;
use crate::Lab;
use crate::guests;
use crate::lines::lines_to_the_end;
use crate::report::Report;
use crate::test;

/// No line takes longer, on this machine's clock.
const LONGEST_SILENCE: Duration = Duration::from_secs(120);
/// After the last line.
const TIME_TO_END: Duration = Duration::from_secs(30);

/// How often a machine starts again that must leave nothing behind.
const RESTARTS: usize = 100;

/// Runs the tests.
///
/// # Errors
/// On an interrupt.
pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    test(report, "life::a_hundred_restarts_leave_nothing_behind", || leave_nothing_behind(lab))?;
    test(report, "life::a_vm_that_fails_starts_again_after_a_growing_pause", || starts_again(lab))?;
    test(report, "life::a_storm_leaves_others_their_share", || leaves_a_share(lab))?;
    test(report, "life::a_budget_is_kept_and_a_cpu_that_is_not_there_is_told", || keeps_its_budget(lab))
}

/// The VM of the program of that name, told `words`.
fn machine(lab: &Lab, program: &str, words: &str) -> Result<VirtualMachine> {
    let machine = guests::named(lab, &[program])?.remove(0);
    Ok(VirtualMachine { command_line: Some(words.into()), ..machine })
}

fn lines_of(mut session: Session) -> Result<Vec<String>> {
    let lines = lines_to_the_end(&mut session, LONGEST_SILENCE)?;
    session.wait_for_power_off(TIME_TO_END)?;
    let panic = lines.iter().find(|line| line.contains("PANIC in Satori"));
    ensure!(panic.is_none(), "{panic:?}");
    Ok(lines)
}

/// What follows `text` in each line that has it.
fn after<'a>(lines: &'a [String], text: &str) -> Vec<&'a str> {
    lines.iter().filter_map(|line| line.split_once(text)).map(|(_, rest)| rest).collect()
}

fn has(lines: &[String], text: &str) -> Result<()> {
    let last = || lines[lines.len().saturating_sub(20)..].join("\n");
    ensure!(lines.iter().any(|line| line.contains(text)), "no line has {text:?}; the last ones:\n{}", last());
    Ok(())
}

fn leave_nothing_behind(lab: &Lab) -> Result<()> {
    let guest = machine(lab, "restarts", &format!("restarts={RESTARTS}"))?;
    let guest = VirtualMachine { on_reboot: OnReboot::Restart, vcpus: 2, ..guest };
    let lines = lines_of(lab.boot_machines(vec![guest], 1)?)?;
    has(&lines, "verdict: pass")?;
    has(&lines, "vm restarts: ended: powered off")?;
    let left = after(&lines, "vm restarts: gave back its memory: ");
    ensure!(left.len() == RESTARTS + 1, "it ended {} times", left.len());
    let first = left.first().context("it never ended")?;
    let other = left.iter().enumerate().find(|(_, other)| *other != first);
    ensure!(other.is_none(), "after its first end: {first}; after another one: {other:?}");
    Ok(())
}

fn starts_again(lab: &Lab) -> Result<()> {
    let guest = machine(lab, "restarts", "restarts=2 fail=1")?;
    let guest = VirtualMachine { restart: Restart::OnFailure, ..guest };
    let lines = lines_of(lab.boot_machines(vec![guest], 1)?)?;
    let pauses = after(&lines, "vm restarts: starts again in ");
    ensure!(pauses == ["1000 ms", "2000 ms"], "the pauses: {pauses:?}");
    has(&lines, "verdict: pass")?;
    has(&lines, "vm restarts: ended: powered off")
}

fn leaves_a_share(lab: &Lab) -> Result<()> {
    let machines = vec![machine(lab, "storm", "")?, machine(lab, "steady", "most=250")?];
    let lines = lines_of(lab.boot(Bundle::Of(Manifest::together(machines)), Hardware::default())?)?;
    has(&lines, "steady| verdict: pass")?;
    has(&lines, "vm storm: ended: time limit of")?;
    let at = |text: &str| lines.iter().position(|line| line.contains(text));
    ensure!(at("vm steady: ended") < at("vm storm: ended"), "the storms were over first");
    Ok(())
}

fn keeps_its_budget(lab: &Lab) -> Result<()> {
    let limited = machine(lab, "steady", "least=380 most=420")?;
    let limited = VirtualMachine { cpu_percent: Some(25), cpus: vec![1], ..limited };
    let elsewhere = VirtualMachine { name: "elsewhere".into(), cpus: vec![9], ..limited.clone() };
    let lines = lines_of(lab.boot_machines(vec![elsewhere, limited], 2)?)?;
    has(&lines, "vm elsewhere: not started: there is no CPU 9, which `cpus` names: 2 run")?;
    has(&lines, "verdict: pass")?;
    has(&lines, "vm steady: ended: powered off")
}
