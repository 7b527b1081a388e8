// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is said of a mistake in a manifest.

use crate::devices::ethernet::Mac;
use crate::vm::bundle::MANIFEST;
use alloc::string::String;
use core::fmt;
use core::fmt::Display;

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
    /// Another card on the same switch has this address already.
    MacTaken {
        /// The address.
        mac: Mac,
        /// The switch.
        switch: String,
        /// The line on which the VM with the other card is declared.
        line: usize,
    },
    /// Neither a CPU for each vCPU is given nor one for all of them.
    Cpus {
        /// The CPUs that are given.
        cpus: usize,
        /// The vCPUs.
        vcpus: u32,
    },
}

impl ManifestError {
    /// What is wrong with which VM, without file and line.
    pub fn reason(&self) -> impl Display {
        fmt::from_fn(|f| {
            if let Some(name) = &self.vm {
                write!(f, "VM {name:?}: ")?;
            }
            self.mistake.fmt(f)
        })
    }
}

impl Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MANIFEST}, line {}: {}", self.line, self.reason())
    }
}

impl Display for Mistake {
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
            Self::MacTaken { mac, switch, line } => write!(
                f,
                "a card of the VM of line {line} has the address {mac} on switch {switch:?} already; give this one another"
            ),
            Self::Cpus { cpus, vcpus } => {
                write!(f, "`cpus` has {cpus} CPUs for {vcpus} vCPUs: give one for each, or one for all")
            }
        }
    }
}

impl core::error::Error for ManifestError {}
