// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bench programs: what they measure, and where each is run.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use tests::catalogue::PROGRAMS;
use tests::catalogue::Program;

use crate::bench::figures::Setting;
use crate::bench::measure::filter::Filter;
use crate::bundle::Disk;
use crate::bundle::VirtualMachine;
use crate::cargo;
use crate::workshop::Workshop;

/// A program on a machine with so many CPUs.
#[derive(Clone, Copy, Debug)]
pub struct Bench {
    /// Its name in the catalogue.
    pub name: &'static str,
    /// CPUs of the emulated machine.
    pub cpus: u32,
    /// Whose costs it tells.
    operations: &'static [&'static str],
    /// Where it is run.
    settings: &'static [Setting],
}

/// One emulated CPU is enough, and more than one level can be.
const EVERYWHERE: &[Setting] = &[
    Setting::Satori,
    Setting::Kvm,
    Setting::SatoriOnKvm,
    Setting::SatoriOnKvmWithoutEvmcs,
    Setting::KvmOnKvm,
    Setting::KvmOnKvmWithoutEvmcs,
];

/// All of them.
const BENCHES: [Bench; 6] = [
    Bench {
        name: "bench",
        cpus: 1,
        operations: &[
            "empty",
            "cpuid",
            "vmcall",
            "rdmsr_apic_base",
            "wrmsr_tsc_deadline",
            "pit_count",
            "uart_status",
            "pm_timer",
            "mmio_read",
            "xapic_read",
            "xapic_eoi",
            "x2apic_eoi",
            "cr8_read",
            "cr8_write",
            "timer_latency",
            "timer_latency_halted",
            "fault_4k",
            "fault_2m",
            "zap_page",
            "virtio_notify",
            "block_read_4k",
            "block_read_4k_of_32",
        ],
        settings: EVERYWHERE,
    },
    Bench { name: "bench_pair", cpus: 1, operations: &["ipi_halted"], settings: EVERYWHERE },
    Bench {
        name: "bench_ipi",
        cpus: 2,
        operations: &["ipi_running"],
        settings: &[Setting::Satori, Setting::Kvm],
    },
    Bench { name: "bench_smp", cpus: 2, operations: &["zap_page_2_cpus"], settings: &[Setting::Satori] },
    Bench { name: "bench_migration", cpus: 2, operations: &["migration"], settings: &[Setting::Satori] },
    Bench { name: "bench_smp", cpus: 4, operations: &["zap_page_4_cpus"], settings: &[Setting::Satori] },
];

/// Those that are to be run in this setting, on a machine with so many CPUs.
pub fn wanted(filter: Filter<'_>, setting: Setting, cpus: u32) -> Vec<Bench> {
    let is_wanted = |bench: &Bench| {
        bench.program().is_ok()
            && bench.cpus == cpus
            && bench.settings.contains(&setting)
            && filter.wants_any(setting, bench.operations)
    };
    BENCHES.into_iter().filter(is_wanted).collect()
}

/// The names of programs.
pub fn names(benches: &[Bench]) -> Vec<&'static str> {
    benches.iter().map(|bench| bench.name).collect()
}

/// The programs as cargo built them.
#[derive(Debug)]
pub struct Files(BTreeMap<String, PathBuf>);

impl Files {
    /// Builds them.
    pub fn build(workshop: &Workshop) -> Result<Self> {
        let built = cargo::build_guests(workshop)?;
        Ok(Self(built.into_iter().map(|guest| (guest.name, guest.file)).collect()))
    }

    /// The file of the program of this name.
    pub fn of(&self, name: &str) -> Result<&Path> {
        Ok(self.0.get(name).with_context(|| format!("cargo built no {name}"))?)
    }
}

impl Bench {
    /// What the catalogue has of it.
    pub fn program(&self) -> Result<&'static Program> {
        let Self { name, .. } = self;
        let program = PROGRAMS.iter().find(|program| program.name == *name);
        program.with_context(|| format!("no program {name}"))
    }

    /// A virtual machine of Satori's that runs it.
    ///
    /// Its time is that of its own clock, on which each exit takes as much longer as there is below Satori.
    pub fn machine(&self, files: &Files, words: Option<&str>, time_factor: u32) -> Result<VirtualMachine> {
        let program = self.program()?;
        let name = program.name.replace('_', "-");
        Ok(VirtualMachine {
            vcpus: program.vcpus,
            time_limit_s: Some(program.time_limit_s * time_factor),
            exerciser: program.exerciser,
            hyperv: program.hyperv,
            command_line: words.map(str::to_owned),
            disks: program.disk.then_some(Disk::Blank { size_mib: 1 }).into_iter().collect(),
            ..VirtualMachine::new(name, program.memory_mib, files.of(program.name)?)
        })
    }
}
