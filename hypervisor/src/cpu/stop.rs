// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of the machine's work: one CPU says so, and all others halt where they are, by a non-maskable interrupt.
//!
//! Who halts keeps its locks. So the one that goes on must take none, nor allocate.

use crate::cpu::CpuNumber;
use crate::cpu::cpus;
use crate::cpu::hardware;
use crate::cpu::local_apic;
use crate::cpu::number::current;
use core::hint;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering;

/// How often the others are asked whether they have halted, before they are given up: a second or so.
const PATIENCE: u32 = 10_000_000;

/// Set once, by the CPU that ends it.
static UNDER_WAY: AtomicBool = AtomicBool::new(false);
/// How many have halted because of it.
static HALTED: AtomicUsize = AtomicUsize::new(0);
/// This CPU: the one that boots, for as long as there may be none other.
#[must_use]
pub fn this_cpu() -> CpuNumber {
    if cpus::known().is_some() { current() } else { CpuNumber::BOOT }
}

/// Whether this CPU is the first to end it. A second one has only to halt: so there is one report.
#[must_use]
pub fn begin() -> bool {
    !UNDER_WAY.swap(true, Ordering::SeqCst)
}

/// Halts all other CPUs, and waits until they have, or for so long that one more second would not help.
pub fn others() {
    let Some(cpus) = cpus::known() else { return };
    let others = cpus.iter().filter(|&(cpu, _)| cpu != current());
    let asked = others.inspect(|&(_, apic_id)| local_apic::send_nmi(apic_id)).count();
    let all_have = |_| {
        hint::spin_loop();
        HALTED.load(Ordering::Acquire) >= asked
    };
    let _ = (0..PATIENCE).any(all_have);
}

/// Halts all CPUs for ever, unless another has begun to; then it is that one's to tell why.
pub fn all() -> ! {
    if begin() {
        others();
    }
    hardware::stop()
}

/// What a CPU does on a non-maskable interrupt: it halts for ever, if that is what it is for.
pub fn obey() {
    if UNDER_WAY.load(Ordering::SeqCst) {
        HALTED.fetch_add(1, Ordering::Release);
        hardware::stop()
    }
}
