// SPDX-License-Identifier: MIT OR Apache-2.0
//! The virtual CPUs: which one this is, and how the others are started, by INIT and SIPI (SDM volume 3, 10.4.4.1).
//!
//! A vCPU is known by its number, which is its APIC ID. Each but the first has a stack of its own, and the stack tells
//! which one is running. Memory, page tables and the interrupt descriptor table are those of all.

// UNSAFETY: a CPU starts in real mode, on no stack; the way from there to Rust is assembly.
#![expect(unsafe_code)]

mod trampoline;

use crate::local_apic;
use crate::local_apic::LocalApic;
use crate::sync::Barrier;
use crate::time;
use crate::verdict;
use core::arch::asm;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Release;

pub use trampoline::Arrival;
pub use trampoline::PAGE as TRAMPOLINE;
pub use trampoline::VECTOR;
pub use trampoline::arrival;
pub use trampoline::arrivals;
pub use trampoline::prepare_to_count;

/// The most vCPUs that the runtime can serve.
pub const MOST: usize = 8;

/// Bytes of the stack of each vCPU but the first.
const STACK_SIZE: usize = 32 << 10;

/// How long a vCPU may take from its SIPI to Rust, in microseconds.
const TIME_TO_START_US: u64 = 2_000_000;

#[repr(C, align(4096))]
struct Stack([AtomicU64; STACK_SIZE / 8]);

static STACKS: [Stack; MOST - 1] = [const { Stack([const { AtomicU64::new(0) }; STACK_SIZE / 8]) }; MOST - 1];

/// What each vCPU is to run, a `fn(usize)`, and whether it has got there.
static WORK: [AtomicPtr<()>; MOST] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MOST];
static RUNS: [AtomicBool; MOST] = [const { AtomicBool::new(false) }; MOST];

/// The number of the vCPU that asks.
#[must_use]
pub fn current() -> usize {
    let stack: usize;
    // SAFETY: reading a register has no effect.
    unsafe { asm!("mov {}, rsp", out(reg) stack, options(nomem, nostack, preserves_flags)) };
    match stack.checked_sub((&raw const STACKS).addr()) {
        Some(offset) if offset < size_of_val(&STACKS) => 1 + offset / STACK_SIZE,
        // Whatever stack the first vCPU has made itself.
        _ => 0,
    }
}

/// Starts vCPU `number`, which runs `work` with its number and then halts for ever; comes back once it runs.
#[track_caller]
pub fn start(number: usize, work: fn(usize)) {
    prepare(number, work);
    let apic = LocalApic::enabled();
    apic.send(number as u32, local_apic::INIT);
    apic.send(number as u32, local_apic::START_UP | VECTOR);
    expect_start(number);
}

/// Makes vCPU `number` run `work` when it is started by a SIPI with [`VECTOR`].
pub fn prepare(number: usize, work: fn(usize)) {
    assert!((1..MOST).contains(&number), "no stack for vCPU {number}");
    WORK[number].store(work as *mut (), Release);
    RUNS[number].store(false, Release);
    let stack = &STACKS[number - 1];
    trampoline::write((&raw const *stack).addr() as u64 + STACK_SIZE as u64, in_rust);
}

/// Waits until vCPU `number`, which was prepared, is in Rust.
#[track_caller]
pub fn expect_start(number: usize) {
    time::wait_for("start of another vCPU", TIME_TO_START_US, || RUNS[number].load(Acquire));
}

/// Runs `work` on so many vCPUs at once, this one included, which must be the first; comes back when all have done it.
#[track_caller]
pub fn together(count: usize, work: fn(usize)) {
    static TOGETHER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
    static BEGIN: Barrier = Barrier::new();
    static END: Barrier = Barrier::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    fn between_barriers(number: usize) {
        let count = COUNT.load(Acquire) as usize;
        BEGIN.wait(count);
        // SAFETY: only `together` writes it, and it writes a function of this type.
        let work = unsafe { core::mem::transmute::<*mut (), fn(usize)>(TOGETHER.load(Acquire)) };
        work(number);
        END.wait(count);
    }
    TOGETHER.store(work as *mut (), Release);
    COUNT.store(count as u64, Release);
    for number in 1..count {
        start(number, between_barriers);
    }
    between_barriers(0);
}

/// Where the trampoline ends, on the stack of the vCPU that was started.
extern "C" fn in_rust() -> ! {
    crate::idt::load();
    let number = current();
    let work = WORK[number].load(Acquire);
    // SAFETY: only `prepare` writes it, and it writes a function of this type.
    let work = unsafe { core::mem::transmute::<*mut (), fn(usize)>(work) };
    let _ = LocalApic::enabled();
    RUNS[number].store(true, Release);
    work(number);
    verdict::stop()
}
