// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Rust targets that Satori, its test guests and their programs are built for.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;

use crate::progress::Step;
use crate::steps;
use crate::workshop::Workshop;

/// What Satori itself and the guest programs are built for: no operating system, no firmware.
pub const BARE_METAL: &str = "x86_64-unknown-none";

/// What programs for a guest's Linux are built for: linked statically, so that they need no file but their own.
pub const LINUX: &str = "x86_64-unknown-linux-musl";

const TARGETS: [&str; 3] = [BARE_METAL, LINUX, "x86_64-unknown-uefi"];

/// Adds the targets that the toolchain lacks.
///
/// # Errors
/// When one is missing and rustup cannot add it.
pub fn bring(workshop: &Workshop) -> Result<()> {
    let sysroot = steps::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let libraries = Path::new(sysroot.trim()).join("lib/rustlib");
    let missing: Vec<&str> =
        TARGETS.into_iter().filter(|target| !libraries.join(target).join("lib").is_dir()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let step = Step::start(format!("adding the Rust targets {}", missing.join(", ")));
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add"]).args(&missing);
    steps::run(&workshop.interrupt, &step, &mut rustup, &workshop.cache.log("rust-targets")).with_context(
        || format!("the toolchain {} lacks {}; add them to it", sysroot.trim(), missing.join(", ")),
    )?;
    step.done();
    Ok(())
}
