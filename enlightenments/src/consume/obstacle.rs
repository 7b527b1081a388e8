// SPDX-License-Identifier: MIT OR Apache-2.0
//! What went wrong when we tried to use something that L0 offers.

use super::MsrRefused;
use super::crash::NotReported;
use super::time::TimeError;
use core::fmt;
use hyperv_bindings::hypercall::Status;

/// Why L0's offer came to nothing. Its `Display` is one clause for the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// L0 answered an access to a synthetic MSR with #GP.
    Refused(MsrRefused),
    /// L0 did not do what it was called for.
    Call(Status),
    /// L0 accepted a write, but the MSR does not say so when it is read back.
    NotTaken {
        /// The MSR's address.
        msr: u32,
    },
    /// An MSR holds what no machine has.
    Absurd {
        /// The MSR's address.
        msr: u32,
        /// What it holds.
        value: u64,
    },
    /// An earlier kernel has put the hypercall page elsewhere, and locked it there until the machine is reset.
    Locked,
    /// There was no reason to try: [`may_use`](super::Capabilities::may_use) said no.
    NotTried,
    /// Something else.
    Other(&'static str),
}

impl From<MsrRefused> for Obstacle {
    fn from(refused: MsrRefused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Status> for Obstacle {
    fn from(status: Status) -> Self {
        Self::Call(status)
    }
}

impl From<TimeError> for Obstacle {
    fn from(error: TimeError) -> Self {
        match error {
            TimeError::Refused(refused) => Self::Refused(refused),
            TimeError::NotTaken { msr } => Self::NotTaken { msr },
            TimeError::Absurd { msr, value } => Self::Absurd { msr, value },
        }
    }
}

impl From<NotReported> for Obstacle {
    fn from(error: NotReported) -> Self {
        match error {
            NotReported::Refused(refused) => Self::Refused(refused),
            NotReported::NotTaken => Self::Other("L0 takes no reports"),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(MsrRefused { msr }) => write!(f, "#GP on MSR {msr:#010x}"),
            Self::Call(status) => write!(f, "the call ends with {status}"),
            Self::NotTaken { msr } => write!(f, "MSR {msr:#010x} does not keep what is written"),
            Self::Absurd { msr, value } => write!(f, "MSR {msr:#010x} tells {value}, which cannot be"),
            Self::Locked => f.write_str("locked at another page, reset the machine"),
            Self::NotTried => f.write_str("not tried"),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

impl core::error::Error for Obstacle {}
