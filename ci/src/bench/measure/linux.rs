// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole guests: Debian's Linux from the loader to its first process, and what that does then, in every setting with one and the same
//! image (`start_linux`), kernel, file system and command line.

mod told;

use std::fs;
use std::path::Path;

use agent::protocol::Counters;
use anyhow::Context;
use anyhow::Result;

use crate::bench::figures::Figure;
use crate::bench::figures::Setting;
use crate::bench::measure::Parts;
use crate::bench::measure::filter::Filter;
use crate::bench::measure::keeping_files;
use crate::bench::measure::kvm;
use crate::bench::measure::kvm::Measurement;
use crate::bench::measure::kvm::Payload;
use crate::bundle::Manifest;
use crate::bundle::Module;
use crate::bundle::VirtualMachine;
use crate::cargo;
use crate::image;
use crate::image::Bundle;
use crate::image::Grub;
use crate::image::Image;
use crate::lab::Console;
use crate::lab::HyperV;
use crate::lab::Launch;
use crate::lab::Machine;
use crate::lab::Processor;
use crate::lab::Run;
use crate::progress::Step;
use crate::setup::archive::Archive;
use crate::setup::debian;
use crate::workshop::Workshop;
use told::NAME;
use told::Told;

/// Memory of the machine that Linux has, in MiB: Linux looks at all of it when it boots.
const MEMORY_MIB: u32 = 256;

/// No ciphers are tried, which is half of a boot; only what matters is printed, for each character costs something else in each
/// setting; nothing against speculation, which the emulator has not; and processes with the same addresses in each run, as the kernel
/// has them that is not compressed; no string instructions, of which the emulator counts each repetition, and which a kernel takes or not
/// for what it is told of the processor. What comes behind `--` goes to the first process, and `start_linux` adds a word.
const COMMAND_LINE: &str = "console=ttyS0 panic=-1 cryptomgr.notests loglevel=5 tsc=reliable \
    mitigations=off norandmaps clearcpuid=erms,rep_good -- bench marks=1";

/// What is measured.
const ALL: [&str; 6] = ["to_guest", "linux_boot", "linux_cpu", "linux_memory", "linux_syscall", "linux_fork"];

/// Names of files, on a CD and among what a KVM host has to run.
const START_LINUX: &str = "start_linux";
const KERNEL: &str = "linux.vmlinux";
const FILES: &str = "linux.files";
const BUNDLE: &str = "linux.tar";

/// Whether anything of it is asked for in this setting.
pub fn is_wanted(filter: Filter<'_>, setting: Setting) -> bool {
    filter.wants_any(setting, &ALL)
}

/// Measures Linux that has the emulated machine to itself.
///
/// # Errors
/// When something cannot be had or built, or a run does not end with all figures.
pub fn on_metal(parts: &Parts<'_>) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir_in(parts.workshop.target())?;
    let iso = folder.path().join("linux.iso");
    let configuration = grub_configuration();
    let grub = Grub { modules: "multiboot serial terminfo terminal", configuration: &configuration };
    image::write_cd(parts.workshop, &iso, grub, |boot| lay_out(parts, boot))?;
    let machine = Machine { iso, processor: Processor::default(), cpus: 1, memory_mib: MEMORY_MIB };
    follow(parts, &machine, Setting::Metal)
}

/// Measures Linux in Satori on the emulated machine.
///
/// # Errors
/// As [`on_metal`].
pub fn in_satori(parts: &Parts<'_>) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir_in(parts.workshop.target())?;
    let iso = folder.path().join("satori.iso");
    let image = image(parts, folder.path())?;
    image.write(parts.workshop, &iso)?;
    let memory_mib = image.machine_memory_mib()?;
    follow(parts, &Machine { iso, processor: Processor::default(), cpus: 1, memory_mib }, Setting::Satori)
}

fn follow(parts: &Parts<'_>, machine: &Machine, setting: Setting) -> Result<Vec<Figure>> {
    let name = kvm::title(setting, machine.cpus, &[NAME]);
    let step = Step::start(format!("measuring {name}"));
    let mut session = machine.boot(parts.workshop)?;
    let figures = keeping_files(read(&mut session, setting), &name, || session.keep_files())?;
    step.done();
    Ok(figures)
}

/// Measures it on a KVM host: with KVM itself, and in Satori.
///
/// # Errors
/// When something cannot be had or built.
pub fn measurements(payload: &Payload<'_>, filter: Filter<'_>) -> Result<Vec<Measurement>> {
    let mut measurements = Vec::new();
    let Payload { parts, folder } = *payload;
    if is_wanted(filter, Setting::Kvm) {
        lay_out(parts, folder)?;
        measurements.push(Measurement {
            name: kvm::title(Setting::Kvm, 1, &[NAME]),
            launch: launch(),
            follow: Box::new(read_on_kvm),
        });
    }
    if is_wanted(filter, Setting::SatoriOnKvm) {
        let files = tempfile::tempdir_in(parts.workshop.target())?;
        let launch = image(parts, files.path())?.lay_out(folder, BUNDLE)?;
        measurements.push(Measurement {
            name: kvm::title(Setting::SatoriOnKvm, 1, &[NAME]),
            launch: Launch { time_limit: kvm::TIME_LIMIT, ..launch },
            follow: Box::new(|run| read(run, Setting::SatoriOnKvm)),
        });
    }
    Ok(measurements)
}

/// How KVM and QEMU run a Linux of their own.
fn launch() -> Launch {
    Launch {
        kernel: START_LINUX.into(),
        initrd: Some(format!("{KERNEL},{FILES}")),
        command_line: COMMAND_LINE.into(),
        nests: false,
        hyperv: HyperV::NONE,
        cpus: 1,
        memory_mib: MEMORY_MIB,
        more: Vec::new(),
        time_limit: kvm::TIME_LIMIT,
    }
}

/// Reads the figures of a run in the setting `kvm`: what was told, and how long it took from the start of QEMU.
fn read_on_kvm(run: &mut Run<'_>) -> Result<Vec<Figure>> {
    let told = Told::read(run, Setting::Kvm)?;
    let counters = run.end().map(|end| end.counters.clone()).unwrap_or_default();
    let to_guest = counters
        .get(Counters::TSC_ZERO_AT)
        .wrapping_add(told.first_tsc)
        .wrapping_sub(counters.get(Counters::STARTED_AT));
    told.figures(Setting::Kvm, (counters.get(Counters::TSC_ZERO_AT) != 0).then_some(to_guest))
}

/// Reads the figures of a run in any other setting.
fn read(console: &mut impl Console, setting: Setting) -> Result<Vec<Figure>> {
    let told = Told::read(console, setting)?;
    let to_guest = told.since_satoris_start();
    told.figures(setting, to_guest)
}

/// GRUB leaves the program's name out of its command line, which comes first there with other loaders.
fn grub_configuration() -> String {
    format!(
        "serial --unit=0 --speed=115200
terminfo serial dumb
terminal_output console serial
multiboot /boot/{START_LINUX} {START_LINUX} {COMMAND_LINE}
module /boot/{KERNEL}
module /boot/{FILES}
boot
"
    )
}

/// Satori with the Linux. What has to be made for it goes to `folder`.
fn image(parts: &Parts<'_>, folder: &Path) -> Result<Image> {
    lay_out(parts, folder)?;
    let module = |name| Module { file: folder.join(name), command_line: String::new() };
    let machine = VirtualMachine {
        command_line: Some(COMMAND_LINE.into()),
        modules: vec![module(KERNEL), module(FILES)],
        ..VirtualMachine::new(NAME, MEMORY_MIB, folder.join(START_LINUX))
    };
    Ok(Image {
        satori: parts.satori.clone(),
        command_line: "when-done=power-off".into(),
        bundle: Bundle::Of(Manifest::in_turn(vec![machine])),
    })
}

/// Puts the program that starts Linux into a folder, the kernel, and its first file system.
fn lay_out(parts: &Parts<'_>, folder: &Path) -> Result<()> {
    image::copy(parts.guests.of(START_LINUX)?, &folder.join(START_LINUX))?;
    image::copy(&debian::linux(parts.workshop)?.vmlinux, &folder.join(KERNEL))?;
    Ok(fs::write(folder.join(FILES), file_system(parts.workshop)?)?)
}

/// With nothing in it but a first process, the workload.
fn file_system(workshop: &Workshop) -> Result<Vec<u8>> {
    let workload = cargo::build_workload(workshop)?;
    let workload = fs::read(&workload).with_context(|| format!("cannot read {}", workload.display()))?;
    let mut archive = Archive::default();
    archive.folders(&["dev"])?;
    archive.console()?;
    archive.program("init", &workload)?;
    archive.finish()
}
