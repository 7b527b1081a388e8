// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system tests: Satori in the emulator, with guest programs and with Linux.
//!
//! They print what Rust's own harness prints with one thread, so that `cargo x test` reads both alike. Arguments select
//! tests by parts of their names; `--leg=kvm` selects that leg instead of the leg `bare`; other options are those of the
//! other harness and mean nothing here.

mod bad_input;
mod console;
mod cpus;
mod flushes;
mod footprint;
mod guests;
mod kvm;
mod life;
mod lines;
mod linux;
mod packets;
mod report;
mod three_machines;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use ci::bundle::Manifest;
use ci::bundle::VirtualMachine;
use ci::cargo;
use ci::image::Bundle;
use ci::image::Image;
use ci::interrupt::Interrupted;
use ci::lab::Console;
use ci::lab::Machine;
use ci::lab::Processor;
use ci::lab::Session;
use ci::setup;
use ci::workshop::Workshop;

use report::Report;

/// Exit status when not all tests came to run; that of failed tests is 1.
const BROKE_OFF: u8 = 2;

fn main() -> ExitCode {
    let mut report =
        Report::of_tests_named(std::env::args().skip(1).filter(|argument| !argument.starts_with('-')));
    match run(&mut report) {
        Ok(()) => report.finish(),
        Err(error) => {
            eprintln!("the system tests broke off: {error:#}");
            ExitCode::from(BROKE_OFF)
        }
    }
}

fn run(report: &mut Report) -> Result<()> {
    let workshop = Workshop::open()?;
    setup::everything(&workshop)?;
    let lab = Lab { satori: cargo::build_satori(&workshop)?, workshop };
    report.begin();
    if std::env::args().any(|argument| argument == "--leg=kvm") {
        return kvm::run(&lab, report);
    }
    cpus::run(&lab, report)?;
    guests::run(&lab, report)?;
    linux::run(&lab, report)?;
    three_machines::run(&lab, report)?;
    bad_input::run(&lab, report)?;
    life::run(&lab, report)?;
    packets::run(&lab, report)?;
    console::run(&lab, report)?;
    footprint::run(&lab, report)
}

/// For firmware, GRUB and Satori's first words, on this machine's clock.
const TIME_TO_START: Duration = Duration::from_secs(120);

/// A bundle may ask for more memory than any machine has.
const LARGEST_MACHINE_MIB: u32 = 1536;

/// The CPUs of a machine.
#[derive(Clone, Copy, Debug)]
struct Hardware {
    processor: Processor,
    cpus: u32,
    /// Words for Satori's command line.
    words: &'static str,
}

impl Default for Hardware {
    fn default() -> Self {
        Self { processor: Processor::default(), cpus: 1, words: "" }
    }
}

/// What every test boots.
struct Lab {
    workshop: Workshop,
    satori: PathBuf,
}

impl Lab {
    /// Satori with `bundle`, and these words beside its usual ones.
    fn image(&self, bundle: Bundle, words: &str) -> Image {
        Image { satori: self.satori.clone(), command_line: format!("when-done=power-off {words}"), bundle }
    }

    /// Boots Satori with `bundle`, as far as its first words.
    fn boot(&self, bundle: Bundle, hardware: Hardware) -> Result<Session> {
        let folder = tempfile::tempdir()?;
        let iso = folder.path().join("satori.iso");
        let image = self.image(bundle, hardware.words);
        image.write(&self.workshop, &iso)?;
        let memory_mib = image.machine_memory_mib()?.min(LARGEST_MACHINE_MIB);
        let Hardware { processor, cpus, .. } = hardware;
        let machine = Machine { iso, processor, cpus, memory_mib };
        let mut session = machine.boot(&self.workshop)?;
        // The emulator has opened the CD once Satori speaks; then its file may go.
        session.expect("INFO  Satori", TIME_TO_START)?;
        Ok(session)
    }

    /// Boots Satori with `machines` in turn, on a machine with so many CPUs.
    fn boot_machines(&self, machines: Vec<VirtualMachine>, cpus: u32) -> Result<Session> {
        self.boot(Bundle::Of(Manifest::in_turn(machines)), Hardware { cpus, ..Hardware::default() })
    }
}

/// Runs the test `name`, if it was asked for. Only an interrupt ends more than this test.
fn test(report: &mut Report, name: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    if !report.wants(name) {
        return Ok(());
    }
    match run() {
        Ok(()) => report.passed(name),
        Err(error) if error.is::<Interrupted>() => return Err(error),
        Err(error) => report.failed(name, format!("{error:#}")),
    }
    Ok(())
}
