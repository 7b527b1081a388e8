// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rounds of guest programs: with all of Hyper-V's interface in use, with each enlightenment switched off, and without
//! Hyper-V.

use anyhow::Result;
use ci::bundle::VirtualMachine;
use ci::lab::HyperV;
use ci::lab::KvmHost;
use ci::lab::Launch;
use tests::catalogue::End;
use tests::catalogue::NESTED_BENCH_LIMITS;
use tests::catalogue::PROGRAMS;
use tests::catalogue::Program;

use crate::flushes;
use crate::guests;
use crate::guests::Tests;
use crate::kvm::Payload;
use crate::kvm::enlightenments;
use crate::kvm::shown;
use crate::kvm::shown::Shown;
use crate::report::Report;
use crate::test;

/// In thousandths of what the programs do on the leg `bare`, where an exit costs a hundredth.
const EFFORT: u64 = 100;

/// Where each switch is off in turn.
const SMALL_EFFORT: u64 = 2;

/// A program's time is that of its VM's clock, on which each exit takes a hundred times as long.
const TIME_FACTOR: u32 = 10;

/// One run of QEMU, and the programs that Satori runs there one after the other.
pub struct Round {
    name: String,
    /// What is switched off, if anything is.
    off: Option<&'static str>,
    programs: Vec<&'static Program>,
    /// What they do of their work, in thousandths.
    effort: u64,
    launch: Launch,
}

/// Rounds that share their programs.
struct Plan {
    effort: u64,
    cpus: u32,
    /// Their names, and what is switched off in each.
    rounds: Vec<(String, Option<&'static str>)>,
    hyperv: HyperV,
}

fn plans() -> [Plan; 4] {
    let switch = |off: &'static str| (format!("without_{}", off.replace('-', "_")), Some(off));
    let each = enlightenments::ALL.iter().map(|enlightenment| switch(enlightenment.switch)).collect();
    let all = |name: &str| vec![(name.to_owned(), None)];
    [
        Plan { effort: EFFORT, cpus: 1, rounds: all("on"), hyperv: HyperV::default() },
        Plan { effort: SMALL_EFFORT, cpus: 2, rounds: all("on_2_cpus"), hyperv: HyperV::default() },
        Plan { effort: SMALL_EFFORT, cpus: 1, rounds: each, hyperv: HyperV::default() },
        Plan { effort: SMALL_EFFORT, cpus: 1, rounds: all("none"), hyperv: HyperV::NONE },
    ]
}

/// Adds to `payload` what the rounds run that `report` wants, and gives those.
///
/// # Errors
/// When programs cannot be built.
pub fn prepare(payload: &mut Payload<'_>, report: &Report) -> Result<Vec<Round>> {
    let mut prepared = Vec::new();
    for (number, plan) in plans().iter().enumerate() {
        let programs = plan.wanted_programs(report);
        if !programs.is_empty() {
            let machines = guests::declare(payload.lab, &programs)?;
            let machines = machines.into_iter().zip(programs);
            let machines = machines.map(|(machine, program)| adapt(machine, program, plan.effort)).collect();
            let launch = payload.add(&format!("programs-{number}.tar"), machines)?;
            prepared.extend(plan.wanted_rounds(&launch, report));
        }
    }
    Ok(prepared)
}

impl Plan {
    /// The programs that `report` wants in any of the rounds. For the tests of a round itself any program will do.
    fn wanted_programs(&self, report: &Report) -> Vec<&'static Program> {
        let mut programs = Vec::new();
        for program in PROGRAMS.iter().filter(|program| program.cpus.contains(&self.cpus)) {
            if self.rounds.iter().any(|(round, _)| is_wanted(round, program, report)) {
                programs.push(program);
            }
        }
        if programs.is_empty() && self.rounds.iter().any(|(round, _)| wants_itself(round, report)) {
            programs.extend(PROGRAMS.iter().find(|program| program.name == "reset"));
        }
        programs
    }

    fn wanted_rounds(&self, launch: &Launch, report: &Report) -> Vec<Round> {
        let mut rounds = Vec::new();
        for (name, off) in &self.rounds {
            let wanted =
                |program: &&Program| program.cpus.contains(&self.cpus) && is_wanted(name, program, report);
            let programs: Vec<&Program> = PROGRAMS.iter().filter(wanted).collect();
            if !programs.is_empty() || wants_itself(name, report) {
                let words = off.map(|off| format!("enlightenments=-{off} ")).unwrap_or_default();
                let launch = Launch {
                    hyperv: self.hyperv.clone(),
                    cpus: self.cpus,
                    command_line: format!("{words}{}", launch.command_line),
                    ..launch.clone()
                };
                let (name, effort) = (name.clone(), self.effort);
                rounds.push(Round { name, off: *off, programs, effort, launch });
            }
        }
        rounds
    }
}

/// Whether `report` wants the test of a program, or another that needs it.
fn is_wanted(round: &str, program: &Program, report: &Report) -> bool {
    report.wants(&guests::test_name(round, program))
        || shown_in(round).any(|shown| shown.program == program.name && report.wants(&shown_test(shown)))
}

fn shown_in(round: &str) -> impl Iterator<Item = &'static Shown> {
    shown::ALL.iter().filter(move |shown| shown.round == round)
}

fn shown_test(shown: &Shown) -> String {
    format!("{}::{}", shown.round, shown.name)
}

/// Whether `report` wants a test that all programs of a round make together.
fn wants_itself(round: &str, report: &Report) -> bool {
    [flushes_test(round), report_test(round)].iter().any(|name| report.wants(name))
}

fn flushes_test(round: &str) -> String {
    format!("{round}::no_invept_global")
}

fn report_test(round: &str) -> String {
    format!("{round}::report")
}

fn adapt(machine: VirtualMachine, program: &Program, effort: u64) -> VirtualMachine {
    let time_limit_s = match program.end {
        End::TimeLimit => program.time_limit_s,
        _ => program.time_limit_s * TIME_FACTOR,
    };
    let words = format!("effort={effort} kvm-below=1");
    let command_line = Some(machine.command_line.clone().unwrap_or(words));
    VirtualMachine { command_line, time_limit_s: Some(time_limit_s), ..machine }
}

impl Round {
    /// Runs it.
    ///
    /// # Errors
    /// When the KVM host has ended, or on an interrupt.
    pub fn run(&self, host: &mut KvmHost, report: &mut Report) -> Result<()> {
        let Self { name, off, programs, effort, launch } = self;
        // On real hardware a tick is no instruction; and of little work much is what the KVM host does for itself now and then.
        let is_measure = host.is_emulated() && *effort >= EFFORT;
        let bench_limits = if is_measure { NESTED_BENCH_LIMITS } else { &[] };
        let tests = Tests { round: name, bench_limits, effort: *effort };
        let lines = guests::judge_all(&mut host.run(launch)?, programs.clone(), tests, report)?;
        test(report, &flushes_test(name), || flushes::none_was_global(&lines))?;
        test(report, &report_test(name), || match launch.hyperv == HyperV::NONE {
            true => enlightenments::are_not_there(&lines),
            false => enlightenments::are_in_use_but(*off, &lines),
        })?;
        shown_in(name).try_for_each(|shown| test(report, &shown_test(shown), || (shown.check)(&lines)))
    }
}
