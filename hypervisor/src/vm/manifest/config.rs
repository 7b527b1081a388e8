// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a manifest says of one VM.

use super::mac;
use super::value;
use crate::devices::ethernet::Mac;
use alloc::string::String;
use alloc::vec::Vec;
use core::num::NonZeroU32;
use serde::Deserialize;

/// The longest name of a VM or a switch, in characters.
pub const LONGEST_NAME: usize = 32;

/// The most vCPUs of a VM.
pub const MOST_VCPUS: u32 = 64;

/// The most disks of a VM, and the most nets: with the other devices of its PCI bus they are fewer than the 31 that it takes.
pub const MOST_DISKS: usize = 16;
/// See [`MOST_DISKS`].
pub const MOST_NETS: usize = 8;

/// A VM as its owner declared it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, expecting = "a table that declares a VM ([[vm]])")]
pub struct VmConfig {
    /// Its name: unique, 1 to 32 characters of a-z, 0-9 and -.
    #[serde(deserialize_with = "value::name")]
    pub name: String,
    /// Its RAM in MiB, at least [`MINIMUM_MIB`](crate::vm::memory_layout::MINIMUM_MIB).
    #[serde(deserialize_with = "value::memory")]
    pub memory_mib: u32,
    /// How many virtual CPUs it has, at most [`MOST_VCPUS`].
    #[serde(deserialize_with = "value::vcpus", default = "value::one")]
    pub vcpus: u32,
    /// The file of the bundle that is its kernel.
    pub kernel: String,
    /// The file of the bundle that is its initial RAM disk.
    pub initrd: Option<String>,
    /// Further files that its kernel is given, as multiboot has them.
    #[serde(default)]
    pub modules: Vec<Module>,
    /// The kernel's command line.
    #[serde(default)]
    pub command_line: String,
    /// Its disks, in this order.
    #[serde(deserialize_with = "value::disks", default)]
    pub disks: Vec<DiskConfig>,
    /// Its network cards, in this order.
    #[serde(deserialize_with = "value::nets", default)]
    pub nets: Vec<NetConfig>,
    /// It starts by itself.
    #[serde(default = "value::yes")]
    pub autostart: bool,
    /// What follows when it has ended by itself.
    #[serde(default)]
    pub restart: Restart,
    /// What follows when its guest reboots it.
    #[serde(default)]
    pub on_reboot: OnReboot,
    /// So long after it was asked to stop it is killed, in seconds.
    #[serde(default = "value::half_a_minute")]
    pub stop_timeout_s: u32,
    /// After so many seconds the VM is ended.
    pub time_limit_s: Option<NonZeroU32>,
    /// The physical CPU of each vCPU, or of all of them if there is one; none: they go where there is room.
    #[serde(default)]
    pub cpus: Vec<u32>,
    /// The most that each of its vCPUs gets of a CPU, in hundredths.
    #[serde(deserialize_with = "value::percent", default = "value::all")]
    pub cpu_percent: u32,
    /// All of its memory is taken and mapped before it starts.
    #[serde(default)]
    pub prefault: bool,
    /// It has a virtio console.
    #[serde(default)]
    pub virtio_console: bool,
    /// It has a virtio source of entropy.
    #[serde(default = "value::yes")]
    pub entropy: bool,
    /// It has a port by which its guest ends it with a status.
    #[serde(default)]
    pub debug_exit: bool,
    /// It has the [exerciser](crate::devices::exerciser).
    #[serde(default)]
    pub exerciser: bool,
    /// Its guest sees [what we offer](enlightenments::offer) of Hyper-V's interface.
    #[serde(default)]
    pub hyperv: bool,
    /// The line of the manifest on which it is declared.
    #[serde(skip)]
    pub line: usize,
}

impl VmConfig {
    /// The files of the bundle that it names.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let modules = self.modules.iter().map(|module| module.file.as_str());
        let disks = self.disks.iter().filter_map(|disk| match &disk.source {
            DiskSource::File(file) => Some(file.as_str()),
            DiskSource::Blank { .. } => None,
        });
        [Some(self.kernel.as_str()), self.initrd.as_deref()].into_iter().flatten().chain(modules).chain(disks)
    }

    /// The physical CPU that the vCPU of that index is to stay on, if it has one.
    #[must_use]
    pub fn cpu_of(&self, vcpu: usize) -> Option<u32> {
        self.cpus.get(vcpu).or_else(|| self.cpus.first()).copied()
    }
}

/// A file for a kernel, and what it is told of it: "FILE WORDS".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// The file of the bundle.
    pub file: String,
    /// The words, without the file's name.
    pub command_line: String,
}

/// A disk of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskConfig {
    /// What is on it when the VM starts.
    pub source: DiskSource,
    /// The guest can not write to it.
    pub read_only: bool,
}

/// What is on a disk when its VM starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskSource {
    /// That file of the bundle, as it is. What the guest writes is kept in memory, and gone with the VM.
    File(String),
    /// Zeros.
    Blank {
        /// Its size in MiB.
        mib: NonZeroU32,
    },
}

/// A network card of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, expecting = "a net, as { switch = \"lan\" }")]
pub struct NetConfig {
    /// The switch that it is plugged into, by which it reaches the others there.
    #[serde(deserialize_with = "value::name")]
    pub switch: String,
    /// Its address; `None`: one that follows from the VM's name.
    pub mac: Option<Mac>,
}

impl NetConfig {
    /// Its address, if it is net number `index` of the VM `vm`.
    #[must_use]
    pub fn mac_in(&self, vm: &str, index: usize) -> Mac {
        self.mac.unwrap_or_else(|| mac::of_vm(vm, index))
    }
}

/// What follows when a VM has ended by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Nothing.
    #[default]
    Never,
    /// It is started again, unless its guest has powered it off.
    OnFailure,
    /// It is started again.
    Always,
}

/// What follows when a guest reboots its VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnReboot {
    /// It is started again.
    #[default]
    Restart,
    /// It has ended.
    End,
}
