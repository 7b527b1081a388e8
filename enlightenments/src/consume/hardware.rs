// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the interface needs of the hardware: synthetic MSRs and the hypercall. Models take their place in tests.

use core::fmt;
use hyperv_bindings::hypercall::InputValue;
use hyperv_bindings::hypercall::ResultValue;

/// L0 answered an access to a synthetic MSR with #GP: it does not have it, or refuses the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsrRefused {
    /// The MSR's address.
    pub msr: u32,
}

impl fmt::Display for MsrRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "L0 refuses MSR {:#010x}", self.msr)
    }
}

impl core::error::Error for MsrRefused {}

/// The synthetic MSRs of the virtual processor that we run on (TLFS, "Synthetic MSRs").
///
/// Whoever makes one vouches that L0 may be told so: among the values are addresses of pages that L0 then writes to.
pub trait SyntheticMsrs {
    /// Reads one.
    ///
    /// # Errors
    /// When L0 answers with #GP.
    fn read(&self, msr: u32) -> Result<u64, MsrRefused>;

    /// Writes one.
    ///
    /// # Errors
    /// When L0 answers with #GP.
    fn write(&self, msr: u32, value: u64) -> Result<(), MsrRefused>;
}

impl<M: SyntheticMsrs + ?Sized> SyntheticMsrs for &M {
    fn read(&self, msr: u32) -> Result<u64, MsrRefused> {
        (**self).read(msr)
    }

    fn write(&self, msr: u32, value: u64) -> Result<(), MsrRefused> {
        (**self).write(msr, value)
    }
}

/// The hypercall, through the page that L0 has filled (TLFS, "Hypercall Interface").
pub trait Hypercalls {
    /// Calls with an input in memory at the guest-physical address `input`, and an output at `output`, or 0 for none. L0 may
    /// come back early from a call with repetitions; see [`ResultValue`].
    fn call(&self, value: InputValue, input: u64, output: u64) -> ResultValue;
}
