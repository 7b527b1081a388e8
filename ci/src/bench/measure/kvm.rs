// SPDX-License-Identifier: MIT OR Apache-2.0
//! The settings on a KVM host: programs as guests of KVM itself, of Satori on KVM, and of KVM on KVM.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;

use crate::bench::figures::Figure;
use crate::bench::figures::Setting;
use crate::bench::measure::Parts;
use crate::bench::measure::filter::Filter;
use crate::bench::measure::keeping_files;
use crate::bench::measure::lines;
use crate::bench::measure::peer;
use crate::bench::measure::programs;
use crate::bench::measure::programs::Bench;
use crate::bundle::Manifest;
use crate::image;
use crate::image::Bundle;
use crate::image::Image;
use crate::lab::Console;
use crate::lab::HyperV;
use crate::lab::KvmHost;
use crate::lab::Launch;
use crate::progress::Step;

/// For all that one QEMU runs, on the KVM host's clock.
pub const TIME_LIMIT: Duration = Duration::from_secs(3000);

/// Until the next line, on this machine's clock. A KVM host on a KVM host says nothing until it has booted.
const LONGEST_SILENCE: Duration = Duration::from_secs(600);

/// What programs are told where QEMU boots them. Its CPUID does not tell how fast the TSC ticks.
pub const WORDS: &str = "marks=1 tsc-hz=100000000";

/// As Satori's machines have them: a source of entropy, and a disk that is all zeros; notified by port.
const DEVICES: [&str; 6] = [
    "-device",
    "virtio-rng-pci,disable-legacy=on,modern-pio-notify=on",
    "-drive",
    "driver=null-co,read-zeroes=on,size=1M,if=none,id=zeros",
    "-device",
    "virtio-blk-pci,drive=zeros,disable-legacy=on,modern-pio-notify=on",
];

/// What there is for the KVM host to run, while it is gathered in a folder.
#[derive(Debug)]
pub struct Payload<'a> {
    /// What it is gathered from.
    pub parts: &'a Parts<'a>,
    /// The folder.
    pub folder: &'a Path,
}

/// Makes figures of the lines that came.
pub type Reading = Box<dyn Fn(&[String]) -> Result<Vec<Figure>>>;

/// One run of QEMU.
pub struct Run {
    /// What is run, and where, for people.
    pub name: String,
    /// How.
    pub launch: Launch,
    /// What it tells.
    pub figures: Reading,
}

/// What programs tell on a KVM host with so many CPUs, in all settings that `filter` wants.
///
/// # Errors
/// When one of them fails, or nothing comes from it.
pub fn measure(parts: &Parts<'_>, filter: Filter<'_>, cpus: u32) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir_in(parts.workshop.target())?;
    let payload = Payload { parts, folder: folder.path() };
    let mut runs = plain(&payload, &programs::wanted(filter, Setting::Kvm, cpus))?;
    runs.extend(satori(&payload, filter, cpus)?);
    runs.extend(peer::runs(&payload, filter, cpus)?);
    let Some(memory_mib) = runs.iter().map(|run| run.launch.memory_mib).max() else {
        return Ok(Vec::new());
    };
    let mut host = KvmHost::boot(parts.workshop, folder.path(), memory_mib, cpus)?;
    let mut figures = Vec::new();
    for run in &runs {
        let step = Step::start(format!("measuring {}", run.name));
        match follow(&mut host, run) {
            Ok(more) => figures.extend(more),
            failed => return keeping_files(failed, &run.name, || host.keep_files()),
        }
        step.done();
    }
    Ok(figures)
}

fn follow(host: &mut KvmHost, run: &Run) -> Result<Vec<Figure>> {
    ensure!(host.is_emulated(), "on this machine's own KVM a tick of the TSC is no instruction");
    let mut console = host.run(&run.launch)?;
    let lines = lines::to_the_end(&mut console, LONGEST_SILENCE)?;
    let figures = (run.figures)(&lines)?;
    // It has ended.
    console.wait_for_power_off(Duration::ZERO)?;
    Ok(figures)
}

/// The programs as guests of the KVM host, each in a QEMU of its own.
fn plain(payload: &Payload<'_>, benches: &[Bench]) -> Result<Vec<Run>> {
    let run = |bench: &Bench| {
        let (name, cpus) = (bench.name, bench.cpus);
        Ok(Run {
            name: format!("kvm: {name}"),
            launch: payload.plain(bench, WORDS)?,
            figures: figures_of(vec![name], Setting::Kvm, cpus),
        })
    };
    benches.iter().map(run).collect()
}

/// The programs as guests of Satori's, one after the other.
fn satori(payload: &Payload<'_>, filter: Filter<'_>, cpus: u32) -> Result<Vec<Run>> {
    let settings = [
        (Setting::SatoriOnKvm, HyperV::default()),
        (Setting::SatoriOnKvmWithoutEvmcs, HyperV::without_enlightened_vmcs()),
    ];
    let mut runs = Vec::new();
    for (setting, hyperv) in settings {
        let benches = programs::wanted(filter, setting, cpus);
        if benches.is_empty() {
            continue;
        }
        let names = programs::names(&benches);
        let machine = |bench: &Bench| bench.machine(&payload.parts.guests, Some("kvm-below=1 marks=1"));
        let machines = benches.iter().map(machine).collect::<Result<Vec<_>>>()?;
        let image = Image {
            satori: payload.parts.satori.clone(),
            command_line: "when-done=power-off".into(),
            bundle: Bundle::Of(Manifest::in_turn(machines)),
        };
        let launch = image.lay_out(payload.folder, &format!("{setting:?}.tar"))?;
        runs.push(Run {
            name: format!("{setting:?}: {}", names.join(", ")),
            launch: Launch { hyperv, time_limit: TIME_LIMIT, ..launch },
            figures: figures_of(names, setting, cpus),
        });
    }
    Ok(runs)
}

impl Payload<'_> {
    /// Adds a program as a kernel of QEMU's, with these words, and says how it is run.
    pub fn plain(&self, bench: &Bench, words: &str) -> Result<Launch> {
        let program = bench.program()?;
        image::copy(self.parts.guests.of(bench.name)?, &self.folder.join(bench.name))?;
        Ok(Launch {
            kernel: bench.name.into(),
            initrd: None,
            command_line: words.into(),
            nests: false,
            hyperv: HyperV::NONE,
            cpus: bench.vcpus()?,
            memory_mib: program.memory_mib,
            more: DEVICES.map(str::to_owned).to_vec(),
            time_limit: TIME_LIMIT,
        })
    }
}

/// Figures of the programs of these names, which ran one after the other.
pub fn figures_of(names: Vec<&'static str>, setting: Setting, cpus: u32) -> Reading {
    Box::new(move |lines| {
        let mut figures = Vec::new();
        for lines in lines::of_each(lines, &names)? {
            figures.extend(lines::figures(lines, setting, cpus)?);
        }
        Ok(figures)
    })
}
