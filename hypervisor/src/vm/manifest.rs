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
//! modules = ["file words"]        # further files for its kernel, and what it is told of each
//! command-line = "console=ttyS0"  # empty where left out
//! disks = [{ file = "root.img" }, { file = "data.img", read-only = true }, { size-mib = 16 }]
//! nets = [{ switch = "lan", mac = "52:54:00:00:00:01" }]
//! autostart = true                # false: it waits for the operator
//! restart = "never"               # or "on-failure" or "always": what follows when it has ended by itself
//! on-reboot = "restart"           # or "end": what a guest's reboot does
//! stop-timeout-s = 30             # so long after it was asked to stop it is killed
//! time-limit-s = 60               # the VM is ended after so many seconds; no limit where left out
//! cpus = [0, 1]                   # the physical CPU of each vCPU, or one for all; where there is room if left out
//! cpu-percent = 50                # the most that each vCPU gets of a CPU; 100 where left out
//! prefault = true                 # all memory is there from the start, rather than when it is first used
//! virtio-console = true           # devices: off where left out, but for entropy
//! entropy = true
//! debug-exit = true
//! exerciser = true                # a device by which a test changes the machine under itself
//! hyperv = true                   # the guest sees as much of Hyper-V's interface as remote TLB flushes take
//! ```

mod config;
mod error;
mod mac;
mod value;

pub use config::DiskConfig;
pub use config::DiskSource;
pub use config::MOST_DISKS;
pub use config::MOST_NETS;
pub use config::MOST_VCPUS;
pub use config::Module;
pub use config::NetConfig;
pub use config::OnReboot;
pub use config::Restart;
pub use config::VmConfig;
pub use error::ManifestError;
pub use error::Mistake;

use crate::devices::ethernet::Mac;
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use serde::Deserialize;
use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;
use toml::de::ValueDeserializer;

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
        let mut taken = Taken::default();
        for vm in vms {
            match read_vm(text, vm, &mut taken) {
                Ok(vm) => self.vms.push(vm),
                Err(error) => self.errors.push(error),
            }
        }
        Ok(())
    }
}

/// What no other VM can have, and the line of the VM that has it.
#[derive(Debug, Default)]
struct Taken {
    names: BTreeMap<String, usize>,
    macs: BTreeMap<(String, Mac), usize>,
}

impl Taken {
    /// Takes what that VM has for itself, unless it is taken.
    fn take(&mut self, vm: &VmConfig) -> Result<(), Mistake> {
        if let Some(&line) = self.names.get(&vm.name) {
            return Err(Mistake::NameTaken { line });
        }
        let mut macs = BTreeMap::new();
        for (index, net) in vm.nets.iter().enumerate() {
            let (switch, mac) = (net.switch.clone(), net.mac_in(&vm.name, index));
            let card = (switch, mac);
            if let Some(&line) = self.macs.get(&card).or_else(|| macs.get(&card)) {
                return Err(Mistake::MacTaken { mac, switch: card.0, line });
            }
            macs.insert(card, vm.line);
        }
        self.macs.append(&mut macs);
        self.names.insert(vm.name.clone(), vm.line);
        Ok(())
    }
}

fn read_vm(text: &str, vm: Spanned<DeValue<'_>>, taken: &mut Taken) -> Result<VmConfig, ManifestError> {
    let at = |span: Range<usize>| line_of(text.as_bytes(), span.start);
    let line = at(vm.span());
    let value = |key: &str| vm.get_ref().get(key);
    let name = value("name").and_then(|name| name.get_ref().as_str()).map(ToOwned::to_owned);
    let line_of_cpus = value("cpus").map(|cpus| at(cpus.span()));
    let vm = VmConfig::deserialize(ValueDeserializer::from(vm));
    let mut vm = vm.map_err(|error| toml_error(text, name.clone(), &error))?;
    vm.line = line;
    let (cpus, vcpus) = (vm.cpus.len(), vm.vcpus);
    if let Some(line) = line_of_cpus
        && cpus != 1
        && cpus != vcpus as usize
    {
        return Err(ManifestError { line, vm: name, mistake: Mistake::Cpus { cpus, vcpus } });
    }
    taken.take(&vm).map_err(|mistake| ManifestError { line, vm: name, mistake })?;
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

#[cfg(test)]
mod tests;
