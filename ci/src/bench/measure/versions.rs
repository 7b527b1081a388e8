// SPDX-License-Identifier: MIT OR Apache-2.0
//! What figures depend on beside Satori, and its versions.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;

use crate::setup::bochs;
use crate::setup::debian;
use crate::setup::kvm_host;
use crate::setup::packages::QEMU;
use crate::steps;
use crate::workshop::Workshop;

/// The versions of all that there is.
///
/// # Errors
/// When a part does not tell its version.
pub fn versions(workshop: &Workshop) -> Result<BTreeMap<String, String>> {
    let versions = [
        ("emulator", bochs::version(workshop)?),
        ("QEMU", first_line(Command::new(QEMU).arg("--version"))?),
        ("KVM host", kvm_host::kernel(workshop)?.package),
        ("guest's Linux", debian::linux(workshop)?.package),
        ("compiler", first_line(Command::new("rustc").arg("--version").current_dir(workshop.root()))?),
    ];
    Ok(versions.into_iter().map(|(name, version)| (name.to_owned(), version)).collect())
}

fn first_line(command: &mut Command) -> Result<String> {
    let said = steps::output(command)?;
    Ok(said.lines().next().context("a program does not tell its version")?.to_owned())
}
