// SPDX-License-Identifier: MIT OR Apache-2.0
//! The processor's random numbers (SDM vol. 1, "Random Number Generator Instructions").

// UNSAFETY: instructions that not every processor has.
#![expect(unsafe_code)]

use core::arch::asm;
use core::arch::x86_64::CpuidResult;
use core::fmt;

/// How often an instruction is tried again that has nothing to give: it is shared with other CPUs.
const ATTEMPTS: usize = 64;

/// The processor gives no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRandom;

impl fmt::Display for NoRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the processor gives no random numbers: show the machine a CPU with RDSEED or RDRAND")
    }
}

/// How random numbers are had.
#[derive(Clone, Copy)]
pub struct Random {
    seed: Instruction,
    number: Instruction,
}

/// Gives a number, unless there is none for the moment.
type Instruction = fn() -> Option<u64>;

impl Random {
    /// Of a processor that answers `cpuid` (leaf).
    #[must_use]
    pub fn of(cpuid: impl Fn(u32) -> CpuidResult) -> Self {
        const RDRAND: u32 = 1 << 30;
        const RDSEED: u32 = 1 << 18;
        let most = cpuid(0).eax;
        let has_rdrand = most >= 1 && cpuid(1).ecx & RDRAND != 0;
        let has_rdseed = most >= 7 && cpuid(7).ebx & RDSEED != 0;
        Self {
            seed: if has_rdseed { rdseed } else { nothing },
            number: if has_rdrand { rdrand } else { nothing },
        }
    }

    /// Of this processor.
    #[must_use]
    pub fn native() -> Self {
        Self::of(|leaf| core::arch::x86_64::__cpuid_count(leaf, 0))
    }

    /// By `number`, for tests.
    #[cfg(test)]
    pub(crate) fn model(number: fn() -> Option<u64>) -> Self {
        Self { seed: nothing, number }
    }

    /// A random number: a seed, or where there is none one that came of a seed.
    pub fn word(self) -> Result<u64, NoRandom> {
        let try_again = |instruction: Instruction| (0..ATTEMPTS).find_map(|_| instruction());
        try_again(self.seed).or_else(|| try_again(self.number)).ok_or(NoRandom)
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Random").finish_non_exhaustive()
    }
}

fn nothing() -> Option<u64> {
    None
}

/// Only for a processor that has RDSEED.
fn rdseed() -> Option<u64> {
    let (value, given): (u64, u8);
    // SAFETY: changes no memory. A processor without it raises #UD, which ends in our own report; this is only called where
    // it was found.
    unsafe { asm!("rdseed {}", "setc {}", out(reg) value, out(reg_byte) given, options(nomem, nostack)) };
    (given != 0).then_some(value)
}

/// Only for a processor that has RDRAND.
fn rdrand() -> Option<u64> {
    let (value, given): (u64, u8);
    // SAFETY: as for `rdseed`.
    unsafe { asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) given, options(nomem, nostack)) };
    (given != 0).then_some(value)
}
