// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why there is no virtual machine where one was declared.

use crate::devices::firmware::FirmwareError;
use crate::devices::pci::bus::BusFull;
use crate::devices::switch::NoPort;
use crate::memory::OutOfFrames;
use crate::vm::bundle::BundleError;
use crate::vm::loader::LoadError;
use core::fmt;

/// Why a virtual machine could not be made.
#[derive(Debug)]
pub enum VmError {
    /// Its kernel or initial RAM disk is not in the bundle.
    File(BundleError),
    /// Its kernel cannot be loaded.
    Load(LoadError),
    /// It asks for more memory than is free.
    TooLarge {
        /// What it asks for.
        asked_mib: u32,
        /// What is left for virtual machines.
        free_mib: u64,
    },
    /// All VPIDs are taken.
    NoVpid,
    /// One of its vCPUs is to be on a CPU that does not run.
    NoCpu {
        /// The CPU.
        number: u32,
        /// How many run.
        count: usize,
    },
    /// There is not enough memory in the pieces that are needed.
    Memory(OutOfFrames),
    /// A switch that it is to be plugged into has no port for it.
    NoPort(NoPort),
    /// Its firmware tables could not be written.
    Firmware(FirmwareError),
    /// It has more devices than a bus.
    Devices(BusFull),
}

impl fmt::Display for VmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Load(error) => error.fmt(f),
            Self::TooLarge { asked_mib, free_mib } => write!(
                f,
                "{asked_mib} MiB are asked for and {free_mib} free: give it less, or the machine more"
            ),
            Self::NoVpid => write!(f, "there are 65535 vCPUs already: end some"),
            Self::NoCpu { number, count } => write!(
                f,
                "there is no CPU {number}, which `cpus` names: {count} run, and the first of them is 0"
            ),
            Self::Memory(error) => error.fmt(f),
            Self::NoPort(error) => error.fmt(f),
            Self::Firmware(error) => error.fmt(f),
            Self::Devices(error) => error.fmt(f),
        }
    }
}

impl From<BundleError> for VmError {
    fn from(error: BundleError) -> Self {
        Self::File(error)
    }
}

impl From<BusFull> for VmError {
    fn from(error: BusFull) -> Self {
        Self::Devices(error)
    }
}

impl From<OutOfFrames> for VmError {
    fn from(error: OutOfFrames) -> Self {
        Self::Memory(error)
    }
}
