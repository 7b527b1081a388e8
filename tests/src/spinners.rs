// SPDX-License-Identifier: MIT OR Apache-2.0
//! vCPUs that spin while one of them measures: what all of them execute, and what of that is not their spinning.
//!
//! The others spin in a loop of three instructions and count its rounds. How many instructions a tick of the TSC is, which depends
//! on the emulator and on the number of CPUs, is measured first.

// UNSAFETY: the loops are assembly, so that it is known what they consist of.
#![expect(unsafe_code)]

use crate::processors;
use crate::time;
use core::arch::asm;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// Instructions of one round of the others' loop, and of ours.
const SPINNING: u64 = 3;
const COUNTING: u64 = 2;
const CALIBRATION: u64 = 1_000_000;

static SPUN: [AtomicU64; processors::MOST] = [const { AtomicU64::new(0) }; processors::MOST];
static OVER: AtomicBool = AtomicBool::new(false);

/// Spins on the vCPU with this number, until it is [over](end).
pub fn spin(number: usize) {
    // SAFETY: the words are atomics.
    unsafe {
        asm!(
            "2:",
            "inc qword ptr [{rounds}]",
            "cmp byte ptr [{over}], 0",
            "je 2b",
            rounds = in(reg) SPUN[number].as_ptr(),
            over = in(reg) OVER.as_ptr(),
            options(nostack),
        );
    }
}

/// Ends all spinning, for good.
pub fn end() {
    OVER.store(true, Relaxed);
}

/// What passed while something was done.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    /// Ticks of the TSC.
    pub ticks: u64,
    /// Instructions of loops of those who spin.
    pub spun: u64,
}

/// Observes `act`.
pub fn observe(act: impl FnOnce()) -> Observed {
    let spun = || SPUN.iter().map(|rounds| rounds.load(Relaxed)).sum::<u64>() * SPINNING;
    let (spun_before, start) = (spun(), time::tsc());
    act();
    Observed { ticks: time::tsc() - start, spun: spun() - spun_before }
}

/// How many instructions all CPUs execute in a thousand ticks, while all others spin.
#[must_use]
pub fn instructions_in_1000_ticks() -> u64 {
    let Observed { ticks, spun } = observe(|| {
        // SAFETY: counts down.
        unsafe { asm!("2: dec {0}", "jnz 2b", inout(reg) CALIBRATION => _, options(nomem, nostack)) };
    });
    (spun + CALIBRATION * COUNTING) * 1_000 / ticks
}
