// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole guests: Debian's Linux from the loader to its first process, and what that does then, in every setting with one and the same
//! image (`start_linux`), kernel, file system and command line.

use std::fs;
use std::path::Path;
use std::time::Duration;

use agent::protocol::Counters;
use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

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

/// Memory of the machine that Linux has, in MiB: Linux looks at all of it when it boots.
const MEMORY_MIB: u32 = 256;

/// No ciphers are tried, which is half of a boot; only what matters is printed, for each character costs something else in each
/// setting; nothing against speculation, which the emulator has not; and processes with the same addresses in each run, as the kernel
/// has them that is not compressed; no string instructions, of which the emulator counts each repetition, and which a kernel takes or not
/// for what it is told of the processor. What comes behind `--` goes to the first process, and `start_linux` adds a word.
const COMMAND_LINE: &str = "console=ttyS0 panic=-1 cryptomgr.notests loglevel=5 tsc=reliable \
    mitigations=off norandmaps clearcpuid=erms,rep_good -- bench";

/// What is measured, as it is told.
const OPERATIONS: [&str; 5] = ["linux_boot", "linux_cpu", "linux_memory", "linux_syscall", "linux_fork"];
/// From the loader to the guest's first instruction.
const TO_GUEST: &str = "to_guest";

/// Until the next line, on this machine's clock.
const TIME_TO_TELL: Duration = Duration::from_secs(300);
/// Until power-off after the last one.
const TIME_TO_END: Duration = Duration::from_secs(60);
/// The emulator's TSC ticks so often in a microsecond.
const TICKS_OF_MICROSECOND: u64 = 100;

/// Names of files, on a CD and among what a KVM host has to run.
const START_LINUX: &str = "start_linux";
const KERNEL: &str = "linux.vmlinux";
const FILES: &str = "linux.files";
const BUNDLE: &str = "linux.tar";

/// The name of Satori's virtual machine.
const NAME: &str = "linux";

/// Whether anything of it is asked for in this setting.
pub fn is_wanted(filter: Filter<'_>, setting: Setting) -> bool {
    filter.wants_any(setting, &OPERATIONS)
        || setting != Setting::Metal && filter.wants_any(setting, &[TO_GUEST])
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
    let told = Told::read(run)?;
    let counters = run.end().map(|end| end.counters.clone()).unwrap_or_default();
    let to_guest = counters
        .get(Counters::TSC_ZERO_AT)
        .wrapping_add(told.first_tsc)
        .wrapping_sub(counters.get(Counters::STARTED_AT));
    told.figures(Setting::Kvm, (counters.get(Counters::TSC_ZERO_AT) != 0).then_some(to_guest))
}

/// Reads the figures of a run in any other setting.
fn read(console: &mut impl Console, setting: Setting) -> Result<Vec<Figure>> {
    let told = Told::read(console)?;
    let to_guest = told.machine_started_at.map(|micros| micros * TICKS_OF_MICROSECOND + told.first_tsc);
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

/// What a run tells.
#[derive(Debug, Default)]
struct Told {
    /// When the guest's TSC was 0, in microseconds since Satori's start, where Satori runs it.
    machine_started_at: Option<u64>,
    /// The guest's TSC at its first instruction.
    first_tsc: u64,
    benches: Vec<(String, u64)>,
}

impl Told {
    /// Reads on until the machine has powered itself off.
    fn read(console: &mut impl Console) -> Result<Self> {
        let mut told = Self::default();
        while let Some(line) = console.line(TIME_TO_TELL)? {
            ensure!(!is_failure(&line), "the guest says: {line}");
            told.take(&line).with_context(|| format!("in the line {line:?}"))?;
        }
        console.wait_for_power_off(TIME_TO_END)?;
        Ok(told)
    }

    fn take(&mut self, line: &str) -> Result<()> {
        if let Some(bench) = line.strip_prefix("bench: ") {
            let (name, ticks) = bench.split_once(' ').context("no figure")?;
            self.benches.push((name.to_owned(), ticks.parse()?));
        } else if let Some(tsc) = line.strip_prefix("start: ") {
            self.first_tsc = tsc.parse()?;
        } else if line.contains(&format!("vm {NAME}: started: ")) {
            self.machine_started_at = Some(machine_started_at(line).context("no times")?);
        }
        Ok(())
    }

    /// Its figures, if they are complete.
    fn figures(self, setting: Setting, to_guest: Option<u64>) -> Result<Vec<Figure>> {
        let names: Vec<&str> = self.benches.iter().map(|(name, _)| name.as_str()).collect();
        ensure!(names == OPERATIONS, "instead of {OPERATIONS:?}, Linux told {names:?}");
        let to_guest = to_guest.map(|instructions| (TO_GUEST.to_owned(), instructions));
        let figure = |(operation, instructions)| Figure {
            operation,
            setting,
            cpus: 1,
            instructions,
            exits: None,
            transitions: None,
        };
        Ok(to_guest.into_iter().chain(self.benches).map(figure).collect())
    }
}

fn is_failure(line: &str) -> bool {
    ["workload: failed", "verdict: fail", "Kernel panic", "PANIC in Satori", "not started"]
        .iter()
        .any(|failure| line.contains(failure))
}

/// Takes a line apart like `[    1.234567] INFO  vm linux: started: 256 MiB, …; made in 200000 us`: microseconds from Satori's start
/// to the moment when it began to make the machine.
fn machine_started_at(line: &str) -> Option<u64> {
    let (stamp, rest) = line.strip_prefix('[')?.split_once(']')?;
    let (seconds, micros) = stamp.trim().split_once('.')?;
    let told_at = seconds.parse::<u64>().ok()? * 1_000_000 + micros.parse::<u64>().ok()?;
    let (_, made_in) = rest.split_once("made in ")?;
    told_at.checked_sub(made_in.strip_suffix(" us")?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_start_is_that_before_the_machine_was_made() {
        let line =
            "[   12.345678] INFO  vm linux: started: 256 MiB, 4 KiB of Satori's own; made in 345000 us";
        assert_eq!(machine_started_at(line), Some(12_000_678));
        assert_eq!(machine_started_at("[    0.000001] vm linux: started: 1 MiB; made in 2 us"), None);
    }

    #[test]
    fn figures_that_are_missing_or_wrong_are_errors() {
        let told = |lines: &[&str]| {
            let mut told = Told::default();
            lines.iter().try_for_each(|line| told.take(line)).map(|()| told)
        };
        let all = OPERATIONS.map(|name| format!("bench: {name} 7"));
        let all = all.each_ref().map(String::as_str);
        let figures = told(&all).unwrap().figures(Setting::Kvm, Some(3)).unwrap();
        assert_eq!(figures.len(), OPERATIONS.len() + 1);
        assert_eq!((figures[0].operation.as_str(), figures[0].instructions), (TO_GUEST, 3));
        told(&all[1..]).unwrap().figures(Setting::Kvm, None).unwrap_err();
        told(&["bench: linux_cpu much"]).unwrap_err();
        assert!(is_failure("workload: failed: linux_cpu: primes: expected 2, found 1"));
    }
}
