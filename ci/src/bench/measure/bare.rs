// SPDX-License-Identifier: MIT OR Apache-2.0
//! The setting `satori`: Satori on the emulated machine itself.

use std::time::Duration;

use anyhow::Result;

use crate::bench::figures::Figure;
use crate::bench::figures::Setting;
use crate::bench::measure::Parts;
use crate::bench::measure::keeping_files;
use crate::bench::measure::lines;
use crate::bench::measure::programs;
use crate::bench::measure::programs::Bench;
use crate::bundle::Manifest;
use crate::bundle::VirtualMachine;
use crate::image::Bundle;
use crate::image::Image;
use crate::lab::Console;
use crate::lab::Machine;
use crate::lab::Processor;
use crate::lab::Session;
use crate::progress::Step;

/// Until the next line, on this machine's clock.
const LONGEST_SILENCE: Duration = Duration::from_secs(120);

/// How long the machine may take to power off after its last VM.
const TIME_TO_POWER_OFF: Duration = Duration::from_secs(30);

/// What these programs tell of Satori, on a machine with so many CPUs, in one boot.
///
/// # Errors
/// When one of them fails, or nothing comes from it.
pub fn satori(parts: &Parts<'_>, benches: &[Bench], cpus: u32) -> Result<Vec<Figure>> {
    let machine = |bench: &Bench| bench.machine(&parts.guests, None, 1);
    let machines = benches.iter().map(machine).collect::<Result<Vec<VirtualMachine>>>()?;
    let image = Image {
        satori: parts.satori.clone(),
        command_line: "when-done=power-off".into(),
        bundle: Bundle::Of(Manifest::in_turn(machines)),
    };
    let folder = tempfile::tempdir_in(parts.workshop.target())?;
    let iso = folder.path().join("satori.iso");
    image.write(parts.workshop, &iso)?;
    let memory_mib = image.machine_memory_mib()?;
    let machine = Machine { iso, processor: Processor::default(), cpus, memory_mib };
    let names = programs::names(benches);
    let step = Step::start(format!("measuring {} on {cpus} CPU(s): {}", Setting::Satori, names.join(", ")));
    let mut session = machine.boot(parts.workshop)?;
    let figures = follow(&mut session, &names, cpus);
    let figures = keeping_files(figures, Setting::Satori.name(), || session.keep_files())?;
    step.done();
    Ok(figures)
}

fn follow(session: &mut Session, names: &[&str], cpus: u32) -> Result<Vec<Figure>> {
    let lines = lines::to_the_end(session, LONGEST_SILENCE)?;
    session.wait_for_power_off(TIME_TO_POWER_OFF)?;
    lines::figures(&lines, names, Setting::Satori, cpus)
}
