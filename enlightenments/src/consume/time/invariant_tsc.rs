// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUID tells that the TSC is invariant only to those who say that they know what that means (TLFS, "Partition Reference TSC").

use super::TimeError;
use super::write_checked;
use crate::consume::SyntheticMsrs;
use hyperv_bindings::msr;
use hyperv_bindings::msr::TscInvariantControl;

/// Has CPUID leaf 0x80000007 show an invariant TSC, on all processors. It stays so until the partition is reset, so there is
/// nothing to tear down.
///
/// # Errors
/// Where L0 does not take it.
pub fn expose_invariant_tsc(msrs: &impl SyntheticMsrs) -> Result<(), TimeError> {
    let exposed = TscInvariantControl::new().with_invariant_tsc_exposed(true).into_bits();
    let control = msrs.read(msr::TSC_INVARIANT_CONTROL)?;
    if control & exposed != 0 {
        return Ok(());
    }
    write_checked(msrs, msr::TSC_INVARIANT_CONTROL, control | exposed, exposed)
}
