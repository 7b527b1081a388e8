// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's whole file system: busybox, drivers, and a first process that ends in a shell on the console.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;

use crate::setup::archive::Archive;
use crate::setup::debian;
use crate::workshop::Workshop;

/// What the shell prints when it waits for a command. A marker for whoever drives it, too.
pub const PROMPT: &str = "linux on satori # ";

/// The first process. Of the kernel's command line it gets what the kernel does not know: `run="COMMAND"` is run before
/// the shell. `acpid` powers off when the power button is pressed. `cttyhack` makes the console the shell's controlling
/// terminal, so that Ctrl-C reaches what runs in it.
fn init() -> String {
    format!(
        r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
export HOME=/ TERM=linux PS1='{PROMPT}'
for module in /modules/*; do insmod $module; done
acpid -c /power-button -l /dev/null -p /tmp/acpid.pid
echo
echo "Linux $(uname -r) on Satori, $(nproc) CPU, $(awk '/MemTotal/ {{ print int($2 / 1024) }}' /proc/meminfo) MiB."
echo "This is busybox' shell; exit powers the machine off."
echo
cd /
$run
setsid cttyhack sh
poweroff -f
"#
    )
}

/// What `acpid` runs when the power button is pressed, by the name by which it looks for it.
const POWER_BUTTON: &str = "power-button/PWRF/00000080";
const POWER_OFF: &str = "#!/bin/sh\npoweroff -f\n";

/// An archive (cpio, "newc") that Linux unpacks into its first file system, with `programs` (their names and contents)
/// in /bin beside busybox.
///
/// # Errors
/// When busybox cannot be had.
pub fn build(workshop: &Workshop, programs: &[(&str, Vec<u8>)]) -> Result<Vec<u8>> {
    let busybox = debian::busybox(workshop)?;
    let modules = debian::linux(workshop)?.modules;
    archive(&busybox, &modules, programs).context("cannot make the guest's file system")
}

fn archive(busybox: &Path, modules: &[PathBuf], programs: &[(&str, Vec<u8>)]) -> Result<Vec<u8>> {
    let read = |file: &Path| fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    let mut archive = Archive::default();
    archive.folders(&["bin", "dev", "modules", "power-button", "power-button/PWRF", "proc", "sys", "tmp"])?;
    archive.console()?;
    archive.program("bin/busybox", &read(busybox)?)?;
    for module in modules {
        let name = module.file_name().unwrap_or_default().display();
        archive.file(&format!("modules/{name}"), &read(module)?)?;
    }
    archive.program(POWER_BUTTON, POWER_OFF.as_bytes())?;
    for (name, content) in programs {
        archive.program(&format!("bin/{name}"), content)?;
    }
    archive.program("init", init().as_bytes())?;
    archive.finish()
}
