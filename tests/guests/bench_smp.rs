// SPDX-License-Identifier: MIT OR Apache-2.0
//! What it costs all CPUs together to take one page's mapping away while three of them are in the guest.
//!
//! The others spin in a loop of three instructions and count its rounds. What all CPUs execute, less what the others
//! execute in that loop, is the cost; how many instructions a tick of the TSC is, which depends on the emulator and on
//! the number of CPUs, is measured first.
#![cfg_attr(target_os = "none", no_std, no_main)]
// UNSAFETY: the loops are assembly, so that it is known what they consist of.
#![expect(unsafe_code)]

use core::arch::asm;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use tests::catalogue;
use tests::effort;
use tests::exerciser;
use tests::physical;
use tests::ports;
use tests::processors;
use tests::say;
use tests::time;

tests::program!(run);

const VCPUS: usize = catalogue::VCPUS as usize;
const ROUNDS: u64 = 1_000;
const PAGE: u64 = 8 << 20;
/// Instructions of one round of the others' loop, and of ours.
const SPINNING: u64 = 3;
const COUNTING: u64 = 2;
const CALIBRATION: u64 = 1_000_000;

static SPUN: [AtomicU64; VCPUS] = [const { AtomicU64::new(0) }; VCPUS];
static OVER: AtomicBool = AtomicBool::new(false);

fn run() {
    processors::together(VCPUS, |number| {
        if number == 0 {
            measure();
            OVER.store(true, Relaxed);
        } else {
            spin(number);
        }
    });
}

fn spin(number: usize) {
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

/// Ticks, and instructions of the others' loops, while `act` runs.
fn observe(act: impl FnOnce()) -> (u64, u64) {
    let spun = || SPUN.iter().map(|rounds| rounds.load(Relaxed)).sum::<u64>() * SPINNING;
    let (spun_before, start) = (spun(), time::tsc());
    act();
    (time::tsc() - start, spun() - spun_before)
}

fn measure() {
    time::spin(1_000);
    let (ticks, spun) = observe(|| {
        // SAFETY: counts down.
        unsafe { asm!("2: dec {0}", "jnz 2b", inout(reg) CALIBRATION => _, options(nomem, nostack)) };
    });
    let thousandths = (spun + CALIBRATION * COUNTING) * 1_000 / ticks;
    say!("bench: instructions_per_1000_ticks_on_{VCPUS}_cpus {thousandths}");

    let cost = |(ticks, spun): (u64, u64)| (ticks * thousandths / 1_000).saturating_sub(spun);
    let touch = || physical::write(PAGE, 1_u8);
    touch();
    exerciser::zap(PAGE, 1);
    let rounds = effort::of(ROUNDS);
    let (mut zaps, mut reads, mut taken) = (0, 0, 0);
    for _ in 0..rounds {
        touch();
        let observed = observe(|| ports::out_u32(exerciser::COMMAND, exerciser::ZAP));
        taken += observed.0;
        zaps += cost(observed);
        reads += cost(observe(|| _ = ports::in_u32(exerciser::COMMAND)));
    }
    say!("bench: zap_page_{VCPUS}_cpus {}", zaps.saturating_sub(reads) / rounds);
    say!("bench: zap_page_{VCPUS}_cpus_ticks {}", taken / rounds);
}
