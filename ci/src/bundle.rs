// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bundle: a tar archive with `satori.toml`, which declares the VMs, and the files that it names.

mod archive;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde::Serialize;

/// The manifest's name in the bundle.
const MANIFEST: &str = "satori.toml";

/// Longest name of a VM, in bytes.
const LONGEST_NAME: usize = 32;

/// What a bundle asks Satori to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// When each VM starts.
    pub start: Start,
    /// The VMs.
    pub machines: Vec<VirtualMachine>,
}

/// When the VMs of a bundle start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// All at once.
    #[default]
    Together,
    /// Each when the one before it has ended.
    InTurn,
}

/// What follows when a VM has ended by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Nothing.
    #[default]
    Never,
    /// It starts again, unless its guest has powered it off.
    OnFailure,
    /// It starts again.
    Always,
}

/// What a guest's reboot does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnReboot {
    /// It ends the VM: what a test wants to see. Satori's own default is the other one.
    #[default]
    End,
    /// The VM starts again.
    Restart,
}

/// A file that a kernel is given beside its initial RAM disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Where it is on this machine.
    pub file: PathBuf,
    /// What the kernel is told of it.
    pub command_line: String,
}

/// A disk of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disk {
    /// What is in a file of this machine. What the guest writes is gone with the VM.
    File {
        /// Where it is.
        file: PathBuf,
        /// The guest cannot write to it.
        read_only: bool,
    },
    /// Zeros, so many MiB.
    Blank {
        /// Its size.
        size_mib: u32,
    },
}

impl Disk {
    /// What of Satori's memory it may take beside its file, in MiB.
    fn memory_mib(&self) -> u32 {
        match self {
            Self::File { read_only: true, .. } => 0,
            Self::File { file, .. } => {
                // One that is not there is told by whoever reads it.
                file.metadata()
                    .map_or(0, |metadata| u32::try_from(metadata.len() >> 20).unwrap_or(u32::MAX))
                    .saturating_add(1)
            }
            Self::Blank { size_mib } => *size_mib,
        }
    }
}

/// A network card of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Net {
    /// The switch that it is plugged into.
    pub switch: String,
    /// Its address, where Satori is not to choose one.
    pub mac: Option<String>,
}

/// A VM, with its files where they are on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualMachine {
    /// Unique in its bundle; lower-case letters, digits and hyphens, at most 32.
    pub name: String,
    /// Its memory, in MiB.
    pub memory_mib: u32,
    /// How many virtual CPUs it has.
    pub vcpus: u32,
    /// An ELF file with a PVH note, or a bzImage.
    pub kernel: PathBuf,
    /// Its initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub command_line: Option<String>,
    /// Seconds of emulated time after which Satori ends it.
    pub time_limit_s: Option<u32>,
    /// Whether it has the device by which a guest changes its own machine under itself.
    pub exerciser: bool,
    /// Whether all of its memory is there before it starts.
    pub prefault: bool,
    /// Whether its guest sees Hyper-V's interface.
    pub hyperv: bool,
    /// Further files for its kernel.
    pub modules: Vec<Module>,
    /// Its disks.
    pub disks: Vec<Disk>,
    /// Its network cards.
    pub nets: Vec<Net>,
    /// Whether it starts by itself.
    pub autostart: bool,
    /// What follows when it has ended by itself.
    pub restart: Restart,
    /// What its guest's reboot does.
    pub on_reboot: OnReboot,
    /// Seconds from the power button to the end.
    pub stop_timeout_s: Option<u32>,
    /// The physical CPU of each vCPU, or of all; none: where there is room.
    pub cpus: Vec<u32>,
    /// The most that each of its vCPUs gets of a CPU.
    pub cpu_percent: Option<u32>,
    /// Whether it has a virtio console.
    pub virtio_console: bool,
    /// Whether it has a virtio source of entropy.
    pub entropy: bool,
    /// Whether it has the port by which a guest ends it with a status.
    pub debug_exit: bool,
}

/// The manifest as it is written.
#[derive(Serialize)]
struct Text<'a> {
    start: Start,
    vm: Vec<Declaration<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Declaration<'a> {
    name: &'a str,
    memory_mib: u32,
    vcpus: u32,
    kernel: String,
    initrd: Option<String>,
    command_line: Option<&'a str>,
    time_limit_s: Option<u32>,
    #[serde(skip_serializing_if = "is_off")]
    exerciser: bool,
    #[serde(skip_serializing_if = "is_off")]
    prefault: bool,
    #[serde(skip_serializing_if = "is_off")]
    hyperv: bool,
    modules: Vec<String>,
    disks: Vec<DiskTable>,
    nets: &'a [Net],
    autostart: bool,
    restart: Restart,
    on_reboot: OnReboot,
    stop_timeout_s: Option<u32>,
    #[serde(skip_serializing_if = "<[u32]>::is_empty")]
    cpus: &'a [u32],
    cpu_percent: Option<u32>,
    #[serde(skip_serializing_if = "is_off")]
    virtio_console: bool,
    entropy: bool,
    #[serde(skip_serializing_if = "is_off")]
    debug_exit: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct DiskTable {
    file: Option<String>,
    size_mib: Option<u32>,
    #[serde(skip_serializing_if = "is_off")]
    read_only: bool,
}

fn is_off(switch: &bool) -> bool {
    !switch
}

impl VirtualMachine {
    /// A VM with one CPU and nothing that need not be said.
    #[must_use]
    pub fn new(name: impl Into<String>, memory_mib: u32, kernel: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            memory_mib,
            vcpus: 1,
            kernel: kernel.into(),
            initrd: None,
            command_line: None,
            time_limit_s: None,
            exerciser: false,
            prefault: false,
            hyperv: false,
            modules: Vec::new(),
            disks: Vec::new(),
            nets: Vec::new(),
            autostart: true,
            restart: Restart::default(),
            on_reboot: OnReboot::default(),
            stop_timeout_s: None,
            cpus: Vec::new(),
            cpu_percent: None,
            virtio_console: false,
            entropy: true,
            debug_exit: false,
        }
    }

    /// The files on this machine that it is made of.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.files_in_bundle().map(|(_, file)| file)
    }

    /// Its memory and what its disks may take, in MiB.
    fn all_memory_mib(&self) -> u32 {
        self.disks.iter().map(Disk::memory_mib).fold(self.memory_mib, u32::saturating_add)
    }

    /// The files that it is made of, and their names in the bundle.
    fn files_in_bundle(&self) -> impl Iterator<Item = (String, &PathBuf)> {
        let kernel = (self.kernel_in_bundle(), &self.kernel);
        let initrd = self.initrd.iter().map(|initrd| (self.initrd_in_bundle(), initrd));
        let modules = self.modules.iter().enumerate();
        let modules = modules.map(|(index, module)| (self.module_in_bundle(index), &module.file));
        let disks = self.disks.iter().enumerate().filter_map(|(index, disk)| match disk {
            Disk::File { file, .. } => Some((self.disk_in_bundle(index), file)),
            Disk::Blank { .. } => None,
        });
        [kernel].into_iter().chain(initrd).chain(modules).chain(disks)
    }

    fn kernel_in_bundle(&self) -> String {
        format!("{}.kernel", self.name)
    }

    fn initrd_in_bundle(&self) -> String {
        format!("{}.initrd", self.name)
    }

    fn module_in_bundle(&self, index: usize) -> String {
        format!("{}.module-{index}", self.name)
    }

    fn disk_in_bundle(&self, index: usize) -> String {
        format!("{}.disk-{index}", self.name)
    }

    fn module(&self, (index, module): (usize, &Module)) -> String {
        format!("{} {}", self.module_in_bundle(index), module.command_line)
    }

    fn disk(&self, (index, disk): (usize, &Disk)) -> DiskTable {
        match disk {
            Disk::File { read_only, .. } => {
                DiskTable { file: Some(self.disk_in_bundle(index)), size_mib: None, read_only: *read_only }
            }
            Disk::Blank { size_mib } => DiskTable { file: None, size_mib: Some(*size_mib), read_only: false },
        }
    }

    fn declaration(&self) -> Declaration<'_> {
        Declaration {
            name: &self.name,
            memory_mib: self.memory_mib,
            vcpus: self.vcpus,
            kernel: self.kernel_in_bundle(),
            initrd: self.initrd.is_some().then(|| self.initrd_in_bundle()),
            command_line: self.command_line.as_deref(),
            time_limit_s: self.time_limit_s,
            exerciser: self.exerciser,
            prefault: self.prefault,
            hyperv: self.hyperv,
            modules: self.modules.iter().enumerate().map(|module| self.module(module)).collect(),
            disks: self.disks.iter().enumerate().map(|disk| self.disk(disk)).collect(),
            nets: &self.nets,
            autostart: self.autostart,
            restart: self.restart,
            on_reboot: self.on_reboot,
            stop_timeout_s: self.stop_timeout_s,
            cpus: &self.cpus,
            cpu_percent: self.cpu_percent,
            virtio_console: self.virtio_console,
            entropy: self.entropy,
            debug_exit: self.debug_exit,
        }
    }
}

impl Manifest {
    /// `machines`, all at once.
    #[must_use]
    pub fn together(machines: Vec<VirtualMachine>) -> Self {
        Self { start: Start::Together, machines }
    }

    /// `machines`, one after the other.
    #[must_use]
    pub fn in_turn(machines: Vec<VirtualMachine>) -> Self {
        Self { start: Start::InTurn, machines }
    }

    /// The most memory that the VMs have at one time, in MiB.
    #[must_use]
    pub fn memory_mib(&self) -> u32 {
        let each = self.machines.iter().map(VirtualMachine::all_memory_mib);
        match self.start {
            Start::Together => each.fold(0, u32::saturating_add),
            Start::InTurn => each.max().unwrap_or_default(),
        }
    }
}

/// Writes the bundle of `manifest` to `archive`. The same manifest and files give the same bytes.
///
/// # Errors
/// When a name is not allowed, or a file cannot be read or written.
pub fn write(manifest: &Manifest, archive: impl Write) -> Result<()> {
    let Manifest { start, machines } = manifest;
    check_names(machines)?;
    let text = Text { start: *start, vm: machines.iter().map(VirtualMachine::declaration).collect() };
    let text = toml::to_string(&text).context("the manifest cannot be written")?;
    let mut builder = tar::Builder::new(archive);
    archive::append(&mut builder, MANIFEST, text.len() as u64, text.as_bytes())?;
    for machine in machines {
        for (name, file) in machine.files_in_bundle() {
            archive::append_file(&mut builder, &name, file)?;
        }
    }
    Ok(builder.into_inner()?.flush()?)
}

fn check_names(machines: &[VirtualMachine]) -> Result<()> {
    for (index, machine) in machines.iter().enumerate() {
        let name = &machine.name;
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        ensure!(
            (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(allowed),
            "{name:?} is no name for a VM: lower-case letters, digits and hyphens, at most {LONGEST_NAME}"
        );
        ensure!(machines[..index].iter().all(|other| other.name != *name), "two VMs are called {name}");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
