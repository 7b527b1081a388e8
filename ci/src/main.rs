// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo x`: sets up the lab, builds Satori, runs it and tests it.

use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use anyhow::ensure;
use ci::bench;
use ci::bundle::OnReboot;
use ci::cargo;
use ci::check;
use ci::fuzz;
use ci::guest;
use ci::interrupt;
use ci::interrupt::Interrupted;
use ci::run;
use ci::setup;
use ci::stats;
use ci::test;
use ci::workshop::Workshop;
use clap::Parser;
use clap::Subcommand;

/// Builds, runs and tests Satori. Every command first brings what it needs and does not find.
#[derive(Parser)]
#[command(name = "cargo x", bin_name = "cargo x")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring everything that the other commands need.
    ///
    /// Adds Rust targets (rustup), installs Debian packages (apt-get, with sudo where not root), builds the emulator
    /// Bochs from Debian's source, and unpacks a Debian kernel and busybox for the guest, and a newer kernel for the KVM
    /// host. What was built or unpacked is kept in $XDG_CACHE_HOME/satori (or ~/.cache/satori); removing that folder makes
    /// it all be had anew, with the kernels that are newest then. The variable SATORI_BOCHS names another Bochs 3.0 to use
    /// instead of ours.
    Setup,
    /// Build the hypervisor's image.
    Build,
    /// Make a bootable CD with Satori and a guest.
    Image {
        #[command(flatten)]
        guest: guest::GuestOptions,
        /// Where to write it [default: target/satori.iso].
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Say what is wrong with a manifest, as Satori would: a line FILE:LINE: REASON for each mistake.
    ///
    /// The files that it names are looked for beside it. The exit status is 1 when something is wrong.
    Check {
        /// The manifest.
        file: PathBuf,
    },
    /// Run Satori with a guest in the emulator, with this terminal as the guest's console.
    ///
    /// On the leg kvm the emulator runs a Linux with KVM and QEMU, and that Satori; where this machine has KVM with nested
    /// VT-x, QEMU runs here.
    ///
    /// Without options the guest is Debian's Linux with a shell. Every key goes to it, Ctrl-C included; Ctrl-A x quits.
    /// Input that comes from a file or pipe is typed once the shell's prompt is there, and its end ends nothing.
    ///
    /// With --kernel FILE it is any kernel that Satori can load. One that writes a VALUE to port 0xF4 ends the run with the
    /// exit status VALUE * 2 + 1, as with QEMU's isa-debug-exit.
    ///
    /// Else the exit status is 0 when the guest powered off or reset, 1 when it ended otherwise or never started, 124 when
    /// the time was up, 130 when interrupted.
    Run(run::Options),
    /// Show what Satori's console answered to `stats` as a table.
    ///
    /// The file is what the console printed, as `cargo x run | tee FILE` keeps it, with one answer or several: the table is of the
    /// last, with what happened a second since the one before.
    Stats {
        /// What the console printed.
        file: PathBuf,
        /// Also draw exits over time, of all answers, and write the picture there.
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
    /// Run the tests: a line for each as it ends, then what the failed ones printed, then their number.
    ///
    /// The leg `host` is all tests that need no machine; the leg `bare` boots Satori in the emulator, with guest programs
    /// and with Linux; the leg `kvm` does so on Hyper-V's interface, as KVM and QEMU have it. The exit status is 1 when a
    /// test failed, or the filter leaves none.
    Test(test::Options),
    /// Measure what operations, whole guests and memory cost with Satori, with KVM and with nobody below, in instructions.
    Bench(bench::Options),
    /// Give code input that libFuzzer makes up, for a while: a line for each target as it ends.
    ///
    /// An input that made a target panic, or that took too long, is kept under target/fuzz/findings, and how to give it to
    /// the target again is told. What was learned about the code is kept under target/fuzz/corpus, for the next run. The exit
    /// status is 1 when anything was found.
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    match execute(Arguments::parse().command) {
        Ok(status) => ExitCode::from(status),
        Err(error) if error.is::<Interrupted>() => {
            eprintln!("satori: {Interrupted}");
            ExitCode::from(interrupt::EXIT_STATUS)
        }
        Err(error) => {
            eprintln!("satori: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<u8> {
    let workshop = Workshop::open()?;
    match command {
        Command::Setup => setup::everything(&workshop)?,
        Command::Build => println!("{}", cargo::build_satori(&workshop)?.display()),
        Command::Image { guest, output } => {
            guest.check()?;
            if let Some(output) = &output {
                check_output(output)?;
            }
            let folder = tempfile::tempdir()?;
            let output = output.unwrap_or_else(|| workshop.target().join("satori.iso"));
            guest::image(&workshop, &guest, 1, OnReboot::Restart, &folder)?.write(&workshop, &output)?;
            println!("{}", output.display());
        }
        Command::Check { file } => {
            let mistakes = check::check(&file)?;
            print!("{mistakes}");
            return Ok(u8::from(!mistakes.is_empty()));
        }
        Command::Stats { file, svg } => println!("{}", stats::stats(&file, svg.as_deref())?),
        Command::Run(options) => return run::run(&workshop, &options),
        Command::Bench(options) => return Ok(u8::from(!bench::bench(&workshop, &options)?)),
        Command::Fuzz(options) => return Ok(u8::from(!fuzz::fuzz(&workshop, &options)?)),
        Command::Test(options) => return Ok(u8::from(!test::test(&workshop, &options)?)),
    }
    Ok(0)
}

/// Refuses a file that could not be written, before anything is built for it.
fn check_output(file: &Path) -> Result<()> {
    let folder = std::path::absolute(file)?.parent().map(Path::to_path_buf).unwrap_or_default();
    ensure!(folder.is_dir(), "cannot write {}: {} is no folder", file.display(), folder.display());
    ensure!(!file.is_dir(), "cannot write {}: it is a folder", file.display());
    Ok(())
}
