// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's Linux as a guest, busy, with all of Hyper-V's interface in use and without Hyper-V.

use std::time::Duration;

use anyhow::Result;
use ci::bundle::VirtualMachine;
use ci::guest::KERNEL_COMMAND_LINE;
use ci::lab::HyperV;
use ci::lab::KvmHost;
use ci::lab::Launch;
use ci::setup::debian;

use crate::flushes;
use crate::kvm::Payload;
use crate::kvm::enlightenments;
use crate::linux;
use crate::linux::Linux;
use crate::linux::QUICKLY;
use crate::report::Report;
use crate::test;

/// Until the prompt, on this machine's clock.
const TIME_TO_BOOT: Duration = Duration::from_secs(600);

/// A test, and what QEMU's machine offers of Hyper-V's interface.
pub struct Busy {
    name: &'static str,
    launch: Launch,
}

/// Adds what the tests run that `report` wants, and gives those.
///
/// # Errors
/// When a part of it cannot be had.
pub fn prepare(payload: &mut Payload<'_>, report: &Report) -> Result<Vec<Busy>> {
    let all = [
        ("linux::with_all_on_it_does_a_workload_right", HyperV::default()),
        ("linux::without_hyper_v_it_does_a_workload_right", HyperV::NONE),
    ];
    let wanted: Vec<_> = all.into_iter().filter(|(name, _)| report.wants(name)).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let files = tempfile::tempdir()?;
    let kernel = debian::linux(&payload.lab.workshop)?.vmlinux;
    let command_line = Some(format!("{KERNEL_COMMAND_LINE} {QUICKLY}"));
    let machine = VirtualMachine { command_line, ..linux::machine(payload.lab, kernel, files.path())? };
    let launch = payload.add("linux.tar", vec![machine])?;
    Ok(wanted
        .into_iter()
        .map(|(name, hyperv)| Busy { name, launch: Launch { hyperv, ..launch.clone() } })
        .collect())
}

/// Runs a test.
///
/// # Errors
/// When the KVM host has ended, or on an interrupt.
pub fn run(busy: &Busy, host: &mut KvmHost, report: &mut Report) -> Result<()> {
    test(report, busy.name, || {
        let mut linux = Linux::at_its_prompt(host.run(&busy.launch)?, TIME_TO_BOOT)?;
        linux.gets_the_workload_right()?;
        let mut lines: Vec<String> = linux.boot_log.lines().map(str::to_owned).collect();
        lines.extend(linux.rest()?);
        flushes::none_was_global(&lines)?;
        match busy.launch.hyperv == HyperV::NONE {
            true => enlightenments::are_not_there(&lines),
            false => enlightenments::are_in_use_but(None, &lines),
        }
    })
}
