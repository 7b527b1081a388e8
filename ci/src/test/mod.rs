// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo x test`: every test of every leg, one line each as it ends, and what the failed ones printed.

mod libtest;
mod programs;
mod report;

use anyhow::Result;
use anyhow::ensure;

use crate::cargo;
use crate::cargo::Executable;
use crate::setup;
use crate::setup::rust_targets;
use crate::workshop::Workshop;

use programs::Program;
use report::Report;

/// Where tests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Leg {
    /// On this machine, against models of the hardware.
    Host,
    /// In the emulator, on its CPU with VMX.
    Bare,
    /// Under KVM with Hyper-V's interface, in the emulator or on this machine.
    Kvm,
}

/// Which tests are run.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Run only tests whose name contains this.
    pub filter: Option<String>,
    /// Run only this leg.
    #[arg(long, value_enum)]
    pub leg: Option<Leg>,
}

/// Runs them, and says whether all passed.
///
/// # Errors
/// When tests cannot be built or started, or the filter leaves none; a test that fails is no error.
pub fn test(workshop: &Workshop, options: &Options) -> Result<bool> {
    let mut report = Report::default();
    let runs = |leg| options.leg.is_none_or(|only| only == leg);
    if runs(Leg::Host) {
        rust_targets::bring(workshop)?;
        programs::run(workshop, host_programs(workshop)?, options.filter.as_deref(), &mut report)?;
    }
    let machines: Vec<&str> = [(Leg::Bare, "bare"), (Leg::Kvm, "kvm")]
        .into_iter()
        .filter(|(leg, _)| runs(*leg))
        .map(|(_, name)| name)
        .collect();
    if !machines.is_empty() {
        setup::everything(workshop)?;
        programs::run(
            workshop,
            system_programs(workshop, &machines)?,
            options.filter.as_deref(),
            &mut report,
        )?;
    }
    if let Some(filter) = &options.filter {
        ensure!(!report.is_empty(), "no test's name contains {filter:?}");
    }
    report.print_failures();
    println!("{}", report.summary());
    Ok(report.all_passed())
}

/// All crates but those whose programs run on the bare machine only.
const HOST_CRATES: [&str; 5] = ["--workspace", "--exclude", "boot", "--exclude", "tests"];

fn host_programs(workshop: &Workshop) -> Result<Vec<Program>> {
    let mut tests = build(workshop, &HOST_CRATES)?;
    // The catalogue of guest programs is checked on the host, too, and so is how we are entered.
    tests.extend(build(workshop, &["--package", "tests", "--package", "boot", "--lib"])?);
    let mut programs: Vec<Program> = tests.into_iter().map(Program::host).collect();
    let loom = build(workshop, &["--package", "hypervisor", "--lib", "--features", "loom"])?;
    programs.extend(loom.into_iter().map(Program::loom));
    let mutations = build(workshop, &["--package", "evmcs", "--lib", "--features", "mutations"])?;
    programs.extend(mutations.into_iter().map(Program::mutations));
    programs.push(Program::documentation(workshop, &HOST_CRATES));
    Ok(programs)
}

/// The system tests, once for each of these legs.
fn system_programs(workshop: &Workshop, legs: &[&'static str]) -> Result<Vec<Program>> {
    // Built by the program, too, but there nobody would see how it goes.
    cargo::build_satori(workshop)?;
    cargo::build_guests(workshop)?;
    cargo::build_workload(workshop)?;
    cargo::build_agent(workshop)?;
    let tests = build(workshop, &["--package", "tests", "--test", "system"])?;
    let of_leg =
        |leg: &&'static str| tests.iter().map(|test| Program::system(leg, test.clone())).collect::<Vec<_>>();
    Ok(legs.iter().flat_map(of_leg).collect())
}

fn build(workshop: &Workshop, selection: &[&str]) -> Result<Vec<Executable>> {
    let built = cargo::executables(workshop, &[&["test", "--no-run"], selection].concat())?;
    Ok(built.into_iter().filter(|program| program.is_test).collect())
}
