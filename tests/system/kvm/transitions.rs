// SPDX-License-Identifier: MIT OR Apache-2.0
//! Transitions to L0: how often KVM is entered for an exit of Satori's guest, and what such an exit takes in all.

use std::time::Duration;

use agent::protocol::Counters;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use ci::lab::KvmHost;
use ci::lab::Launch;
use tests::catalogue::TRANSITIONS;

use crate::guests;
use crate::kvm::Payload;
use crate::lines::lines_to_the_end;
use crate::lines::number_after;
use crate::report::Report;
use crate::test;

/// The guest's exit, and Satori's entry.
const UNAVOIDABLE: f64 = 2.0;

/// What looking at the line costs differs from mark to mark, by a few exits in tens of thousands.
const INEXACT: f64 = 0.005;

/// What KVM takes for a CPUID in Satori's place on the same kernel, at least: 13405 to 13789 (`cargo x bench kvm-on-kvm`).
const CPUID_OF_KVM: u64 = 13_401;
/// For a read of a port that Satori serves itself, half of what KVM takes there with QEMU: 30177.
const PORT_READ_LIMIT: u64 = 15_001;

/// Until the next line, on this machine's clock.
const TIME_TO_TELL: Duration = Duration::from_secs(120);

const TRANSITIONS_TEST: &str = "transitions::a_cpuid_and_a_port_read_make_two_each";
const COSTS_TEST: &str = "transitions::they_cost_less_than_with_kvm";
const SHARE_TEST: &str = "transitions::our_own_share_of_a_cpuid_is_small";

/// What of a CPUID's cost is Satori's own, at most, on the average.
const SHARE_LIMIT: u64 = 300;

/// Adds what the tests run, if `report` wants one of them: Satori, and Satori that measures itself.
///
/// # Errors
/// When it cannot be built.
pub fn prepare(payload: &mut Payload<'_>, report: &Report) -> Result<Option<[Launch; 2]>> {
    if ![TRANSITIONS_TEST, COSTS_TEST, SHARE_TEST].into_iter().any(|name| report.wants(name)) {
        return Ok(None);
    }
    let machines = guests::named(payload.lab, &["transitions"])?;
    let launch = payload.add("transitions.tar", machines)?;
    let measuring = Launch { kernel: payload.add_measuring_satori()?, ..launch.clone() };
    Ok(Some([launch, measuring]))
}

/// Runs the tests.
///
/// # Errors
/// When the KVM host has ended, or on an interrupt.
pub fn run([launch, measuring]: &[Launch; 2], host: &mut KvmHost, report: &mut Report) -> Result<()> {
    let lines = lines(launch, host)?;
    test(report, TRANSITIONS_TEST, || make_two_each(&lines))?;
    // On real hardware a tick is no instruction.
    if host.is_emulated() {
        test(report, COSTS_TEST, || cost_less(&lines))?;
        test(report, SHARE_TEST, || has_a_small_share(&self::lines(measuring, host)?))?;
    }
    Ok(())
}

fn lines(launch: &Launch, host: &mut KvmHost) -> Result<Vec<String>> {
    lines_to_the_end(&mut host.run(launch)?, TIME_TO_TELL)
}

fn has_a_small_share(lines: &[String]) -> Result<()> {
    let told = lines.iter().find(|line| line.contains("our own share in ticks: "));
    let told = told.context("Satori does not tell its own share")?;
    let of_cpuid = &told[told.find("CPUID ").context("there was no CPUID")?..];
    let share = number_after(of_cpuid, "mean ")?;
    println!("bench: nested_cpuid_own_share {share}");
    ensure!(share <= SHARE_LIMIT, "a CPUID takes {share} in Satori, and may take {SHARE_LIMIT}: {told}");
    Ok(())
}

fn make_two_each(lines: &[String]) -> Result<()> {
    for (kind, name) in ["cpuid", "port_read"].into_iter().enumerate() {
        let first = kind * TRANSITIONS.len();
        let few = transitions_between(lines, first, first + 1)?;
        let many = transitions_between(lines, first + 1, first + 2)?;
        let each = (many - few) as f64 / (TRANSITIONS[1] - TRANSITIONS[0]) as f64;
        println!("bench: nested_{name}_transitions {each:.3}");
        ensure!((each - UNAVOIDABLE).abs() <= INEXACT, "a {name} makes {each:.3} transitions to L0");
    }
    Ok(())
}

/// Transitions to KVM between two marks, without those that its own interrupts make.
fn transitions_between(lines: &[String], from: usize, to: usize) -> Result<i64> {
    let transitions = |mark| {
        let counters = counters_at(lines, mark)?;
        Ok(counters.get("exits").cast_signed() - counters.get("irq_exits").cast_signed())
    };
    let (from, to): (Result<i64>, Result<i64>) = (transitions(from), transitions(to));
    Ok(to? - from?)
}

fn counters_at(lines: &[String], mark: usize) -> Result<Counters> {
    let start = format!("counters at mark {mark}: ");
    let counters = lines.iter().find_map(|line| line.strip_prefix(&start));
    let counters = Counters::parse(counters.with_context(|| format!("no counters at mark {mark}"))?);
    ensure!(counters.get("exits") > 0, "KVM's counters cannot be read; its debugfs must be mounted");
    Ok(counters)
}

fn cost_less(lines: &[String]) -> Result<()> {
    lines.iter().filter(|line| line.starts_with("bench: ")).for_each(|line| println!("{line}"));
    for (name, limit) in [("cpuid", CPUID_OF_KVM), ("port_read", PORT_READ_LIMIT)] {
        let start = format!("bench: nested_{name} ");
        let figures: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix(&start)).collect();
        ensure!(figures.len() == TRANSITIONS.len(), "{} figures for {name}", figures.len());
        for figure in figures {
            ensure!(figure.parse::<u64>()? < limit, "a {name} takes {figure}, and may not take {limit}");
        }
    }
    Ok(())
}
