// SPDX-License-Identifier: MIT OR Apache-2.0
//! Satori's own console, as a script uses it: two machines are listed, talked to, paused, stopped and started, and counted.

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use ci::bundle::Manifest;
use ci::bundle::VirtualMachine;
use ci::image::Bundle;
use ci::lab::Console;
use ci::lab::Session;

use crate::Hardware;
use crate::Lab;
use crate::guests;
use crate::lines::line_with;
use crate::lines::number_after;
use crate::report::Report;
use crate::test;

/// For whatever was typed to have its effect, on this machine's clock.
const TIME_TO_ANSWER: Duration = Duration::from_secs(60);

/// Ctrl-A d.
const DETACH: &str = "\x01d";

/// Runs the tests.
///
/// # Errors
/// On an interrupt.
pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    for cpus in [1, 2] {
        let name = format!("console::a_script_manages_two_machines_on_{cpus}_cpus");
        test(report, &name, || a_script_manages_two_machines(lab, cpus))?;
    }
    Ok(())
}

fn a_script_manages_two_machines(lab: &Lab, cpus: u32) -> Result<()> {
    let programs = guests::named(lab, &["echo", "power_button"])?;
    let machine = |program: usize, name: &str, stop_timeout_s| VirtualMachine {
        name: name.into(),
        time_limit_s: None,
        stop_timeout_s: Some(stop_timeout_s),
        ..programs[program].clone()
    };
    let heeds = VirtualMachine { autostart: false, ..machine(1, "heeds", 1_000_000) };
    let bundle = Bundle::Of(Manifest::together(vec![machine(0, "a", 1), machine(0, "b", 1), heeds]));
    let mut shell = Shell(lab.boot(bundle, Hardware { cpus, ..Hardware::default() })?);
    shell.expect("a| echo: ready")?;
    shell.is_told("vm list", &["a                running ", "b                running "])?;
    shell.is_told("help", &["attach NAME"])?;
    talks_to_one(&mut shell)?;
    pauses_one(&mut shell)?;
    counts(&mut shell)?;
    stops_and_starts(&mut shell)?;
    kills_and_resets(&mut shell)?;
    presses_the_power_button(&mut shell)?;
    for (line, reason) in [
        ("frob", "there is no command \"frob\""),
        ("vm start a", "it runs already"),
        ("vm resume b", "it is not paused"),
        ("attach c", "there is no VM \"c\""),
        ("vm kill c", "there is no VM \"c\""),
    ] {
        shell.is_refused(line, reason)?;
    }
    shell.is_told("memory", &["memory free_kib ", "vm b running vcpus 1 memory_mib "])?;
    shell.is_told("enlightenments", &["guest-mapping flush "])?;
    shell.is_told("log", &["vm a: started"])?;
    ends_what_it_is_attached_to(&mut shell)?;
    shell.is_told("power-off", &[])?;
    shell.expect("] INFO  powering off")?;
    shell.0.wait_for_power_off(TIME_TO_ANSWER)
}

fn talks_to_one(shell: &mut Shell) -> Result<()> {
    shell.is_told("attach a", &["attached to a"])?;
    shell.0.send("hello\r")?;
    let line = line_with(&mut shell.0, "echo: heard hello")?;
    ensure!(line == "echo: heard hello", "an attached machine's bytes come as they are, but: {line:?}");
    shell.detach()
}

fn pauses_one(shell: &mut Shell) -> Result<()> {
    shell.is_told("vm pause b", &[])?;
    shell.is_told("vm list", &["b                paused "])?;
    shell.is_told("attach b", &["attached to b"])?;
    shell.0.send("are you there\r")?;
    shell.detach()?;
    let exits = |shell: &mut Shell| number_after(&shell.is_told("stats b", &[])?, "vcpu b 0 exits ");
    let (before, after) = (exits(shell)?, exits(shell)?);
    ensure!(before == after, "it stands still, but {before} exits became {after}");
    let answer = shell.is_told("vm resume b", &[])?;
    ensure!(!answer.contains("heard"), "a paused machine says nothing, but: {answer}");
    shell.expect("b| echo: heard are you there")
}

fn counts(shell: &mut Shell) -> Result<()> {
    let ports = |dump: &str| {
        let line = dump.lines().find(|line| line.starts_with("exit a 0 IO_INSTRUCTION "));
        number_after(line.with_context(|| format!("no such exits in {dump}"))?, " count ")
    };
    let whole = ["stats ", "memory free_kib ", "flushes invept_single ", "vm a running ", "vcpu b 0 exits "];
    let before = ports(&shell.is_told("stats", &whole)?)?;
    let after = ports(&shell.is_told("stats a", &["vcpu a 0 exits "])?)?;
    ensure!(after > before, "it polls its port all the time, but {before} exits became {after}");
    Ok(())
}

fn stops_and_starts(shell: &mut Shell) -> Result<()> {
    shell.is_told("vm stop a", &[])?;
    shell.expect("vm a: ended: ")?;
    shell.is_told("vm list", &["a                stopped ", "b                running "])?;
    shell.is_refused("attach a", "a does not run")?;
    shell.is_told("vm start a", &[])?;
    shell.expect("a| echo: ready")
}

/// Both while it is paused: its vCPU is to leave nonetheless.
fn kills_and_resets(shell: &mut Shell) -> Result<()> {
    shell.is_told("vm reset b", &[])?;
    shell.expect("b| echo: ready")?;
    shell.is_told("vm pause b", &[])?;
    shell.is_told("vm reset b", &[])?;
    shell.expect("b| echo: ready")?;
    shell.is_told("vm pause b", &[])?;
    shell.is_told("vm kill b", &[])?;
    shell.expect("vm b: ended: ")?;
    shell.expect("vm b: gave back its memory: ")?;
    shell.is_told("vm list", &["b                stopped "])?;
    shell.is_refused("vm kill b", "it does not run")?;
    shell.is_told("vm start b", &[])?;
    shell.expect("b| echo: ready")
}

/// Its guest ends it: it is not killed.
fn presses_the_power_button(shell: &mut Shell) -> Result<()> {
    shell.is_refused("vm stop heeds", "it does not run")?;
    shell.is_told("vm start heeds", &[])?;
    shell.expect("heeds| power_button: ready")?;
    shell.is_told("vm stop heeds", &[])?;
    shell.expect("heeds| verdict: pass")?;
    shell.expect("vm heeds: ended: powered off")
}

/// Then the prompt is there without Ctrl-A d.
fn ends_what_it_is_attached_to(shell: &mut Shell) -> Result<()> {
    shell.is_told("attach a", &["attached to a"])?;
    shell.0.send("quit\r")?;
    shell.expect("vm a: ended: powered off")?;
    shell.is_told("vm list", &["a                stopped "]).map(drop)
}

/// Satori's prompt, or the machine behind it.
struct Shell(Session);

impl Shell {
    fn expect(&mut self, text: &str) -> Result<()> {
        self.0.expect(text, TIME_TO_ANSWER).map(drop)
    }

    fn detach(&mut self) -> Result<()> {
        self.0.send(DETACH)?;
        self.expect("satori> ")
    }

    /// Types a line, and gives the answer's lines and how they end.
    fn answer(&mut self, line: &str) -> Result<(String, Result<(), String>)> {
        self.0.send(&format!("{line}\r"))?;
        self.expect(&format!("{line}\r\n"))?;
        let mut answer = String::new();
        while let Some(line) = self.0.line(TIME_TO_ANSWER)? {
            match line.strip_prefix("error: ") {
                Some(reason) => return Ok((answer, Err(reason.into()))),
                None if line == "ok" => return Ok((answer, Ok(()))),
                None => answer += &(line + "\n"),
            }
        }
        bail!("the machine ended before it answered {line:?}")
    }

    /// Types a line whose answer ends well and has each of `parts`.
    fn is_told(&mut self, line: &str, parts: &[&str]) -> Result<String> {
        let (answer, end) = self.answer(line)?;
        ensure!(end.is_ok(), "{line:?} is answered {answer}{end:?}");
        for part in parts {
            ensure!(answer.contains(part), "no {part:?} in the answer to {line:?}: {answer}");
        }
        Ok(answer)
    }

    fn is_refused(&mut self, line: &str, reason: &str) -> Result<()> {
        let (answer, end) = self.answer(line)?;
        let refused = end.as_ref().is_err_and(|told| told.starts_with(reason));
        ensure!(refused, "{line:?} is answered {answer}{end:?}");
        Ok(())
    }
}
