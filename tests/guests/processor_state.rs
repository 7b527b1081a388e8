// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registers that VM entry and exit do not switch are each vCPU's own, over time slices and over changes of CPU.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::catalogue;
use tests::control;
use tests::effort;
use tests::exceptions::Exception;
use tests::exerciser;
use tests::exerciser::Counters;
use tests::interrupts;
use tests::local_apic::LocalApic;
use tests::msr;
use tests::processors;
use tests::time;
use tests::verdict::expect_eq;
use tests::xsave_area;
use tests::xsave_area::Area;
use tests::xsave_area::KEPT;
use tests::xsave_area::X87_SSE_AVX;

tests::program!(run);

const VCPUS: usize = catalogue::VCPUS as usize;
/// How often each vCPU is given another state, and how often that is left alone and then looked at.
const STATES: u64 = 6;
const LOOKS: u64 = 12;
/// Longer than a time slice of a few, in all.
const PAUSE_US: u64 = 2_000;

/// MSRs that hold any canonical address, or what else is said.
const MSRS: [(&str, u32); 8] = [
    ("KERNEL_GS_BASE", msr::KERNEL_GS_BASE),
    ("LSTAR", msr::LSTAR),
    ("CSTAR", msr::CSTAR),
    ("STAR", msr::STAR),
    ("SYSENTER_ESP", msr::SYSENTER_ESP),
    ("SYSENTER_EIP", msr::SYSENTER_EIP),
    ("FS_BASE", msr::FS_BASE),
    ("GS_BASE", msr::GS_BASE),
];
/// Those with 32 bits.
const NARROW_MSRS: [(&str, u32); 2] = [("FMASK", msr::FMASK), ("TSC_AUX", msr::TSC_AUX)];

type Read = fn() -> u64;
type Write = fn(u64) -> Result<(), Exception>;
const ADDRESSES: [(&str, Read, Write); 5] = [
    ("DR0", control::dr0, control::write_dr0),
    ("DR1", control::dr1, control::write_dr1),
    ("DR2", control::dr2, control::write_dr2),
    ("DR3", control::dr3, control::write_dr3),
    ("CR2", control::cr2, control::write_cr2),
];

fn run() {
    let before = Counters::now();
    processors::together(VCPUS, keep_state);
    before.report();
}

/// A canonical address, another for each register, vCPU and state.
fn value(register: usize, seed: u64) -> u64 {
    0x7f00_0000_0000 | seed << 24 | (register as u64) << 12 | 0xabc
}

fn keep_state(number: usize) {
    xsave_area::enable();
    for state in 0..effort::of(STATES) {
        let seed = state * VCPUS as u64 + number as u64 + 1;
        let xcr0 = if seed.is_multiple_of(2) { X87_SSE_AVX } else { 3 };
        let area = Area::pattern(seed as u8);
        area.load();
        expect_eq("XCR0 is taken", control::write_xcr(0, xcr0), Ok(()));
        load(seed);
        for look in 0..LOOKS {
            pass_time(look);
            compare(seed);
            expect_eq("XCR0", control::xcr0(), Ok(xcr0));
        }
        expect_eq("XCR0 is taken", control::write_xcr(0, X87_SSE_AVX), Ok(()));
        compare_area(&area, number);
    }
}

/// In each way that brings another vCPU on, or this one elsewhere.
fn pass_time(look: u64) {
    match look % 3 {
        0 => time::spin(PAUSE_US),
        1 => exerciser::migrate(),
        _ => {
            let ticks = u32::try_from(time::ticks(PAUSE_US)).unwrap_or(u32::MAX);
            LocalApic::current().start_timer(0x40, 0, ticks);
            interrupts::wait();
        }
    }
}

fn load(seed: u64) {
    for (index, (_, msr)) in MSRS.into_iter().enumerate() {
        msr::set(msr, value(index, seed));
    }
    for (index, (_, msr)) in NARROW_MSRS.into_iter().enumerate() {
        msr::set(msr, value(index, seed) & 0xffff_ffff);
    }
    for (index, (name, _, write)) in ADDRESSES.into_iter().enumerate() {
        expect_eq(format_args!("{name} is taken"), write(value(index, seed)), Ok(()));
    }
}

#[track_caller]
fn compare(seed: u64) {
    for (index, (name, msr)) in MSRS.into_iter().enumerate() {
        expect_eq(name, msr::get(msr), value(index, seed));
    }
    for (index, (name, msr)) in NARROW_MSRS.into_iter().enumerate() {
        expect_eq(name, msr::get(msr), value(index, seed) & 0xffff_ffff);
    }
    for (index, (name, read, _)) in ADDRESSES.into_iter().enumerate() {
        expect_eq(name, read(), value(index, seed));
    }
    // As an instruction reads it, without RDMSR.
    expect_eq("RDTSCP's ECX", u64::from(time::tsc_and_aux().1), value(1, seed) & 0xffff_ffff);
}

fn compare_area(area: &Area, number: usize) {
    let after = Area::store();
    for (name, range) in KEPT {
        for offset in range {
            let what = format_args!("{name} of vCPU {number}, byte {offset} of the area");
            expect_eq(what, after.0[offset], area.0[offset]);
        }
    }
}
