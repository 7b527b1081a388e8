// SPDX-License-Identifier: MIT OR Apache-2.0
//! INIT and SIPI, in each order that the SDM allows, and the state in which they leave a vCPU.
//!
//! SDM volume 3, 10.4.4 (multiple-processor initialization) and table 11-1 (state after power-up, RESET and INIT).
#![cfg_attr(target_os = "none", no_std, no_main)]
// UNSAFETY: a vCPU halts and spins in ways of its own, which are assembly.
#![expect(unsafe_code)]

use core::arch::asm;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::Ordering::SeqCst;
use tests::catalogue;
use tests::control;
use tests::cpuid;
use tests::local_apic;
use tests::local_apic::LocalApic;
use tests::local_apic::Register;
use tests::msr;
use tests::processors;
use tests::processors::Arrival;
use tests::processors::TRAMPOLINE;
use tests::processors::VECTOR;
use tests::time;
use tests::verdict::expect;
use tests::verdict::expect_eq;
use tests::xsave_area;
use tests::xsave_area::Area;
use tests::xsave_area::X87_SSE_AVX;

tests::program!(run);

const VCPUS: usize = catalogue::VCPUS as usize;
/// The vCPU that is started over and over.
const AP: usize = 1;

const CACHES_OFF: u32 = (control::CR0_CD | control::CR0_NW) as u32;
/// CR0.ET, which is always set.
const CR0_ET: u32 = 1 << 4;
/// IA32_PAT after RESET, and another one.
const PAT_RESET: u64 = 0x0007_0406_0007_0406;
const PAT_OTHER: u64 = 0x0001_0506_0007_0406;
/// APIC_BASE.BSP.
const BOOTSTRAP: u64 = 1 << 8;
const KEPT_MSRS: [(u32, u64); 4] = [
    (msr::KERNEL_GS_BASE, 0x7f12_3456_7000),
    (msr::LSTAR, 0x7f12_3456_8000),
    (msr::STAR, 0x0023_0010_0000_0000),
    (msr::TSC_AUX, 0x1234),
];

/// How often an AP that runs has gone round its loop.
static BEATS: AtomicU64 = AtomicU64::new(0);

fn run() {
    the_first_start();
    what_runs_ignores_sipi_and_deassertion();
    init_stops_what_runs_until_a_sipi();
    what_init_keeps_and_what_it_does_not();
    init_takes_a_halted_one();
    two_inits_and_two_sipis_are_as_one();
    one_that_never_ran_needs_no_init();
    broadcasts_start_all_others();
    expect("vCPU 0 is the bootstrap processor", msr::get(msr::APIC_BASE) & BOOTSTRAP != 0);
}

fn send(command: u32) {
    LocalApic::current().send(AP as u32, command);
}

fn start_up() {
    send(local_apic::START_UP | VECTOR);
}

/// What a vCPU finds after INIT and SIPI, with these bits in CR0 and this PAT from before.
fn expected(caches: u32, pat: u64) -> Arrival {
    let edx = cpuid::leaf(1).eax;
    Arrival {
        general: [0, 0, edx, 0, 0, 0, 0, 0],
        control: [caches | CR0_ET, 0, 0, 0],
        debug: [0xffff_0ff0, 0x400],
        flags: 2,
        selectors: [(TRAMPOLINE >> 4) as u16, 0, 0, 0, 0, 0],
        tables: [(0xffff, 0); 2],
        msrs: [0, pat],
    }
}

fn beat(number: usize) {
    expect_eq("APIC ID", LocalApic::current().read(Register::ID) >> 24, number as u32);
    expect("it is no bootstrap processor", msr::get(msr::APIC_BASE) & BOOTSTRAP == 0);
    loop {
        BEATS.fetch_add(1, SeqCst);
    }
}

#[track_caller]
fn expect_beating() {
    let before = BEATS.load(SeqCst);
    time::wait_for("a running vCPU to go on", 500_000, || BEATS.load(SeqCst) > before + 10);
}

#[track_caller]
fn expect_stopped() {
    let stopped = || {
        let before = BEATS.load(SeqCst);
        time::spin(1_000);
        BEATS.load(SeqCst) == before
    };
    time::wait_for("INIT to stop a vCPU", 500_000, stopped);
    // For more than a time slice.
    let before = BEATS.load(SeqCst);
    time::spin(30_000);
    expect_eq("beats after INIT", BEATS.load(SeqCst), before);
}

fn the_first_start() {
    processors::start(AP, beat);
    expect_eq("state at the first start", processors::arrival(), expected(CACHES_OFF, PAT_RESET));
    expect_beating();
}

fn what_runs_ignores_sipi_and_deassertion() {
    start_up();
    time::spin(2_000);
    start_up();
    send(local_apic::INIT_DEASSERT);
    time::spin(30_000);
    expect_beating();
    expect_eq("arrivals after a second and a third SIPI", processors::arrivals(), 1);
}

fn init_stops_what_runs_until_a_sipi() {
    send(local_apic::INIT);
    expect_stopped();
    processors::prepare(AP, beat);
    start_up();
    processors::expect_start(AP);
    expect_beating();
    expect_eq("state after INIT, with caches on", processors::arrival(), expected(0, PAT_RESET));
}

fn what_init_keeps_and_what_it_does_not() {
    static READY: AtomicU64 = AtomicU64::new(0);
    processors::start(AP, |_| {
        xsave_area::enable();
        Area::pattern(0x5a).load();
        msr::set(msr::PAT, PAT_OTHER);
        for (msr, value) in KEPT_MSRS {
            msr::set(msr, value);
        }
        for write in [control::write_dr0, control::write_dr3, control::write_cr2] {
            expect_eq("DR0, DR3, CR2 are taken", write(0x1234_5000), Ok(()));
        }
        READY.store(1, SeqCst);
        // With interrupts off, and nothing that exits.
        loop {
            core::hint::black_box(());
        }
    });
    time::wait_for("a vCPU to set its state", 500_000, || READY.load(SeqCst) == 1);
    processors::start(AP, |_| {
        for (msr, value) in KEPT_MSRS {
            expect_eq(format_args!("MSR {msr:#x} after INIT"), msr::get(msr), value);
        }
        for (name, read) in [("DR0", control::dr0 as fn() -> u64), ("DR3", control::dr3)] {
            expect_eq(format_args!("{name} after INIT"), read(), 0);
        }
        let cr4 = control::cr4() | control::CR4_OSXSAVE | control::CR4_OSFXSR;
        expect_eq("CR4 takes OSXSAVE", control::write_cr4(cr4), Ok(()));
        expect_eq("XCR0 after INIT", control::xcr0(), Ok(X87_SSE_AVX));
        // XMM registers and their upper halves.
        let (before, after) = (Area::pattern(0x5a), Area::store());
        for range in [160..416, 576..832] {
            expect("SSE and AVX registers are kept over INIT", before.0[range.clone()] == after.0[range]);
        }
        READY.store(2, SeqCst);
    });
    expect_eq("state after INIT, with another PAT", processors::arrival(), expected(0, PAT_OTHER));
    time::wait_for("a vCPU to look at its state", 500_000, || READY.load(SeqCst) == 2);
}

fn init_takes_a_halted_one() {
    let halts: [fn(usize); 2] = [
        |_| {
            BEATS.store(0, Relaxed);
            // SAFETY: nobody needs this vCPU any more.
            unsafe { asm!("cli", "2: hlt", "jmp 2b") }
        },
        |_| {
            BEATS.store(0, Relaxed);
            // SAFETY: the same, and interrupts are served.
            unsafe { asm!("sti", "2: hlt", "jmp 2b") }
        },
    ];
    for halt in halts {
        BEATS.store(1, Relaxed);
        processors::start(AP, halt);
        time::wait_for("a vCPU to halt", 500_000, || BEATS.load(Relaxed) == 0);
        time::spin(500);
        processors::start(AP, beat);
        expect_beating();
        // The PAT is still that of the test before.
        expect_eq("state after INIT while halted", processors::arrival(), expected(0, PAT_OTHER));
    }
}

fn two_inits_and_two_sipis_are_as_one() {
    processors::prepare(AP, beat);
    send(local_apic::INIT);
    send(local_apic::INIT);
    // INIT, pulled back, as it was sent of old: the second half means nothing.
    send(local_apic::INIT_DEASSERT);
    start_up();
    start_up();
    processors::expect_start(AP);
    expect_beating();
    time::spin(30_000);
    expect_eq("arrivals after two INITs and two SIPIs", processors::arrivals(), 1);
}

/// After RESET all but the bootstrap processor wait for a SIPI.
fn one_that_never_ran_needs_no_init() {
    let fresh = AP + 1;
    processors::prepare(fresh, |_| BEATS.store(u64::MAX / 2, SeqCst));
    send(local_apic::INIT);
    expect_stopped();
    LocalApic::current().send(fresh as u32, local_apic::START_UP | VECTOR);
    processors::expect_start(fresh);
    time::wait_for("one that never ran", 500_000, || BEATS.load(SeqCst) == u64::MAX / 2);
    expect_eq("its state", processors::arrival(), expected(CACHES_OFF, PAT_RESET));
}

/// Some of them run, some are halted, one never ran.
fn broadcasts_start_all_others() {
    let apic = LocalApic::current();
    for _ in 0..3 {
        processors::prepare_to_count();
        apic.send(0, local_apic::ALL_BUT_SELF | local_apic::INIT);
        time::spin(1_000);
        apic.send(0, local_apic::ALL_BUT_SELF | local_apic::START_UP | VECTOR);
        time::wait_for("all others", 1_000_000, || processors::arrivals() as usize == VCPUS - 1);
        time::spin(5_000);
        expect_eq("vCPUs that started by a broadcast", processors::arrivals() as usize, VCPUS - 1);
    }
}
