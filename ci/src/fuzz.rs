// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo x fuzz`: targets that libFuzzer gives input which it makes up, led by what of the code that reaches.

use std::collections::VecDeque;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use crate::cargo;
use crate::cargo::Executable;
use crate::setup::packages;
use crate::workshop::Workshop;

/// The targets' folder, in that of the clone.
pub const FOLDER: &str = "tests/fuzz";

/// An input that takes longer is a finding, and so is one that takes more memory.
const SECONDS_PER_INPUT: u32 = 10;
const MOST_MEMORY_MIB: u32 = 1024;

/// How many of the last lines that a target printed explain a finding.
const SHOWN_LINES: usize = 30;

/// Which targets are run, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Run this target alone.
    pub target: Option<String>,
    /// Run each for so long.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: u32,
    /// Give the target this input and no other.
    #[arg(long, value_name = "FILE", requires = "target", conflicts_with = "seconds")]
    pub input: Option<PathBuf>,
}

/// Runs them, and says whether they found nothing.
///
/// # Errors
/// When the targets cannot be built or started, or there is none of that name.
pub fn fuzz(workshop: &Workshop, options: &Options) -> Result<bool> {
    packages::bring_compiler(workshop)?;
    let mut targets = cargo::build_fuzz_targets(workshop)?;
    if let Some(name) = &options.target {
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        ensure!(names.contains(&name.as_str()), "no fuzz target {name}; there are {}", names.join(", "));
        targets.retain(|target| target.name == *name);
    }
    match &options.input {
        Some(input) => targets.iter().try_fold(true, |_, target| reproduce(workshop, target, input)),
        None => run_all(workshop, targets, options.seconds),
    }
}

/// One run for each of this machine's CPUs at a time.
fn run_all(workshop: &Workshop, targets: Vec<Executable>, seconds: u32) -> Result<bool> {
    let queue = Mutex::new(VecDeque::from(targets));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = || -> Result<bool> {
        let mut clean = true;
        while let Some(target) = next() {
            clean &= run(workshop, &target, seconds)?;
        }
        Ok(clean)
    };
    thread::scope(|scope| {
        let workers: Vec<_> =
            (0..thread::available_parallelism()?.get()).map(|_| scope.spawn(work)).collect();
        let mut clean = true;
        for worker in workers {
            clean &= worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(clean)
    })
}

/// Runs one target, and says whether it found nothing. What it learns of the code is kept for the next run.
fn run(workshop: &Workshop, target: &Executable, seconds: u32) -> Result<bool> {
    let name = &target.name;
    let [corpus, findings] =
        ["corpus", "findings"].map(|kind| workshop.target().join("fuzz").join(kind).join(name));
    for folder in [&corpus, &findings] {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut command = Command::new(&target.file);
    command.arg(&corpus).arg(target.crate_folder.join("seeds").join(name));
    command.arg(format!("-artifact_prefix={}/", findings.display()));
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-timeout={SECONDS_PER_INPUT}"));
    command.arg(format!("-rss_limit_mb={MOST_MEMORY_MIB}"));
    let words = target.crate_folder.join("dictionaries").join(name);
    if words.exists() {
        command.arg(format!("-dict={}", words.display()));
    }
    let (output, input) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(input.try_clone()?).stderr(input);
    let running = workshop.interrupt.spawn(&mut command)?;
    // `command` holds the pipe's writing ends; while it does, the pipe never ends.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let lines = BufReader::new(output).split(b'\n');
    let lines: Vec<String> =
        lines.map(|line| Ok(String::from_utf8_lossy(&line?).into_owned())).collect::<Result<_>>()?;
    let status = running.wait()?;
    if status.success() {
        let summary = summary(&lines).with_context(|| {
            format!("the fuzz target {name} is not instrumented, or refuses all input:\n{}", tail(&lines))
        })?;
        println!("fuzz {name} ... ok ({seconds} s, {summary})");
        return Ok(true);
    }
    let Some(finding) = lines.iter().find_map(|line| finding(line)) else {
        bail!("the fuzz target {name} ended with {status}:\n{}", tail(&lines));
    };
    println!("fuzz {name} ... FAILED\n{}", tail(&lines));
    println!("fuzz {name}: cargo x fuzz {name} --input {finding} does it again");
    Ok(false)
}

/// Gives `target` one input, and says whether it bore it. What it prints is shown.
fn reproduce(workshop: &Workshop, target: &Executable, input: &Path) -> Result<bool> {
    ensure!(input.is_file(), "{} is no file", input.display());
    let mut command = Command::new(&target.file);
    command.arg(input).env("RUST_BACKTRACE", "1").stdin(Stdio::null());
    Ok(workshop.interrupt.spawn(&mut command)?.wait()?.success())
}

/// How much was done, from lines like `#128 NEW cov: 81 ft: 82 …` and `Done 335765 runs in 21 second(s)`. Without
/// instrumentation there are none of the first kind.
fn summary(lines: &[String]) -> Option<String> {
    let last = |before: &str| {
        let found = lines.iter().rev().find_map(|line| line.split_once(before));
        found?.1.split_whitespace().next()
    };
    Some(format!("{} inputs, {} places in the code", last("Done ")?, last(" cov: ")?))
}

/// The file that a line like `artifact_prefix='…'; Test unit written to FILE` names.
fn finding(line: &str) -> Option<&str> {
    Some(line.split_once("Test unit written to ")?.1.trim())
}

/// The last lines.
fn tail(lines: &[String]) -> String {
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libfuzzers_words_are_understood() {
        let lines = [
            "#3\tINITED cov: 700 ft: 995 corp: 2",
            "#9\tNEW    cov: 702 ft: 1",
            "Done 12 runs in 2 second(s)",
        ];
        let lines = lines.map(str::to_owned);
        assert_eq!(summary(&lines).as_deref(), Some("12 inputs, 702 places in the code"));
        assert_eq!(summary(&lines[2..]), None);
        let line = "artifact_prefix='a/'; Test unit written to a/crash-1";
        assert_eq!(finding(line), Some("a/crash-1"));
    }
}
