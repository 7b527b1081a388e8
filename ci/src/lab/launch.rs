// SPDX-License-Identifier: MIT OR Apache-2.0
//! How QEMU is started, with Satori or with a guest of KVM's own: the processor with what it offers of Hyper-V's interface,
//! memory, devices and files.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use agent::protocol::Request;

use crate::setup::packages::QEMU;

/// All that KVM has for a nested hypervisor, and what it comes with.
const ALL: [&str; 18] = [
    "hv-relaxed",
    "hv-vapic",
    "hv-vpindex",
    "hv-runtime",
    "hv-time",
    "hv-crash",
    "hv-reset",
    "hv-synic",
    "hv-stimer",
    "hv-frequencies",
    "hv-reenlightenment",
    "hv-tlbflush",
    "hv-tlbflush-ext",
    "hv-tlbflush-direct",
    "hv-ipi",
    "hv-xmm-input",
    "hv-evmcs",
    "hv-emsr-bitmap",
];

/// The enlightened VMCS, and what works with that alone.
const ENLIGHTENED_VMCS: [&str; 3] = ["hv-evmcs", "hv-emsr-bitmap", "hv-tlbflush-direct"];

/// What QEMU's machine offers of Hyper-V's interface, as QEMU's flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HyperV(Vec<String>);

impl HyperV {
    /// Nothing.
    pub const NONE: Self = Self(Vec::new());

    /// All that helps but the enlightened VMCS, and what works with that alone.
    #[must_use]
    pub fn without_enlightened_vmcs() -> Self {
        let Self(all) = Self::default();
        Self(all.into_iter().filter(|flag| !ENLIGHTENED_VMCS.contains(&flag.as_str())).collect())
    }
}

impl Default for HyperV {
    /// All that helps.
    fn default() -> Self {
        Self(ALL.map(str::to_owned).to_vec())
    }
}

impl FromStr for HyperV {
    type Err = Infallible;

    /// Takes `none`, or flags with commas between them.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let flags = text.split(',').filter(|flag| !flag.is_empty() && *flag != "none");
        Ok(Self(flags.map(str::to_owned).collect()))
    }
}

impl fmt::Display for HyperV {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("none") } else { f.write_str(&self.0.join(",")) }
    }
}

/// A machine of QEMU's.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The name of what it boots, Satori's image or another kernel, among what the host has to run.
    pub kernel: String,
    /// The name of Satori's bundle, or of the kernel's first file system, if it has one; or of its modules, with commas between them.
    pub initrd: Option<String>,
    /// The kernel's command line.
    pub command_line: String,
    /// Whether its processor has VMX.
    pub nests: bool,
    /// What the machine offers of Hyper-V's interface.
    pub hyperv: HyperV,
    /// Its CPUs.
    pub cpus: u32,
    /// Its memory, in MiB.
    pub memory_mib: u32,
    /// More of QEMU's arguments: devices, say.
    pub more: Vec<String>,
    /// After this long, on the host's clock, it is ended.
    pub time_limit: Duration,
}

impl Launch {
    /// What an agent is asked for, if what there is to run is in the host's folder `payload`.
    #[must_use]
    pub fn request(&self, payload: &str) -> Request {
        Request { time_limit: self.time_limit, command: self.qemu(payload) }
    }

    /// QEMU's program and arguments, if what there is to run is in the host's folder `payload`.
    fn qemu(&self, payload: &str) -> Vec<String> {
        let Self { kernel, initrd, command_line, nests, hyperv, cpus, memory_mib, more, .. } = self;
        let mut processor = vec!["host", if *nests { "+vmx" } else { "-vmx" }];
        if !hyperv.0.is_empty() || *nests {
            // KVM's own signature comes before Hyper-V's, and whoever finds it looks no further.
            processor.push("kvm=off");
        }
        processor.extend(hyperv.0.iter().map(String::as_str));
        let mut command = [QEMU, "-enable-kvm", "-machine", "q35", "-nodefaults", "-display", "none"]
            .map(str::to_owned)
            .to_vec();
        let mut option = |name: &str, value: String| command.extend([name.to_owned(), value]);
        option("-cpu", processor.join(","));
        option("-smp", cpus.to_string());
        option("-m", memory_mib.to_string());
        option("-kernel", format!("{payload}/{kernel}"));
        if let Some(initrd) = initrd {
            let files: Vec<String> = initrd.split(',').map(|file| format!("{payload}/{file}")).collect();
            option("-initrd", files.join(","));
        }
        option("-append", command_line.clone());
        command.extend_from_slice(more);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_and_all_are_what_they_say() {
        assert_eq!("none".parse(), Ok(HyperV::NONE));
        assert_eq!(HyperV::default().to_string().parse(), Ok(HyperV::default()));
        assert_eq!(HyperV::NONE.to_string(), "none");
    }

    #[test]
    fn what_needs_the_enlightened_vmcs_goes_with_it() {
        let (all, without) = (HyperV::default(), HyperV::without_enlightened_vmcs());
        assert_eq!(without.0.len() + ENLIGHTENED_VMCS.len(), all.0.len());
        assert!(!without.to_string().contains("evmcs"));
    }
}
