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
    for (number, plan) in plans().into_iter().enumerate() {
        let fitting: Vec<&Program> =
            PROGRAMS.iter().filter(|program| program.cpus.contains(&plan.cpus)).collect();
        let wanted = |round: &str| -> Vec<&Program> {
            let wants = |program: &&&Program| report.wants(&tests(round).name(program));
            fitting.iter().filter(wants).copied().collect()
        };
        // What one round wants, they all run.
        let any = |program: &&&Program| {
            plan.rounds.iter().any(|(round, _)| report.wants(&tests(round).name(program)))
        };
        let run: Vec<&Program> = fitting.iter().filter(any).copied().collect();
        if run.is_empty() {
            continue;
        }
        let machines = guests::declare(payload.lab, &run)?;
        let machines =
            machines.into_iter().zip(run).map(|(machine, program)| adapt(machine, program, plan.effort));
        let launch = payload.add(&format!("programs-{number}.tar"), machines.collect())?;
        let launch = Launch { hyperv: plan.hyperv, cpus: plan.cpus, ..launch };
        for (name, off) in plan.rounds {
            let programs = wanted(&name);
            if !programs.is_empty() {
                prepared.push(Round { programs, launch: with_off(&launch, off), name, off });
            }
        }
    }
    Ok(prepared)
}

fn tests(round: &str) -> Tests<'_> {
    Tests { round, bench_limits: NESTED_BENCH_LIMITS }
}

fn with_off(launch: &Launch, off: Option<&str>) -> Launch {
    let words = off.map(|off| format!("enlightenments=-{off} ")).unwrap_or_default();
    Launch { command_line: format!("{words}{}", launch.command_line), ..launch.clone() }
}

fn adapt(machine: VirtualMachine, program: &Program, effort: u64) -> VirtualMachine {
    let time_limit_s = match program.end {
        End::TimeLimit => program.time_limit_s,
        _ => program.time_limit_s * TIME_FACTOR,
    };
    let command_line = Some(format!("effort={effort} kvm-below=1"));
    VirtualMachine { command_line, time_limit_s: Some(time_limit_s), ..machine }
}

impl Round {
    /// Runs it.
    ///
    /// # Errors
    /// When the KVM host has ended, or on an interrupt.
    pub fn run(&self, host: &mut KvmHost, report: &mut Report) -> Result<()> {
        let Self { name, off, programs, launch } = self;
        let lines = guests::judge_all(&mut host.run(launch)?, programs.clone(), tests(name), report)?;
        test(report, &format!("{name}::no_invept_global"), || flushes::none_was_global(&lines))?;
        test(report, &format!("{name}::report"), || match launch.hyperv == HyperV::NONE {
            true => enlightenments::are_not_there(&lines),
            false => enlightenments::are_in_use_but(*off, &lines),
        })
    }
}
