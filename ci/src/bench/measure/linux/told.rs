// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a run of Linux tells: its figures, when its machine was made, and what had been counted at each of its marks.

use std::time::Duration;

use agent::protocol::Counters;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::bench::figures::Figure;
use crate::bench::figures::Setting;
use crate::lab::Console;

/// The name of Satori's virtual machine.
pub(super) const NAME: &str = "linux";

/// From the loader to the guest's first instruction.
const TO_GUEST: &str = "to_guest";
/// From the kernel's first instruction to the first process.
const BOOT: &str = "linux_boot";
/// What that does then, in this order, each between two marks. The first two marks have nothing between them.
const WORK: [&str; 4] = ["linux_cpu", "linux_memory", "linux_syscall", "linux_fork"];

/// Until the next line, on this machine's clock.
const TIME_TO_TELL: Duration = Duration::from_secs(300);
/// Until power-off after the last one.
const TIME_TO_END: Duration = Duration::from_secs(60);

/// The emulator's TSC ticks so often in a microsecond.
const TICKS_OF_MICROSECOND: u64 = 100;

/// To Satori's prompt: Ctrl-A d.
const DETACH: &str = "\x01d";

/// What a run tells.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// When the guest's TSC was 0, in microseconds since Satori's start, where Satori runs it.
    machine_started_at: Option<u64>,
    /// The guest's TSC at its first instruction.
    pub(super) first_tsc: u64,
    /// Names and ticks.
    benches: Vec<(String, u64)>,
    /// How many marks it has come to.
    marks: usize,
    /// How many exits there had been at each, where that is counted.
    exits: Vec<u64>,
}

impl Told {
    /// Reads on until the machine has powered itself off. At a mark the guest waits for a line feed.
    pub(super) fn read(console: &mut impl Console, setting: Setting) -> Result<Self> {
        let mut told = Self::default();
        while let Some(line) = console.line(TIME_TO_TELL)? {
            ensure!(!is_failure(&line), "the guest says: {line}");
            // Where one is attached to a machine again, its last lines are shown again.
            if line == format!("mark {}", told.marks) {
                told.marks += 1;
                told.answer_mark(console, setting)?;
            }
            told.take(&line).with_context(|| format!("in the line {line:?}"))?;
        }
        console.wait_for_power_off(TIME_TO_END)?;
        Ok(told)
    }

    /// Counts where it is us who count, and types the line feed unless a KVM host's agent does.
    fn answer_mark(&mut self, console: &mut impl Console, setting: Setting) -> Result<()> {
        match setting {
            Setting::Metal => console.send("\n"),
            Setting::Satori => {
                self.exits.push(exits_in_satori(console)?);
                console.send("\n")
            }
            _ => Ok(()),
        }
    }

    fn take(&mut self, line: &str) -> Result<()> {
        if let Some(bench) = line.strip_prefix("bench: ") {
            let (name, ticks) = bench.split_once(' ').context("no figure")?;
            self.benches.push((name.to_owned(), ticks.parse()?));
        } else if let Some(tsc) = line.strip_prefix("start: ") {
            self.first_tsc = tsc.parse()?;
        } else if line.contains(&format!("vm {NAME}: started: ")) {
            self.machine_started_at = Some(machine_started_at(line).context("no times")?);
        } else if let Some(counters) = line.strip_prefix("counters at mark ") {
            let (_, counters) = counters.split_once(": ").context("no counters")?;
            let counters = Counters::parse(counters);
            // Where KVM's debugfs cannot be read nothing is counted. Those of the host's own interrupts would have come without a guest, too.
            let exits = counters.get("exits").checked_sub(counters.get("irq_exits"));
            self.exits.extend(exits.filter(|exits| *exits > 0));
        }
        Ok(())
    }

    /// From Satori's start to the guest's first instruction, where Satori runs it: up to a few hundred ticks, since its clock is told
    /// in microseconds.
    pub(super) fn since_satoris_start(&self) -> Option<u64> {
        Some(self.machine_started_at? * TICKS_OF_MICROSECOND + self.first_tsc)
    }

    /// Its figures, if they are complete.
    pub(super) fn figures(self, setting: Setting, to_guest: Option<u64>) -> Result<Vec<Figure>> {
        let names: Vec<&str> = self.benches.iter().map(|(name, _)| name.as_str()).collect();
        let expected: Vec<&str> = [BOOT].into_iter().chain(WORK).collect();
        ensure!(names == expected, "instead of {expected:?}, Linux told {names:?}");
        let figure = |operation: &str, instructions| Figure {
            operation: operation.to_owned(),
            setting,
            cpus: 1,
            instructions,
            exits: None,
            transitions: None,
        };
        let mut figures: Vec<Figure> =
            to_guest.into_iter().map(|instructions| figure(TO_GUEST, instructions)).collect();
        for (operation, instructions) in &self.benches {
            let exits = self.exits_of(operation)?;
            let to_l0 = setting == Setting::SatoriOnKvm;
            let (exits, transitions) = if to_l0 { (None, exits) } else { (exits, None) };
            figures.push(Figure { exits, transitions, ..figure(operation, *instructions) });
        }
        Ok(figures)
    }

    /// Exits of a kind of work, if anybody has counted: those between its two marks, but for as many as marks make by themselves.
    fn exits_of(&self, operation: &str) -> Result<Option<f64>> {
        let Some(work) = WORK.iter().position(|name| *name == operation) else { return Ok(None) };
        if self.exits.is_empty() {
            return Ok(None);
        }
        let (pairs, _) = self.exits.as_chunks();
        let between: Vec<u64> = pairs.iter().map(|[before, behind]| behind.saturating_sub(*before)).collect();
        let [nothing, of_work @ ..] = between.as_slice() else { return Ok(None) };
        ensure!(of_work.len() == WORK.len(), "exits were counted at {} marks", self.exits.len());
        Ok(Some(of_work[work].saturating_sub(*nothing) as f64))
    }
}

/// What Satori's console says that it has counted for Linux so far.
fn exits_in_satori(console: &mut impl Console) -> Result<u64> {
    let counted = format!("vcpu {NAME} 0 exits ");
    console.send(&format!("{DETACH}stats {NAME}\n"))?;
    let mut exits = None;
    loop {
        let line = console.line(TIME_TO_TELL)?.context("the machine has ended at a mark")?;
        if let Some((_, count)) = line.split_once(&counted) {
            exits = Some(count.trim().parse().with_context(|| format!("in the line {line:?}"))?);
        }
        ensure!(!line.contains("error: "), "Satori's console says {line:?}");
        if line.trim_end().ends_with("ok") {
            break;
        }
    }
    console.send(&format!("attach {NAME}\n"))?;
    exits.with_context(|| format!("Satori's console has no {counted:?}"))
}

fn is_failure(line: &str) -> bool {
    ["workload: failed", "verdict: fail", "Kernel panic", "PANIC in Satori", "not started"]
        .iter()
        .any(|failure| line.contains(failure))
}

/// Takes a line apart like `[    1.234567] INFO  vm linux: started: 256 MiB, …; made in 200000 us`: microseconds from Satori's start
/// to the moment when it began to make the machine.
fn machine_started_at(line: &str) -> Option<u64> {
    let (stamp, rest) = line.strip_prefix('[')?.split_once(']')?;
    let (seconds, micros) = stamp.trim().split_once('.')?;
    let told_at = seconds.parse::<u64>().ok()? * 1_000_000 + micros.parse::<u64>().ok()?;
    let (_, made_in) = rest.split_once("made in ")?;
    told_at.checked_sub(made_in.strip_suffix(" us")?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> Result<Told> {
        let mut told = Told::default();
        lines.iter().try_for_each(|line| told.take(line)).map(|()| told)
    }

    #[test]
    fn the_time_of_the_start_is_that_before_the_machine_was_made() {
        let line =
            "[   12.345678] INFO  vm linux: started: 256 MiB, 4 KiB of Satori's own; made in 345000 us";
        let told = told(&[line, "start: 77"]).unwrap();
        assert_eq!(told.since_satoris_start(), Some(1_200_067_877));
        assert_eq!(machine_started_at("[    0.000001] vm linux: started: 1 MiB; made in 2 us"), None);
    }

    #[test]
    fn figures_that_are_missing_or_wrong_are_errors() {
        let all = [BOOT, WORK[0], WORK[1], WORK[2], WORK[3]].map(|name| format!("bench: {name} 7"));
        let all = all.each_ref().map(String::as_str);
        let figures = told(&all).unwrap().figures(Setting::Kvm, Some(3)).unwrap();
        assert_eq!((figures.len(), figures[0].operation.as_str(), figures[0].instructions), (6, TO_GUEST, 3));
        told(&all[1..]).unwrap().figures(Setting::Kvm, None).unwrap_err();
        told(&["bench: linux_cpu much"]).unwrap_err();
        assert!(is_failure("workload: failed: linux_cpu: primes: expected 2, found 1"));
    }

    #[test]
    fn exits_are_those_between_the_marks_without_the_hosts_own() {
        let exits = [3, 4, 10, 16, 20, 41, 50, 54, 60, 62];
        let line = |exits| format!("counters at mark 0: exits {}, io_exits 2, irq_exits 7", exits + 7);
        let lines = exits.map(line);
        let told = told(&lines.each_ref().map(String::as_str)).unwrap();
        let exits_of = |operation| told.exits_of(operation).unwrap();
        assert_eq!(WORK.map(exits_of), [5.0, 20.0, 3.0, 1.0].map(Some));
        assert_eq!(exits_of(BOOT), None);
    }
}
