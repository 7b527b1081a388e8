// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the lines of a round show beyond what its programs judge: that the features did the work that passed.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::lines::number_after;

/// Something that a round shows by the lines that its machine printed.
pub struct Shown {
    /// The round.
    pub round: &'static str,
    /// The test.
    pub name: &'static str,
    /// The program that brings it about.
    pub program: &'static str,
    /// Judges the lines.
    pub check: fn(&[String]) -> Result<()>,
}

/// All of it.
pub const ALL: [Shown; 7] = [
    Shown {
        round: "on",
        name: "evmcs_is_mapped_and_no_field_goes_by_vmread_or_vmwrite",
        program: "zap_stress",
        check: no_vmread_or_vmwrite,
    },
    Shown {
        round: "on",
        name: "invept_is_native_with_evmcs",
        program: "zap_stress",
        check: |lines| {
            counted(lines, &["invept_single", "remote_flush_native"], &["remote_flush_hypercalls"])
        },
    },
    Shown {
        round: "on",
        name: "controls_that_cannot_be_had_are_told",
        program: "reset",
        check: |lines| {
            // KVM offers none of these with an enlightened VMCS.
            let controls = ["pause_loop_exiting", "use_tsc_scaling"];
            controls
                .iter()
                .try_for_each(|control| has(lines, &format!("not used: secondary control {control}: ")))
        },
    },
    Shown {
        round: "on_2_cpus",
        name: "evmcs_is_released_and_migrates",
        program: "migrate",
        check: |lines| counted(lines, &["migrations", "invvpid_single"], &["vmcs_accesses"]),
    },
    Shown {
        round: "on_2_cpus",
        name: "direct_flush_leaves_no_call_to_satori",
        program: "hyperv_flush",
        check: |lines| {
            let exits = exits_of(lines, "hyperv-flush")?;
            ensure!(!exits.contains("VMCALL"), "L0 left calls to Satori: {exits}");
            Ok(())
        },
    },
    Shown {
        round: "without_direct_flush",
        name: "satori_carries_out_flush_calls_itself",
        program: "hyperv_flush",
        check: |lines| {
            let exits = exits_of(lines, "hyperv-flush")?;
            ensure!(exits.contains("VMCALL"), "no call came to Satori: {exits}");
            Ok(())
        },
    },
    Shown {
        round: "without_evmcs",
        name: "every_field_goes_by_vmread_and_vmwrite",
        program: "reset",
        check: |lines| counted(lines, &["vmcs_accesses"], &[]),
    },
];

fn no_vmread_or_vmwrite(lines: &[String]) -> Result<()> {
    counted(lines, &["second_level_faults"], &["vmcs_accesses"])
}

/// In the end these counters stand at more than zero, and those at zero.
fn counted(lines: &[String], some: &[&str], none: &[&str]) -> Result<()> {
    let told = lines.iter().rfind(|line| line.contains(" flushes: "));
    let told = told.context("no line told of flushes")?;
    let count = |name: &&str| number_after(told, &format!(" {name} "));
    for name in some {
        ensure!(count(name)? > 0, "no {name}: {told}");
    }
    for name in none {
        ensure!(count(name)? == 0, "there were {name}: {told}");
    }
    Ok(())
}

fn has(lines: &[String], text: &str) -> Result<()> {
    ensure!(lines.iter().any(|line| line.contains(text)), "no line has {text:?}");
    Ok(())
}

/// The line that tells how often a VM exited, and why.
fn exits_of<'a>(lines: &'a [String], vm: &str) -> Result<&'a str> {
    let start = format!("vm {vm}: ");
    let line = lines.iter().find(|line| line.contains(&start) && line.contains(" exits: "));
    line.map(String::as_str).with_context(|| format!("{vm} did not tell of its exits"))
}
