// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was measured: figures, each of one operation in one setting, and what they depend on.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde::Deserialize;
use serde::Serialize;

/// The key of the emulator's version in [`Figures::versions`].
pub const EMULATOR: &str = "emulator";
/// That of QEMU's, in the KVM host.
pub const QEMU: &str = "QEMU";
/// That of the KVM host's kernel.
pub const KVM_HOST: &str = "KVM host";
/// That of the kernel of whole guests.
pub const GUEST_LINUX: &str = "guest's Linux";
/// That of the compiler, which made Satori and the guests.
pub const COMPILER: &str = "compiler";

/// Who runs the guest, on whom. Below all of it is the emulated CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Setting {
    /// Nobody: the guest has the emulated machine to itself.
    Metal,
    /// Satori.
    Satori,
    /// Debian's KVM and QEMU.
    Kvm,
    /// Satori, on KVM with Hyper-V's interface.
    SatoriOnKvm,
    /// Satori, on KVM with all of Hyper-V's interface but the enlightened VMCS.
    SatoriOnKvmWithoutEvmcs,
    /// KVM and QEMU, on KVM with Hyper-V's interface.
    KvmOnKvm,
    /// KVM and QEMU, on KVM with all of Hyper-V's interface but the enlightened VMCS.
    KvmOnKvmWithoutEvmcs,
}

impl Setting {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Metal,
        Self::Satori,
        Self::Kvm,
        Self::SatoriOnKvm,
        Self::SatoriOnKvmWithoutEvmcs,
        Self::KvmOnKvm,
        Self::KvmOnKvmWithoutEvmcs,
    ];

    /// Its name, as people type it and as it is written to files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metal => "metal",
            Self::Satori => "satori",
            Self::Kvm => "kvm",
            Self::SatoriOnKvm => "satori-on-kvm",
            Self::SatoriOnKvmWithoutEvmcs => "satori-on-kvm-without-evmcs",
            Self::KvmOnKvm => "kvm-on-kvm",
            Self::KvmOnKvmWithoutEvmcs => "kvm-on-kvm-without-evmcs",
        }
    }

    /// Whether Satori runs the guest.
    #[must_use]
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::Satori | Self::SatoriOnKvm | Self::SatoriOnKvmWithoutEvmcs)
    }

    /// Whether a KVM host is below who runs the guest.
    #[must_use]
    pub const fn is_nested(self) -> bool {
        !matches!(self, Self::Metal | Self::Satori | Self::Kvm)
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What one operation costs in one setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Its name, as the guest tells it.
    pub operation: String,
    /// Where.
    pub setting: Setting,
    /// CPUs of the emulated machine. With one the count is exact; with more it is of all of them, waiting included.
    pub cpus: u32,
    /// Instructions, of everybody from the guest down.
    pub instructions: u64,
    /// VM exits of this guest to who runs it, where that counts them; of which a part may belong to something else that happened
    /// meanwhile, so that it need not be whole.
    pub exits: Option<f64>,
    /// Exits that the emulated CPU took, from whatever guest: those to L0 where that is KVM.
    pub transitions: Option<f64>,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// What they depend on beside Satori, and its version: the emulator, QEMU, kernels, the compiler.
    pub versions: BTreeMap<String, String>,
    /// What operations cost.
    pub figures: Vec<Figure>,
    /// Sizes: of the image and of memory in KiB, and of the code in lines, by name.
    pub footprint: BTreeMap<String, u64>,
}

impl Figures {
    /// What this operation costs there with so many emulated CPUs, if that was measured.
    #[must_use]
    pub fn find(&self, operation: &str, setting: Setting, cpus: u32) -> Option<&Figure> {
        self.figures
            .iter()
            .find(|figure| figure.operation == operation && figure.setting == setting && figure.cpus == cpus)
    }

    /// Reads what [`Figures::write`] wrote.
    ///
    /// # Errors
    /// When the file cannot be read, or holds something else.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("{} has no figures of cargo x bench", file.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let figures: Self = serde_json::from_str(text)?;
        for (index, figure) in figures.figures.iter().enumerate() {
            let Figure { operation, setting, cpus, exits, transitions, .. } = figure;
            let mut counts = [exits, transitions].into_iter().flatten();
            ensure!(counts.all(|count| *count >= 0.0), "{setting} {operation} has a count below 0");
            let is_same = |other: &Figure| {
                other.operation == *operation && other.setting == *setting && other.cpus == *cpus
            };
            ensure!(!figures.figures[..index].iter().any(is_same), "{setting} {operation} is there twice");
        }
        Ok(figures)
    }

    /// Writes them to `file` as JSON, in an order that does not depend on who was measured first.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let mut sorted = self.clone();
        sorted
            .figures
            .sort_by(|a, b| (&a.operation, a.setting, a.cpus).cmp(&(&b.operation, b.setting, b.cpus)));
        let text = serde_json::to_string_pretty(&sorted)?;
        fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
    }
}

#[cfg(test)]
pub mod made_up {
    //! Figures for tests; nobody measured them.

    use super::*;

    /// A figure with one CPU.
    pub fn figure(operation: &str, setting: Setting, instructions: u64, counts: [Option<f64>; 2]) -> Figure {
        let [exits, transitions] = counts;
        Figure { operation: operation.into(), setting, cpus: 1, instructions, exits, transitions }
    }

    /// A few of each kind.
    pub fn figures() -> Figures {
        let nested = |exits, transitions| [Some(exits), Some(transitions)];
        let mut figures = vec![
            figure("cpuid", Setting::Satori, 200, [Some(1.0), None]),
            figure("cpuid", Setting::Kvm, 1250, [Some(1.0), None]),
            figure("cpuid", Setting::SatoriOnKvm, 10_300, nested(1.0, 2.0)),
            figure("cpuid", Setting::SatoriOnKvmWithoutEvmcs, 15_000, nested(1.0, 6.0)),
            figure("cpuid", Setting::KvmOnKvm, 14_513, nested(1.0, 2.0)),
            figure("cpuid", Setting::KvmOnKvmWithoutEvmcs, 17_319, nested(1.0, 8.0)),
            figure("zap_page", Setting::Satori, 1437, [None, None]),
            figure("pit_count", Setting::Satori, 314, [Some(1.0), None]),
            figure("pit_count", Setting::Kvm, 1440, [Some(1.0), None]),
            figure("linux_cpu", Setting::Metal, 100_000_000, [None, None]),
            figure("linux_cpu", Setting::Satori, 101_000_000, [None, None]),
            figure("linux_cpu", Setting::Kvm, 103_000_000, [None, None]),
            figure("never_heard_of", Setting::Satori, 77, [None, None]),
        ];
        let four = |setting, instructions| Figure {
            cpus: 4,
            ..figure("zap_page_4_cpus", setting, instructions, [None, None])
        };
        figures.push(four(Setting::Satori, 2958));
        let versions = [(EMULATOR, "Bochs 3.0"), (QEMU, "10.0"), (KVM_HOST, "7.2"), (GUEST_LINUX, "6.1")];
        let text = |(name, version): (&str, &str)| (name.to_owned(), version.to_owned());
        let footprint = [("satori_kib_1_cpu", 1696), ("vm_kib_1_vcpu", 92), ("lines", 30_000)];
        Figures {
            versions: versions.into_iter().map(text).collect(),
            figures,
            footprint: footprint.into_iter().map(|(name, size)| (name.to_owned(), size)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_whatever_its_order() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        let figures = made_up::figures();
        figures.write(&first).unwrap();
        let mut others = Figures::read(&first).unwrap();
        assert_eq!(others.figures.len(), figures.figures.len());
        others.figures.reverse();
        others.write(&second).unwrap();
        assert_eq!(fs::read(first).unwrap(), fs::read(second).unwrap());
    }

    #[test]
    fn a_setting_is_written_by_its_name() {
        for setting in Setting::ALL {
            assert_eq!(serde_json::to_value(setting).unwrap(), setting.name());
        }
    }
}
