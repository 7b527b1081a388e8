// SPDX-License-Identifier: MIT OR Apache-2.0
//! Time as L0 tells it: how fast the TSC ticks, what time it is, and when the machine under us was exchanged for another
//! (TLFS, "Timers" and "Nested Virtualization").
//!
//! Nothing here believes L0: a frequency is refused that no machine has, and no page is read for longer than a few tries.

mod frequency;
mod invariant_tsc;
mod l0_clock;
#[cfg(test)]
pub(super) mod model;
mod reenlightenment;
mod reference;

pub use frequency::apic_timer_hz;
pub use frequency::tsc_hz;
pub use invariant_tsc::expose_invariant_tsc;
pub use l0_clock::L0Clock;
pub use reenlightenment::Reenlightenment;
pub use reference::REFERENCE_HZ;
pub use reference::ReferenceTsc;
pub use reference::reference_counter;

use super::MsrRefused;
use super::SyntheticMsrs;
use core::fmt;

/// Why something of L0's time cannot be used. Its `Display` is one clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeError {
    /// L0 answers an access with #GP.
    Refused(MsrRefused),
    /// L0 took what was written to the MSR, and does not show it when it is read back.
    NotTaken {
        /// The MSR's address.
        msr: u32,
    },
    /// The MSR holds what no machine has.
    Absurd {
        /// The MSR's address.
        msr: u32,
        /// What it holds.
        value: u64,
    },
}

impl From<MsrRefused> for TimeError {
    fn from(refused: MsrRefused) -> Self {
        Self::Refused(refused)
    }
}

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::NotTaken { msr } => write!(f, "L0 does not keep what is written to MSR {msr:#010x}"),
            Self::Absurd { msr, value } => write!(f, "L0 tells {value} in MSR {msr:#010x}, which cannot be"),
        }
    }
}

impl core::error::Error for TimeError {}

/// Writes `value`, and makes sure that L0 has kept those bits of it that are in `mask`.
fn write_checked(msrs: &impl SyntheticMsrs, msr: u32, value: u64, mask: u64) -> Result<(), TimeError> {
    msrs.write(msr, value)?;
    if (msrs.read(msr)? ^ value) & mask == 0 { Ok(()) } else { Err(TimeError::NotTaken { msr }) }
}

#[cfg(test)]
mod tests;
