// SPDX-License-Identifier: MIT OR Apache-2.0
//! Time by the TSC, and waits that end.

// UNSAFETY: RDTSC and RDTSCP are assembly.
#![expect(unsafe_code)]

use crate::cpuid;
use crate::start_info;
use crate::verdict;
use core::arch::asm;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

static AT_ENTRY: AtomicU64 = AtomicU64::new(0);

/// Keeps the TSC that was read at the program's first instruction.
pub fn set_at_entry(tsc: u64) {
    AT_ENTRY.store(tsc, Relaxed);
}

/// The TSC at the program's first instruction.
#[must_use]
pub fn at_entry() -> u64 {
    AT_ENTRY.load(Relaxed)
}

/// The TSC, read after everything before it is done.
#[must_use]
pub fn tsc() -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: reading has no effect.
    unsafe { asm!("lfence", "rdtsc", out("rax") low, out("rdx") high) };
    high << 32 | low
}

/// RDTSCP: the TSC, and ECX, which is IA32_TSC_AUX.
#[must_use]
pub fn tsc_and_aux() -> (u64, u32) {
    let (low, high, aux): (u64, u64, u32);
    // SAFETY: reading has no effect.
    unsafe { asm!("rdtscp", out("rax") low, out("rdx") high, out("ecx") aux) };
    (high << 32 | low, aux)
}

/// Ticks of the TSC per second as CPUID leaf 0x15 tells them (SDM volume 3, 20.7.3), if it does.
#[must_use]
pub fn tsc_hz_by_cpuid() -> Option<u64> {
    if cpuid::highest_basic() < 0x15 {
        return None;
    }
    let leaf = cpuid::leaf(0x15);
    let (denominator, numerator, crystal) = (u64::from(leaf.eax), u64::from(leaf.ebx), u64::from(leaf.ecx));
    let hz = (crystal * numerator).checked_div(denominator)?;
    (hz != 0).then_some(hz)
}

/// Ticks of the TSC per second. Where CPUID does not tell, as on QEMU, the command line must: `tsc-hz=1000000000`.
#[must_use]
pub fn tsc_hz() -> u64 {
    match tsc_hz_by_cpuid().or_else(|| start_info::number("tsc-hz")) {
        Some(hz) if hz >= 1000 => hz,
        seen => verdict::fail(format_args!(
            "the TSC's frequency: expected in CPUID leaf 0x15 or as tsc-hz=N, saw {seen:?}"
        )),
    }
}

/// So many ticks of the TSC pass in so many microseconds.
#[must_use]
pub fn ticks(microseconds: u64) -> u64 {
    (u128::from(tsc_hz()) * u128::from(microseconds) / 1_000_000) as u64
}

/// The TSC, and what `read` gives then. Whoever runs this machine may stop it between the two: of several attempts the
/// quickest counts.
pub fn tsc_with<R>(mut read: impl FnMut() -> R) -> (u64, R) {
    const MORE_ATTEMPTS: usize = 4;
    let mut once = || {
        let at = tsc();
        let value = read();
        (tsc().wrapping_sub(at), at, value)
    };
    let mut quickest = once();
    for _ in 0..MORE_ATTEMPTS {
        let next = once();
        if next.0 < quickest.0 {
            quickest = next;
        }
    }
    (quickest.1, quickest.2)
}

/// How long, in microseconds, something may take that takes so long where nobody stops the machine: on the leg `kvm` the system
/// below has other work, too.
#[must_use]
pub fn patience(microseconds: u64) -> u64 {
    if start_info::number("kvm-below").is_some() { 25 * microseconds } else { microseconds }
}

/// Polls until `condition` holds; after so many microseconds the program fails: `what` did not happen.
#[track_caller]
pub fn wait_for(what: &str, microseconds: u64, mut condition: impl FnMut() -> bool) {
    let start = tsc();
    let patience = ticks(patience(microseconds));
    while !condition() {
        if tsc().wrapping_sub(start) > patience {
            verdict::fail(format_args!("{what}: expected within {microseconds} us, saw nothing"));
        }
    }
}

/// Spins for so many microseconds.
pub fn spin(microseconds: u64) {
    let start = tsc();
    let ticks = ticks(microseconds);
    while tsc().wrapping_sub(start) < ticks {
        core::hint::spin_loop();
    }
}
