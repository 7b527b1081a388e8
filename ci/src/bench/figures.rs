// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was measured: figures, each of one operation in one setting, and what they depend on.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

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
