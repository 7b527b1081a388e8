// SPDX-License-Identifier: MIT OR Apache-2.0
//! The settings on a KVM host: programs as guests of KVM itself, of Satori on KVM, and of KVM on KVM.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::Result;

use crate::bench::figures::Figure;
use crate::bench::figures::Setting;
use crate::bench::measure::Parts;
use crate::bench::measure::filter::Filter;
use crate::bench::measure::keeping_files;
use crate::bench::measure::lines;
use crate::bench::measure::linux;
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
use crate::lab::Run;
use crate::progress::Step;

/// An exit takes a hundred times as long as without KVM below Satori, and programs have limits in time.
const TIME_FACTOR: u32 = 10;

/// For all that one QEMU runs, on the KVM host's clock.
pub const TIME_LIMIT: Duration = Duration::from_secs(3000);

/// Until the next line, on this machine's clock. A KVM host on a KVM host says nothing until it has booted.
const LONGEST_SILENCE: Duration = Duration::from_secs(900);

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

/// Follows a run to its end, and makes figures of what it tells.
pub type Follow = Box<dyn Fn(&mut Run<'_>) -> Result<Vec<Figure>>>;

/// What one run of QEMU measures.
pub struct Measurement {
    /// What is run, and where, for people.
    pub name: String,
    /// How.
    pub launch: Launch,
    /// What it tells.
    pub follow: Follow,
}

/// What programs tell on a KVM host with so many CPUs, in all settings that `filter` wants.
///
/// # Errors
/// When one of them fails, or nothing comes from it.
pub fn measure(parts: &Parts<'_>, filter: Filter<'_>, cpus: u32) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir_in(parts.workshop.target())?;
    let payload = Payload { parts, folder: folder.path() };
    let mut measurements = plain(&payload, &programs::wanted(filter, Setting::Kvm, cpus))?;
    measurements.extend(satori(&payload, filter, cpus)?);
    measurements.extend(peer::measurements(&payload, filter, cpus)?);
    if cpus == 1 {
        measurements.extend(linux::measurements(&payload, filter)?);
    }
    let Some(memory_mib) = measurements.iter().map(|measurement| measurement.launch.memory_mib).max() else {
        return Ok(Vec::new());
    };
    let mut host = KvmHost::boot_emulated(parts.workshop, folder.path(), memory_mib, cpus)?;
    let mut figures = Vec::new();
    for Measurement { name, launch, follow } in &measurements {
        if parts.given_up.load(Relaxed) {
            break;
        }
        let step = Step::start(format!("measuring {name}"));
        match run(&mut host, launch, follow) {
            Ok(more) => figures.extend(more),
            failed => return keeping_files(failed, name, || host.keep_files()),
        }
        step.done();
    }
    Ok(figures)
}

fn run(host: &mut KvmHost, launch: &Launch, follow: &Follow) -> Result<Vec<Figure>> {
    follow(&mut host.run(launch)?)
}

/// The programs as guests of the KVM host, each in a QEMU of its own.
fn plain(payload: &Payload<'_>, benches: &[Bench]) -> Result<Vec<Measurement>> {
    let measurement = |bench: &Bench| {
        let (names, setting, cpus) = (vec![bench.name], Setting::Kvm, bench.cpus);
        let name = title(setting, cpus, &names);
        let launch = payload.plain(bench, WORDS)?;
        let follow = Box::new(move |run: &mut Run<'_>| lines::figures(&lines(run)?, &names, setting, cpus));
        Ok(Measurement { name, launch, follow })
    };
    benches.iter().map(measurement).collect()
}

/// The programs as guests of Satori's, one after the other.
fn satori(payload: &Payload<'_>, filter: Filter<'_>, cpus: u32) -> Result<Vec<Measurement>> {
    let mut measurements = Vec::new();
    for Nested { setting, hyperv, benches } in
        nested([Setting::SatoriOnKvm, Setting::SatoriOnKvmWithoutEvmcs], filter, cpus)
    {
        let names = programs::names(&benches);
        let machine =
            |bench: &Bench| bench.machine(&payload.parts.guests, Some("kvm-below=1 marks=1"), TIME_FACTOR);
        let machines = benches.iter().map(machine).collect::<Result<Vec<_>>>()?;
        let image = Image {
            satori: payload.parts.satori.clone(),
            command_line: "when-done=power-off".into(),
            bundle: Bundle::Of(Manifest::in_turn(machines)),
        };
        let launch = image.lay_out(payload.folder, &format!("{setting}.tar"))?;
        measurements.push(Measurement {
            name: title(setting, cpus, &names),
            launch: Launch { hyperv, time_limit: TIME_LIMIT, ..launch },
            follow: Box::new(move |run| lines::figures(&lines(run)?, &names, setting, cpus)),
        });
    }
    Ok(measurements)
}

/// What is to be run in a setting with another level in between.
pub struct Nested {
    /// The setting.
    pub setting: Setting,
    /// What that level finds of Hyper-V's interface.
    pub hyperv: HyperV,
    /// The programs.
    pub benches: Vec<Bench>,
}

/// What `filter` wants of two settings, of which the first has enlightened VMCSs, and the second has not.
pub fn nested(settings: [Setting; 2], filter: Filter<'_>, cpus: u32) -> impl Iterator<Item = Nested> {
    let hypervs = [HyperV::default(), HyperV::without_enlightened_vmcs()];
    let of = move |(setting, hyperv)| {
        let benches = programs::wanted(filter, setting, cpus);
        Nested { setting, hyperv, benches }
    };
    settings.into_iter().zip(hypervs).map(of).filter(|nested| !nested.benches.is_empty())
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
            cpus: program.vcpus,
            memory_mib: program.memory_mib,
            more: DEVICES.map(str::to_owned).to_vec(),
            time_limit: TIME_LIMIT,
        })
    }
}

/// What a measurement is called, for people.
pub fn title(setting: Setting, cpus: u32, programs: &[&str]) -> String {
    format!("{setting} on {cpus} CPU(s): {}", programs.join(", "))
}

/// All lines of a run that ends with its machine's power-off.
pub fn lines(run: &mut Run<'_>) -> Result<Vec<String>> {
    let lines = lines::to_the_end(run, LONGEST_SILENCE)?;
    run.wait_for_power_off(Duration::ZERO)?;
    Ok(lines)
}
