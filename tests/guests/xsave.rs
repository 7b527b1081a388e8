// SPDX-License-Identifier: MIT OR Apache-2.0
//! x87, SSE and AVX state is kept across thousands of exits of several kinds, and XCR0 stays what the guest made it.
#![cfg_attr(target_os = "none", no_std, no_main)]
// UNSAFETY: AVX and x87 instructions are assembly.
#![expect(unsafe_code)]

use core::arch::asm;
use tests::control;
use tests::cpuid;
use tests::effort;
use tests::exceptions;
use tests::exceptions::code;
use tests::interrupts;
use tests::local_apic;
use tests::local_apic::LocalApic;
use tests::msr;
use tests::physical;
use tests::ports;
use tests::serial;
use tests::time;
use tests::verdict::expect_eq;
use tests::xsave_area;
use tests::xsave_area::Area;
use tests::xsave_area::KEPT;
use tests::xsave_area::X87_SSE_AVX;

tests::program!(run);

fn run() {
    xsave_area::enable();
    let apic = LocalApic::enabled();

    is_kept("nothing", 1, || ());
    is_kept("CPUID", 2000, || _ = cpuid::leaf(0));
    is_kept("a port read", 2000, || _ = ports::in_u8(serial::LINE_STATUS));
    is_kept("RDMSR", 2000, || _ = msr::get(msr::APIC_BASE));
    let base = msr::get(msr::APIC_BASE);
    is_kept("WRMSR", 2000, || msr::set(msr::APIC_BASE, base));
    is_kept("a device's memory", 2000, || _ = physical::read::<u32>(local_apic::BASE + 0x30));
    is_kept("a refused MSR", 500, || _ = msr::read(0x1fff));
    is_kept("HLT and the timer", 200, || halt(apic));
    a_smaller_xcr0_is_kept_too();
    the_cpu_still_computes();
    without_osxsave_there_is_no_xcr0();
}

/// Loads a state, exits many times, and expects it back. A different state each time: the last one must not do.
fn is_kept(exit: &str, times: u64, mut leave: impl FnMut()) {
    for seed in [0x11, 0xee] {
        let area = Area::pattern(seed);
        area.load();
        for _ in 0..effort::of(times) {
            leave();
        }
        let after = Area::store();
        expect_eq(format_args!("XCR0 after {exit}"), control::xcr0(), Ok(X87_SSE_AVX));
        for (name, range) in KEPT {
            for offset in range {
                let what = format_args!("{name}, byte {offset} of the area, after {exit}");
                expect_eq(what, after.0[offset], area.0[offset]);
            }
        }
    }
}

fn halt(apic: LocalApic) {
    apic.start_timer(0x40, 0, u32::try_from(time::ticks(20)).unwrap_or(u32::MAX));
    interrupts::wait();
}

/// AVX state stays in the registers while XCR0 does not have it.
fn a_smaller_xcr0_is_kept_too() {
    let area = Area::pattern(0x77);
    area.load();
    expect_eq("XCR0 takes 3", control::write_xcr(0, 3), Ok(()));
    for _ in 0..effort::of(500) {
        let _ = cpuid::leaf(0);
        let _ = ports::in_u8(serial::LINE_STATUS);
        expect_eq("XCR0 after exits", control::xcr0(), Ok(3));
    }
    expect_eq("XCR0 takes 7 again", control::write_xcr(0, X87_SSE_AVX), Ok(()));
    expect_eq("YMM registers meanwhile", Area::store().0[576..832] == area.0[576..832], true);
}

/// An AVX instruction and an x87 instruction give the right result, with exits between.
fn the_cpu_still_computes() {
    let (input, mut output) = ([0x1111_u64, 0x2222, 0x3333, 0x4444], [0_u64; 4]);
    let mut square: u64 = 0;
    // SAFETY: reads and writes the arrays only; RBX is kept.
    unsafe {
        asm!(
            "fninit",
            "fild qword ptr [{input}]",
            "vmovdqu ymm3, [{input}]",
            "push rbx",
            "xor eax, eax",
            "cpuid",
            "vpaddq ymm4, ymm3, ymm3",
            "xor eax, eax",
            "cpuid",
            "pop rbx",
            "fmul st(0), st(0)",
            "fistp qword ptr [{square}]",
            "vmovdqu [{output}], ymm4",
            input = in(reg) &raw const input,
            output = in(reg) &raw mut output,
            square = in(reg) &raw mut square,
            out("eax") _, out("ecx") _, out("edx") _,
        );
    }
    expect_eq("VPADDQ over exits", output, input.map(|lane| 2 * lane));
    expect_eq("FMUL over exits", square, 0x1111 * 0x1111);
}

fn without_osxsave_there_is_no_xcr0() {
    let undefined = Err((exceptions::INVALID_OPCODE, 0));
    let cr4 = control::cr4();
    expect_eq("CR4.OSXSAVE is cleared", control::write_cr4(cr4 & !control::CR4_OSXSAVE), Ok(()));
    expect_eq("XGETBV without CR4.OSXSAVE", code(control::xcr0()), undefined);
    expect_eq("XSETBV without CR4.OSXSAVE", code(control::write_xcr(0, 7)), undefined);
    expect_eq("CR4.OSXSAVE is set", control::write_cr4(cr4), Ok(()));
    expect_eq("XCR0 is as before", control::xcr0(), Ok(X87_SSE_AVX));
}
