// SPDX-License-Identifier: MIT OR Apache-2.0
//! The TSC of the KVM host.

// UNSAFETY: the library has this instruction as an unsafe function.
#![expect(unsafe_code)]

/// Where it stands.
pub fn now() -> u64 {
    // SAFETY: reading has no effect.
    unsafe { core::arch::x86_64::_rdtsc() }
}
