// SPDX-License-Identifier: MIT OR Apache-2.0
//! The synthetic MSRs of the CPU that we run on.

// UNSAFETY: what is written may make L0 write to memory.
#![expect(unsafe_code)]

use crate::cpu::refusable;
use enlightenments::consume::MsrRefused;
use enlightenments::consume::SyntheticMsrs;

/// The synthetic MSRs, any of which L0 may refuse.
///
/// Only this module's parent has one, and hands it to [`enlightenments::consume`]; and that tells L0 of no pages but those
/// that it was given for it.
#[derive(Clone, Copy, Debug)]
pub struct NativeSyntheticMsrs(());

/// Those of whichever CPU asks.
pub(super) const HERE: NativeSyntheticMsrs = NativeSyntheticMsrs(());

impl SyntheticMsrs for NativeSyntheticMsrs {
    fn read(&self, msr: u32) -> Result<u64, MsrRefused> {
        refusable::read(msr).map_err(|_| MsrRefused { msr })
    }

    fn write(&self, msr: u32, value: u64) -> Result<(), MsrRefused> {
        // SAFETY: see above; beside pages, synthetic MSRs change nothing that our code runs on.
        unsafe { refusable::write(msr, value) }.map_err(|_| MsrRefused { msr })
    }
}
