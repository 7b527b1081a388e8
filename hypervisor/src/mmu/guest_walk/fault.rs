// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a guest-linear address could not be translated, read or written.

use core::fmt;

use crate::mmu::Unbacked;

/// A page fault that the guest is to get (SDM Vol. 3A, "Page-Fault Exceptions").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFault {
    /// The linear address, for CR2.
    pub address: u64,
    /// The error code, made of the constants here.
    pub error_code: u32,
}

impl PageFault {
    /// The page is present, and forbids the access.
    pub const PRESENT: u32 = 1 << 0;
    /// The access was a write.
    pub const WRITE: u32 = 1 << 1;
    /// The access was made at CPL 3.
    pub const USER: u32 = 1 << 2;
    /// An entry has a reserved bit set.
    pub const RESERVED: u32 = 1 << 3;
    /// The access was an instruction fetch.
    pub const FETCH: u32 = 1 << 4;
}

/// What keeps an access to guest-linear memory from being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkFault {
    /// The guest's tables do not permit it.
    Page(PageFault),
    /// The linear address is not canonical.
    NonCanonical(u64),
    /// A table, or what is to be read or written, lies where the guest has no RAM.
    Unbacked(Unbacked),
    /// The linear address is to be written, and its entry changes too fast to be marked dirty.
    Changing(u64),
}

impl fmt::Display for WalkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Page(PageFault { address, error_code }) => {
                write!(
                    f,
                    "linear {address:#x} faults with error code {error_code:#x}; inject #PF into the guest"
                )
            }
            Self::NonCanonical(address) => {
                write!(f, "linear {address:#x} is not canonical; inject #GP(0) into the guest")
            }
            Self::Unbacked(unbacked) => {
                write!(
                    f,
                    "the guest's tables lead to where it has no RAM: {unbacked}; end the VM with a report"
                )
            }
            Self::Changing(address) => {
                write!(f, "the entry of linear {address:#x} changes all the time; have the guest hold still")
            }
        }
    }
}

impl From<Unbacked> for WalkFault {
    fn from(unbacked: Unbacked) -> Self {
        Self::Unbacked(unbacked)
    }
}
