// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's whole file system: busybox and a first process that ends in a shell on the console.

use std::fs;

use anyhow::Context;
use anyhow::Result;

use crate::setup::archive::Archive;
use crate::setup::debian;
use crate::workshop::Workshop;

/// What the shell prints when it waits for a command. A marker for whoever drives it, too.
pub const PROMPT: &str = "linux on satori # ";

/// The first process. `cttyhack` makes the console the shell's controlling terminal, so that Ctrl-C reaches what
/// runs in it.
fn init() -> String {
    format!(
        r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
export HOME=/ TERM=linux PS1='{PROMPT}'
echo
echo "Linux $(uname -r) on Satori, $(nproc) CPU, $(awk '/MemTotal/ {{ print int($2 / 1024) }}' /proc/meminfo) MiB."
echo "This is busybox' shell; exit powers the machine off."
echo
cd /
setsid cttyhack sh
poweroff -f
"#
    )
}

/// An archive (cpio, "newc") that Linux unpacks into its first file system, with `programs` (their names and contents)
/// in /bin beside busybox.
///
/// # Errors
/// When busybox cannot be had.
pub fn build(workshop: &Workshop, programs: &[(&str, Vec<u8>)]) -> Result<Vec<u8>> {
    let busybox = debian::busybox(workshop)?;
    let busybox = fs::read(&busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    archive(&busybox, programs).context("cannot make the guest's file system")
}

fn archive(busybox: &[u8], programs: &[(&str, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.folders(&["bin", "dev", "proc", "sys", "tmp"])?;
    archive.console()?;
    archive.program("bin/busybox", busybox)?;
    for (name, content) in programs {
        archive.program(&format!("bin/{name}"), content)?;
    }
    archive.program("init", init().as_bytes())?;
    archive.finish()
}
