// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that are run for their effect: what they print goes to a log, whose end is shown when they fail.

use std::fs;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::interrupt::Interrupt;
use crate::interrupt::Running;
use crate::progress::Step;

/// How many lines of a log say enough about a failure.
const TAIL_LINES: usize = 20;

/// Runs `command` to its end as (a part of) `step`, appending what it prints to `log`.
///
/// # Errors
/// When it cannot be started, fails, or was interrupted; a failure shows the log's end and where the log is.
pub fn run(interrupt: &Interrupt, step: &Step, command: &mut Command, log: &Path) -> Result<()> {
    logged(step, command, log, |command| interrupt.spawn(command))
}

/// As [`run`], for a program that may ask for a password on the terminal.
///
/// # Errors
/// As [`run`].
pub fn run_in_foreground(
    interrupt: &Interrupt,
    step: &Step,
    command: &mut Command,
    log: &Path,
) -> Result<()> {
    logged(step, command, log, |command| interrupt.spawn_in_foreground(command))
}

fn logged(
    step: &Step,
    command: &mut Command,
    log: &Path,
    spawn: impl FnOnce(&mut Command) -> Result<Running>,
) -> Result<()> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut file = File::options().create(true).append(true).open(log)?;
    writeln!(file, "$ {command:?}")?;
    let (output, input) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(input.try_clone()?).stderr(input);
    let running = spawn(command)?;
    // `command` holds the pipe's writing ends; while it does, the pipe never ends.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        file.write_all(&line)?;
        file.write_all(b"\n")?;
        step.note(&String::from_utf8_lossy(&line));
    }
    let status = running.wait()?;
    if !status.success() {
        let program = command.get_program().to_string_lossy();
        bail!(
            "{program} failed ({status}); all of its log is in {}; its end:\n{}",
            log.display(),
            tail(log)?
        );
    }
    Ok(())
}

fn tail(log: &Path) -> Result<String> {
    let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"))
}

/// Runs `command` quietly and gives what it printed on standard output.
///
/// # Errors
/// When it cannot be started or fails; a failure shows what it printed on standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{program} failed ({}): {}", output.status, complaint.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{program} printed no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_the_end_of_the_log_and_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("logs/failing.log");
        let script = "for i in $(seq 100); do echo line $i; done; exit 3";
        let error = run(
            &Interrupt::default(),
            &Step::start("failing"),
            Command::new("sh").args(["-c", script]),
            &log,
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains("line 100") && !error.contains("line 80\n"), "{error}");
        assert!(error.contains(&log.display().to_string()) && error.contains("exit status: 3"), "{error}");
        assert!(fs::read_to_string(&log).unwrap().contains("line 1\n"));
    }
}
