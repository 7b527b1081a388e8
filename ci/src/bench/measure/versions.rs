// SPDX-License-Identifier: MIT OR Apache-2.0
//! What figures depend on beside Satori, and its versions.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;

use crate::bench::figures::COMPILER;
use crate::bench::figures::EMULATOR;
use crate::bench::figures::GUEST_LINUX;
use crate::bench::figures::KVM_HOST;
use crate::bench::figures::QEMU;
use crate::setup::bochs;
use crate::setup::debian;
use crate::setup::kvm_host;
use crate::setup::packages;
use crate::steps;
use crate::workshop::Workshop;

/// The versions of all that there is.
///
/// # Errors
/// When a part does not tell its version.
pub fn versions(workshop: &Workshop) -> Result<BTreeMap<String, String>> {
    let versions = [
        (EMULATOR, bochs::version(workshop)?),
        (QEMU, first_line(Command::new(packages::QEMU).arg("--version"))?),
        (KVM_HOST, kvm_host::kernel(workshop)?.package),
        (GUEST_LINUX, debian::linux(workshop)?.package),
        (COMPILER, first_line(Command::new("rustc").arg("--version").current_dir(workshop.root()))?),
    ];
    Ok(versions.into_iter().map(|(name, version)| (name.to_owned(), version)).collect())
}

fn first_line(command: &mut Command) -> Result<String> {
    let said = steps::output(command)?;
    Ok(said.lines().next().context("a program does not tell its version")?.to_owned())
}
