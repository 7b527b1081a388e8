// SPDX-License-Identifier: MIT OR Apache-2.0
//! The manifest `satori.toml`: which VMs there are, and what each is given.
//!
//! ```toml
//! start = "together"              # or "in-turn": each VM when the one before has ended; "together" where left out
//!
//! [[vm]]
//! name = "linux"                  # unique; 1 to 32 of a-z, 0-9 and -
//! memory-mib = 512                # at least 16
//! vcpus = 4                       # 1 to 64; 1 where left out
//! kernel = "vmlinux"              # a file of the bundle
//! initrd = "initrd"               # a file of the bundle; may be left out
//! command-line = "console=ttyS0"  # empty where left out
//! time-limit-s = 60               # the VM is ended after so many seconds; no limit where left out
//! prefault = true                 # all memory is there from the start, rather than when it is first used
//! exerciser = true                # a device by which a test changes the machine under itself
//! debug-exit = true               # QEMU's isa-debug-exit
//! hyperv = true                   # the guest sees as much of Hyper-V's interface as remote TLB flushes take
//! ```

use super::bundle::MANIFEST;
use super::memory_layout::MINIMUM_MIB;
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU32;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error as _;
use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;
use toml::de::ValueDeserializer;

/// The longest name of a VM, in characters.
pub const LONGEST_NAME: usize = 32;

/// The most vCPUs of a VM.
pub const MOST_VCPUS: u32 = 64;

/// When VMs start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// All at once.
    #[default]
    Together,
    /// Each when the one before it has ended.
    InTurn,
}

/// What a manifest says. A mistake in one VM does not keep the others from starting, so there may be both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// When the VMs start.
    pub start: Start,
    /// The VMs that are declared without mistakes, in the manifest's order.
    pub vms: Vec<VmConfig>,
    /// Everything that is wrong with the rest.
    pub errors: Vec<ManifestError>,
}

/// A VM as its owner declared it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, expecting = "a table that declares a VM ([[vm]])")]
pub struct VmConfig {
    /// Its name: unique, 1 to 32 characters of a-z, 0-9 and -.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// Its RAM in MiB, at least [`MINIMUM_MIB`].
    #[serde(deserialize_with = "memory")]
    pub memory_mib: u32,
    /// How many virtual CPUs it has, at most [`MOST_VCPUS`].
    #[serde(deserialize_with = "vcpus", default = "one")]
    pub vcpus: u32,
    /// The file of the bundle that is its kernel.
    pub kernel: String,
    /// The file of the bundle that is its initial RAM disk.
    pub initrd: Option<String>,
    /// The kernel's command line.
    #[serde(default)]
    pub command_line: String,
    /// After so many seconds the VM is ended.
    pub time_limit_s: Option<NonZeroU32>,
    /// All of its memory is taken and mapped before it starts.
    #[serde(default)]
    pub prefault: bool,
    /// It has the [exerciser](crate::devices::exerciser).
    #[serde(default)]
    pub exerciser: bool,
    /// It has QEMU's [isa-debug-exit](crate::devices::debug_exit).
    #[serde(default)]
    pub debug_exit: bool,
    /// Its guest sees [what we offer](enlightenments::offer) of Hyper-V's interface.
    #[serde(default)]
    pub hyperv: bool,
}

/// A mistake in the manifest, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// The line, counted from 1.
    pub line: usize,
    /// The name of the VM that is concerned, as it stands in the manifest: it may be anything.
    pub vm: Option<String>,
    /// What is wrong.
    pub mistake: Mistake,
}

/// What is wrong in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The text is not UTF-8.
    Encoding,
    /// The text is no TOML, or a value is not what it should be, as these words say.
    Toml(String),
    /// A key outside of all VMs that means nothing.
    UnknownKey(String),
    /// `vm` is something else than an array of tables.
    NotAnArray,
    /// There is no VM at all.
    NoVm,
    /// Another VM has this name already.
    NameTaken {
        /// The line on which that VM is declared.
        line: usize,
    },
}

impl Manifest {
    /// Reads a manifest, the text being hostile.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut manifest = Self::default();
        if let Err(error) = manifest.read(text) {
            manifest.errors.push(error);
        }
        manifest
    }

    fn read(&mut self, text: &[u8]) -> Result<(), ManifestError> {
        let text = str::from_utf8(text).map_err(|error| {
            let line = line_of(text, error.valid_up_to());
            ManifestError { line, vm: None, mistake: Mistake::Encoding }
        })?;
        let mut document = DeTable::parse(text).map_err(|error| toml_error(text, None, &error))?.into_inner();
        let vms = document.remove("vm");
        if let Some(start) = document.remove("start") {
            match Start::deserialize(ValueDeserializer::from(start)) {
                Ok(start) => self.start = start,
                Err(error) => self.errors.push(toml_error(text, None, &error)),
            }
        }
        for (key, _) in document {
            let line = line_of(text.as_bytes(), key.span().start);
            let mistake = Mistake::UnknownKey(key.into_inner().into_owned());
            self.errors.push(ManifestError { line, vm: None, mistake });
        }
        self.read_vms(text, vms)
    }

    fn read_vms(&mut self, text: &str, vms: Option<Spanned<DeValue<'_>>>) -> Result<(), ManifestError> {
        let error = |line, mistake| ManifestError { line, vm: None, mistake };
        let vms = vms.ok_or_else(|| error(1, Mistake::NoVm))?;
        let line = line_of(text.as_bytes(), vms.span().start);
        let DeValue::Array(vms) = vms.into_inner() else {
            return Err(error(line, Mistake::NotAnArray));
        };
        let mut lines_of_names = BTreeMap::new();
        for vm in vms {
            match read_vm(text, vm, &mut lines_of_names) {
                Ok(vm) => self.vms.push(vm),
                Err(error) => self.errors.push(error),
            }
        }
        Ok(())
    }
}

fn read_vm(
    text: &str,
    vm: Spanned<DeValue<'_>>,
    lines_of_names: &mut BTreeMap<String, usize>,
) -> Result<VmConfig, ManifestError> {
    let line = line_of(text.as_bytes(), vm.span().start);
    let name = vm.get_ref().get("name").and_then(|name| name.get_ref().as_str()).map(ToOwned::to_owned);
    let vm = VmConfig::deserialize(ValueDeserializer::from(vm))
        .map_err(|error| toml_error(text, name.clone(), &error))?;
    if let Some(&first) = lines_of_names.get(&vm.name) {
        return Err(ManifestError { line, vm: name, mistake: Mistake::NameTaken { line: first } });
    }
    lines_of_names.insert(vm.name.clone(), line);
    Ok(vm)
}

fn toml_error(text: &str, vm: Option<String>, error: &toml::de::Error) -> ManifestError {
    let line = line_of(text.as_bytes(), error.span().map_or(0, |span| span.start));
    ManifestError { line, vm, mistake: Mistake::Toml(error.message().to_owned()) }
}

/// The number of the line that holds the byte at `offset`.
fn line_of(text: &[u8], offset: usize) -> usize {
    1 + text.iter().take(offset).filter(|&&byte| byte == b'\n').count()
}

fn one() -> u32 {
    1
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(name);
    }
    Err(D::Error::custom(format!(
        "{name:?} cannot be a VM's name, which has 1 to {LONGEST_NAME} characters of a-z, 0-9 and -"
    )))
}

fn memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let mebibytes = u32::deserialize(deserializer)?;
    if mebibytes >= MINIMUM_MIB {
        return Ok(mebibytes);
    }
    Err(D::Error::custom(format!("{mebibytes} MiB of memory are too few: give it {MINIMUM_MIB} or more")))
}

fn vcpus<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        vcpus @ 1..=MOST_VCPUS => Ok(vcpus),
        vcpus => Err(D::Error::custom(format!("{vcpus} vCPUs cannot be had: a VM has 1 to {MOST_VCPUS}"))),
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MANIFEST}, line {}: ", self.line)?;
        if let Some(name) = &self.vm {
            write!(f, "VM {name:?}: ")?;
        }
        self.mistake.fmt(f)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encoding => f.write_str("the text is not UTF-8; save it as UTF-8"),
            Self::Toml(message) => f.write_str(message),
            Self::UnknownKey(key) => {
                write!(f, "{key:?} means nothing here; the manifest is made of `start` and [[vm]] tables")
            }
            Self::NotAnArray => f.write_str("a VM is declared by [[vm]], in double brackets"),
            Self::NoVm => f.write_str("no VM is declared; add a [[vm]] table"),
            Self::NameTaken { line } => {
                write!(f, "the VM of line {line} has this name already; give this one another")
            }
        }
    }
}

impl core::error::Error for ManifestError {}

#[cfg(test)]
mod tests;
