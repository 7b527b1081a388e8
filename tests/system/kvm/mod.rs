// SPDX-License-Identifier: MIT OR Apache-2.0
//! The leg `kvm`: Satori on Hyper-V's interface as KVM and QEMU have it, with all of it, with each enlightenment switched
//! off in turn, and with none. One KVM host runs all rounds.

mod crash;
mod enlightenments;
mod linux;
mod rounds;
mod shown;
mod three_machines;
mod transitions;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use ci::bundle::Manifest;
use ci::bundle::VirtualMachine;
use ci::cargo;
use ci::image::Bundle;
use ci::lab::KvmHost;
use ci::lab::Launch;

use crate::Lab;
use crate::report::Report;

/// For all that one QEMU runs, on the KVM host's clock.
const TIME_LIMIT: Duration = Duration::from_secs(3000);

/// What there is for the KVM host to run, while it is gathered in a folder.
struct Payload<'a> {
    lab: &'a Lab,
    folder: &'a Path,
    memory_mib: u32,
}

impl Payload<'_> {
    /// Adds a bundle of machines that run in turn, and gives how to run it.
    fn add(&mut self, name: &str, machines: Vec<VirtualMachine>) -> Result<Launch> {
        self.add_manifest(name, Manifest::in_turn(machines))
    }

    /// Adds a bundle, and gives how to run it.
    fn add_manifest(&mut self, name: &str, manifest: Manifest) -> Result<Launch> {
        let image = self.lab.image(Bundle::Of(manifest), "");
        let launch = Launch { time_limit: TIME_LIMIT, ..image.lay_out(self.folder, name)? };
        self.memory_mib = self.memory_mib.max(launch.memory_mib);
        Ok(launch)
    }

    /// Adds Satori built to measure its own share of exits, and gives the file's name.
    fn add_measuring_satori(&self) -> Result<String> {
        const NAME: &str = "satori-that-measures";
        fs::copy(cargo::build_measuring_satori(&self.lab.workshop)?, self.folder.join(NAME))?;
        Ok(NAME.into())
    }
}

/// Runs the tests.
///
/// # Errors
/// When the KVM host cannot be had, or on an interrupt.
pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut payload = Payload { lab, folder: folder.path(), memory_mib: 0 };
    let rounds = rounds::prepare(&mut payload, report)?;
    let transitions = transitions::prepare(&mut payload, report)?;
    let crash = crash::prepare(&mut payload, report)?;
    let linux = linux::prepare(&mut payload, report)?;
    let three_machines = three_machines::prepare(&mut payload, report)?;
    if payload.memory_mib == 0 {
        return Ok(());
    }
    let mut host = KvmHost::boot(&lab.workshop, folder.path(), payload.memory_mib)?;
    transitions.iter().try_for_each(|launch| transitions::run(launch, &mut host, report))?;
    crash.iter().try_for_each(|launch| crash::run(launch, &mut host, report))?;
    rounds.iter().try_for_each(|round| round.run(&mut host, report))?;
    linux.iter().try_for_each(|launch| linux::run(launch, &mut host, report))?;
    three_machines.iter().try_for_each(|launch| three_machines::run(launch, &mut host, report))
}
