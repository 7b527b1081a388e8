// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest programs: each in a VM of its own, all in one boot, judged by what they print and how their VMs end.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use ci::bundle::Disk;
use ci::bundle::Manifest;
use ci::bundle::Module;
use ci::bundle::VirtualMachine;
use ci::cargo;
use ci::image::Bundle;
use ci::interrupt::Interrupted;
use ci::lab::Console;
use ci::lab::Processor;
use tests::catalogue;
use tests::catalogue::APIC_ACCESSES_BENCH_LIMITS;
use tests::catalogue::BENCH_LIMITS;
use tests::catalogue::CONSOLE_OUTPUT;
use tests::catalogue::End;
use tests::catalogue::PROGRAMS;
use tests::catalogue::Program;
use tests::catalogue::SOFTWARE_APIC_BENCH_LIMITS;
use tests::effort;
use tests::effort::FULL;

use crate::Hardware;
use crate::Lab;
use crate::flushes;
use crate::report::Report;
use crate::test;

/// How long, on this machine's clock, nothing may be printed. A VM's own limit is in emulated time, and shorter.
const LONGEST_SILENCE: Duration = Duration::from_secs(120);

/// How long the machine may take to power off after its last VM.
const TIME_TO_POWER_OFF: Duration = Duration::from_secs(30);

/// The machines, and what they run: the usual CPU, alone and with others; one whose own APIC has to be reached in another way;
/// and some whose processors play less of the guests' APICs.
const ROUNDS: [Round; 7] = [
    Round::usual("guest", 1),
    Round {
        processor: Processor::WithoutX2Apic,
        runs: |program| program.vcpus == 1,
        ..Round::usual("guest_without_x2apic", 1)
    },
    Round {
        words: "apic-virtualization=accesses",
        bench_limits: APIC_ACCESSES_BENCH_LIMITS,
        runs: |program| program.vcpus == 1,
        ..Round::usual("guest_with_apic_accesses", 1)
    },
    Round {
        words: "apic-virtualization=off",
        bench_limits: SOFTWARE_APIC_BENCH_LIMITS,
        runs: |program| program.vcpus == 1,
        ..Round::usual("guest_with_software_apic", 1)
    },
    Round::usual("guest_on_4_cpus", 4),
    Round::usual("guest_on_2_cpus", 2),
    Round {
        processor: Processor::WithoutX2Apic,
        // What goes through interrupts between CPUs, the guest's and Satori's own.
        runs: |program| ["ap_start", "ipi", "zap_stress"].contains(&program.name),
        ..Round::usual("guest_on_2_cpus_without_x2apic", 2)
    },
];

/// Runs all programs that `report` wants.
///
/// # Errors
/// When they cannot be built or started, or on an interrupt.
pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    ROUNDS.into_iter().try_for_each(|round| run_on(lab, report, round))
}

/// One boot of a machine, and the programs that it runs one after the other.
#[derive(Clone, Copy)]
struct Round {
    name: &'static str,
    processor: Processor,
    cpus: u32,
    /// Words for Satori's command line.
    words: &'static str,
    bench_limits: &'static [(&'static str, u64)],
    /// Which programs, of those that are made for as many CPUs.
    runs: fn(&Program) -> bool,
}

impl Round {
    const fn usual(name: &'static str, cpus: u32) -> Self {
        let processor = Processor::Haswell;
        Self { name, processor, cpus, words: "", bench_limits: BENCH_LIMITS, runs: |_| true }
    }

    fn programs(self) -> impl Iterator<Item = &'static Program> {
        PROGRAMS.iter().filter(move |program| program.cpus.contains(&self.cpus) && (self.runs)(program))
    }
}

fn run_on(lab: &Lab, report: &mut Report, round: Round) -> Result<()> {
    let tests = Tests { round: round.name, bench_limits: round.bench_limits, effort: FULL };
    let wanted: Vec<&Program> =
        round.programs().filter(|program| report.wants(&tests.name(program))).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let machines = Manifest::in_turn(declare(lab, &wanted)?);
    let Round { processor, cpus, words, .. } = round;
    let hardware = Hardware { processor, cpus, words };
    let mut session = lab.boot(Bundle::Of(machines), hardware)?;
    let lines = judge_all(&mut session, wanted, tests, report)?;
    // The test that all programs of the round make together.
    test(report, &format!("{}::no_invept_global", round.name), || flushes::none_was_global(&lines))
}

/// The programs of a round as tests.
#[derive(Clone, Copy)]
pub struct Tests<'a> {
    /// The round's name, which those of the tests start with.
    pub round: &'a str,
    /// What lines of `bench` must not exceed.
    pub bench_limits: &'a [(&'a str, u64)],
    /// What the programs were told to do of their work, in thousandths.
    pub effort: u64,
}

impl Tests<'_> {
    fn name(self, program: &Program) -> String {
        test_name(self.round, program)
    }
}

/// The name of a program's test in the round of this name.
pub fn test_name(round: &str, program: &Program) -> String {
    format!("{round}::{}", program.name)
}

/// Judges all `programs`, which `console` runs in turn, as tests of this round, and gives the lines that
/// came.
///
/// # Errors
/// On an interrupt.
pub fn judge_all(
    console: &mut impl Console,
    mut programs: Vec<&Program>,
    tests: Tests<'_>,
    report: &mut Report,
) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let ended = follow(console, &mut programs, tests, report, &mut lines);
    // Those that never ran fail, each by itself; the first of them says why.
    let mut reason = match ended {
        Ok(()) => "its VM never ended".to_owned(),
        Err(error) if error.is::<Interrupted>() => return Err(error),
        Err(error) => format!("{error:#}"),
    };
    if let Some(explanation) = console.explanation() {
        reason = format!("{reason}\n{explanation}");
    }
    for program in programs {
        report.failed(&tests.name(program), std::mem::replace(&mut reason, "did not come to run".into()));
    }
    Ok(lines)
}

/// Virtual machines for the programs of these names.
///
/// # Errors
/// When they cannot be built, or there is none of that name.
pub fn named(lab: &Lab, names: &[&str]) -> Result<Vec<VirtualMachine>> {
    let find = |name: &&str| PROGRAMS.iter().find(|program| program.name == *name);
    let programs = names.iter().map(|name| find(name).with_context(|| format!("no program {name}")));
    declare(lab, &programs.collect::<Result<Vec<_>>>()?)
}

/// Virtual machines for these programs.
///
/// # Errors
/// When they cannot be built.
pub fn declare(lab: &Lab, programs: &[&Program]) -> Result<Vec<VirtualMachine>> {
    let files = cargo::build_guests(&lab.workshop)?;
    let files: BTreeMap<String, PathBuf> = files.into_iter().map(|guest| (guest.name, guest.file)).collect();
    programs.iter().map(|program| machine(program, &files)).collect()
}

fn machine(program: &Program, files: &BTreeMap<String, PathBuf>) -> Result<VirtualMachine> {
    let kernel = files.get(program.name).with_context(|| format!("cargo built no {}", program.name))?;
    Ok(VirtualMachine {
        vcpus: program.vcpus,
        time_limit_s: Some(program.time_limit_s),
        exerciser: program.exerciser,
        prefault: program.prefault,
        hyperv: program.hyperv,
        debug_exit: matches!(program.end, End::DebugExit { .. }),
        command_line: program.command_line.map(str::to_owned),
        modules: program.modules.iter().map(module).collect(),
        disks: program.disk.then_some(Disk::Blank { size_mib: 1 }).into_iter().collect(),
        ..VirtualMachine::new(vm_name(program), program.memory_mib, kernel)
    })
}

fn module((file, words): &(&str, &str)) -> Module {
    Module { file: Path::new(env!("CARGO_MANIFEST_DIR")).join(file), command_line: (*words).into() }
}

fn vm_name(program: &Program) -> String {
    program.name.replace('_', "-")
}

/// Reads what the machine prints to its end into `lines`, judging each program as its VM ends and taking it out of `left`.
fn follow(
    console: &mut impl Console,
    left: &mut Vec<&Program>,
    tests: Tests<'_>,
    report: &mut Report,
    lines: &mut Vec<String>,
) -> Result<()> {
    let mut started = 0;
    while let Some(line) = console.line(LONGEST_SILENCE)? {
        match life(&line) {
            Some((_, Life::Started)) => started = lines.len() + 1,
            Some((vm, Life::Ended(reason))) => {
                if let Some(at) = left.iter().position(|program| vm_name(program) == vm) {
                    settle(left.remove(at), &lines[started..], reason, tests, report);
                }
            }
            None if line.contains("PANIC in Satori") => bail!("{}", last_words(console, line)),
            None => {}
        }
        lines.push(line);
    }
    console.wait_for_power_off(TIME_TO_POWER_OFF)
}

/// Satori halts after a panic, so nothing says that its report is complete but silence.
fn last_words(session: &mut impl Console, mut report: String) -> String {
    while let Ok(Some(line)) = session.line(Duration::from_secs(1)) {
        report = format!("{report}\n{line}");
    }
    report
}

/// What one of Satori's lines tells of a VM's life.
enum Life<'a> {
    Started,
    Ended(&'a str),
}

/// Takes a line like `[    0.123456] INFO  vm NAME: ended: REASON` apart; a guest may have left its last line open.
fn life(line: &str) -> Option<(&str, Life<'_>)> {
    let (_, told) = line.split_once(" vm ")?;
    let (name, told) = told.split_once(": ")?;
    if told.starts_with("started") {
        return Some((name, Life::Started));
    }
    let reason = told.strip_prefix("ended: ").or_else(|| told.starts_with("not started").then_some(told))?;
    Some((name, Life::Ended(reason)))
}

fn settle(program: &Program, output: &[String], reason: &str, tests: Tests<'_>, report: &mut Report) {
    let figures = output.iter().filter(|line| line.starts_with("bench: "));
    figures.for_each(|figure| println!("{figure}"));
    match judge(program, output, reason, tests) {
        Ok(()) => report.passed(&tests.name(program)),
        Err(why) => {
            let printed = output.join("\n");
            let why = format!("{}\n{why}\nits VM ended: {reason}\nit printed:\n{printed}", program.promises);
            report.failed(&tests.name(program), why);
        }
    }
}

/// Whether a program that printed `output`, and whose VM ended for `reason`, kept its promise.
fn judge(program: &Program, output: &[String], reason: &str, tests: Tests<'_>) -> Result<()> {
    let kept = match program.end {
        End::Pass => passed(output, reason),
        End::PassWithOutput => passed(output, reason).and_then(|()| whole_output(output, tests.effort)),
        End::UnbackedMemory { address } => {
            ended_by(reason, &format!("{address:#x}, where neither memory nor"))
        }
        End::TripleFault => ended_by(reason, "triple fault at"),
        End::TimeLimit => ended_by(reason, &format!("time limit of {} s", program.time_limit_s)),
        End::HaltedForEver => ended_by(reason, "halted with interrupts off"),
        End::Reset => ended_by(reason, "reset"),
        End::DebugExit { status } => ended_by(reason, &format!("debug exit, status {status}")),
    };
    kept?;
    if program.name == "bench" {
        tests.bench_limits.iter().try_for_each(|(name, most)| costs_at_most(output, name, *most))
    } else {
        Ok(())
    }
}

fn passed(output: &[String], reason: &str) -> Result<()> {
    match output.iter().rev().find_map(|line| line.strip_prefix("verdict: ")) {
        Some("pass") => ended_by(reason, "powered off"),
        Some(verdict) => bail!("{verdict}"),
        None => bail!("it ended without a verdict"),
    }
}

fn ended_by(reason: &str, expected: &str) -> Result<()> {
    if reason.contains(expected) { Ok(()) } else { bail!("expected its VM to end by: {expected}") }
}

fn whole_output(output: &[String], effort: u64) -> Result<()> {
    let between: Vec<&str> = output
        .iter()
        .map(String::as_str)
        .skip_while(|line| *line != "output: begin")
        .skip(1)
        .take_while(|line| *line != "output: end")
        .collect();
    let seen: Vec<u8> = between.iter().flat_map(|line| line.bytes().chain([b'\n'])).collect();
    let times = effort::part(CONSOLE_OUTPUT, effort);
    let expected: Vec<u8> = catalogue::console_output(times).collect();
    match seen.iter().zip(&expected).position(|(seen, expected)| seen != expected) {
        None if seen.len() == expected.len() => Ok(()),
        at => bail!(
            "{} of {} bytes arrived, the first {} of them right",
            seen.len(),
            expected.len(),
            at.unwrap_or_else(|| seen.len().min(expected.len()))
        ),
    }
}

/// Whether the figure of that name is no more than it may be.
///
/// # Errors
/// When it is, or there is none.
pub fn costs_at_most(output: &[String], name: &str, most: u64) -> Result<()> {
    let prefix = format!("bench: {name} ");
    let figure = output.iter().find_map(|line| line.strip_prefix(&prefix));
    let figure: u64 = figure.with_context(|| format!("no line {prefix}"))?.parse()?;
    if figure <= most { Ok(()) } else { bail!("{name} costs {figure} instructions, and may cost {most}") }
}
