// SPDX-License-Identifier: MIT OR Apache-2.0
//! Building with cargo, and asking it what it built.

use std::env;
use std::io::BufRead;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde::Deserialize;

use crate::fuzz;
use crate::setup::rust_targets;
use crate::setup::rust_targets::BARE_METAL;
use crate::setup::rust_targets::LINUX;
use crate::workshop::Workshop;

/// What fuzz targets are built for. It is named, so that what runs while they are built is not instrumented.
const HOST: &str = "x86_64-unknown-linux-gnu";

/// LLVM's instrumentation for libFuzzer, which stable Rust has, too. There is no AddressSanitizer, for which it would
/// take nightly Rust: what is fuzzed is safe Rust, which panics where it goes wrong.
const INSTRUMENTATION: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];

/// A program that cargo built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// The folder of its crate.
    pub crate_folder: PathBuf,
    /// The name of the binary, test or library that it was built from.
    pub name: String,
    /// The program.
    pub file: PathBuf,
    /// Whether it runs tests. Building a test of a crate builds the crate's binaries, too.
    pub is_test: bool,
}

/// The part that concerns us of a line that cargo prints with `--message-format=json`.
#[derive(Deserialize)]
struct Message {
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds the hypervisor's image and says where it is.
///
/// # Errors
/// When it does not build, which cargo explains on standard error.
pub fn build_satori(workshop: &Workshop) -> Result<PathBuf> {
    build_boot(workshop, &[])
}

/// Builds the hypervisor's image with the feature by which it tells its own share of what exits cost.
///
/// # Errors
/// As [`build_satori`].
pub fn build_measuring_satori(workshop: &Workshop) -> Result<PathBuf> {
    // Beside the other, not over it.
    let folder = workshop.target().join("measure");
    build_boot(workshop, &["--features", "measure", "--target-dir", &folder.display().to_string()])
}

fn build_boot(workshop: &Workshop, how: &[&str]) -> Result<PathBuf> {
    rust_targets::bring(workshop)?;
    let arguments = [&["build", "--package", "boot", "--release", "--target", BARE_METAL], how].concat();
    let image = executables(workshop, &arguments)?.into_iter().find(|program| program.name == "satori");
    Ok(image.context("the crate `boot` has no binary called `satori`")?.file)
}

/// Builds the guest programs of the crate `tests`.
///
/// # Errors
/// When they do not build, which cargo explains on standard error.
pub fn build_guests(workshop: &Workshop) -> Result<Vec<Executable>> {
    rust_targets::bring(workshop)?;
    executables(workshop, &["build", "--package", "tests", "--bins", "--release", "--target", BARE_METAL])
}

/// Builds the program that keeps a guest's Linux busy and checks what came of it.
///
/// # Errors
/// When it does not build, which cargo explains on standard error.
pub fn build_workload(workshop: &Workshop) -> Result<PathBuf> {
    build_for_linux(workshop, "workload")
}

/// Builds the agent that runs QEMU in the KVM host.
///
/// # Errors
/// When it does not build, which cargo explains on standard error.
pub fn build_agent(workshop: &Workshop) -> Result<PathBuf> {
    build_for_linux(workshop, "agent")
}

/// Builds the fuzz targets, with all that they depend on, beside everything else.
///
/// # Errors
/// When they do not build, which cargo explains on standard error.
pub fn build_fuzz_targets(workshop: &Workshop) -> Result<Vec<Executable>> {
    let mut command = command();
    command.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", INSTRUMENTATION.join(" "));
    let manifest = workshop.root().join(fuzz::FOLDER).join("Cargo.toml");
    let folder = workshop.target().join("fuzz");
    let [manifest, folder] = [manifest, folder].map(|path| path.display().to_string());
    let from_to = ["--manifest-path", &manifest, "--target-dir", &folder, "--target", HOST];
    built_by(workshop, command, &[&["build", "--locked", "--bins", "--release"], &from_to[..]].concat())
}

fn build_for_linux(workshop: &Workshop, name: &str) -> Result<PathBuf> {
    rust_targets::bring(workshop)?;
    let built = executables(workshop, &["build", "--package", name, "--release", "--target", LINUX])?;
    let program = built.into_iter().find(|program| program.name == name);
    Ok(program.with_context(|| format!("the crate `{name}` has no binary of its name"))?.file)
}

/// Runs cargo with `arguments`, which build something, and gives the programs among what was built.
///
/// # Errors
/// When cargo fails, which it explains on standard error, or was interrupted.
pub fn executables(workshop: &Workshop, arguments: &[&str]) -> Result<Vec<Executable>> {
    built_by(workshop, command(), arguments)
}

fn built_by(workshop: &Workshop, mut command: Command, arguments: &[&str]) -> Result<Vec<Executable>> {
    command.args(arguments).arg("--message-format=json-render-diagnostics");
    command.current_dir(workshop.root()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = workshop.interrupt.spawn(&mut command)?;
    let messages = running.child().stdout.take().context("cargo has no standard output")?;
    let mut built = Vec::new();
    for line in BufReader::new(messages).lines() {
        built.extend(executable(&line?)?);
    }
    let status = running.wait()?;
    ensure!(status.success(), "cargo {} failed", arguments.join(" "));
    Ok(built)
}

/// The cargo that runs us, or the one on the path.
#[must_use]
pub fn command() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn executable(line: &str) -> Result<Option<Executable>> {
    if !line.starts_with('{') {
        return Ok(None);
    }
    let message: Message = serde_json::from_str(line).with_context(|| format!("cargo said {line}"))?;
    let (Some(manifest), Some(target), Some(file)) =
        (message.manifest_path, message.target, message.executable)
    else {
        return Ok(None);
    };
    let crate_folder = manifest.parent().map(PathBuf::from).unwrap_or_default();
    let is_test = message.profile.is_some_and(|profile| profile.test);
    Ok(Some(Executable { crate_folder, name: target.name, file, is_test }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_are_taken_from_what_cargo_says() {
        let program = r#"{"reason":"compiler-artifact","manifest_path":"/w/boot/Cargo.toml",
            "target":{"kind":["bin"],"name":"satori"},"profile":{"test":false},"executable":"/w/target/satori"}"#;
        let expected = Executable {
            crate_folder: "/w/boot".into(),
            name: "satori".into(),
            file: "/w/target/satori".into(),
            is_test: false,
        };
        assert_eq!(executable(program).unwrap(), Some(expected));
        let library = r#"{"reason":"compiler-artifact","manifest_path":"/w/log/Cargo.toml",
            "target":{"kind":["lib"],"name":"log"},"executable":null}"#;
        assert_eq!(executable(library).unwrap(), None);
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#).unwrap(), None);
        assert_eq!(executable("a line that a build script printed").unwrap(), None);
    }
}
