// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where CPUID's answers come from: the CPU, or a model in tests.

use core::arch::x86_64::__cpuid_count;
use core::arch::x86_64::CpuidResult;

/// Answers CPUID.
pub trait CpuidSource {
    /// What CPUID returns for `leaf` in EAX and `subleaf` in ECX.
    ///
    /// A leaf that the CPU does not know is answered with the data of another one, not with zeroes.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult;
}

/// The CPU that we run on.
#[derive(Clone, Copy, Debug, Default)]
pub struct NativeCpuid;

impl CpuidSource for NativeCpuid {
    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        __cpuid_count(leaf, subleaf)
    }
}
