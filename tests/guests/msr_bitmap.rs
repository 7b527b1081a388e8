// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether RDMSR exits follows the MSR bitmap as it changes, on every vCPU wherever it goes; its value is right either way.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::catalogue;
use tests::effort;
use tests::exerciser;
use tests::exerciser::Counters;
use tests::msr;
use tests::processors;
use tests::sync::Barrier;
use tests::verdict::expect_eq;

tests::program!(run);

const VCPUS: usize = catalogue::VCPUS as usize;
/// How often an MSR is read at a time.
const READS: u64 = 40;
/// Whether reads exit, one after the other: as at first, and then all changes, and none.
const SWITCHES: [bool; 8] = [false, true, false, true, true, false, false, false];

/// MSRs that the processor serves, half of them from the VMCS. They hold any canonical address.
const MSRS: [u32; 6] =
    [msr::KERNEL_GS_BASE, msr::FS_BASE, msr::LSTAR, msr::SYSENTER_EIP, msr::STAR, msr::GS_BASE];

static ALL_HAVE_LOOKED: Barrier = Barrier::new();
static SWITCHED: Barrier = Barrier::new();

fn run() {
    let before = Counters::now();
    processors::together(VCPUS, follow);
    before.report();
}

fn follow(number: usize) {
    for (row, msr) in MSRS.into_iter().enumerate() {
        for (step, exits) in SWITCHES.into_iter().enumerate() {
            ALL_HAVE_LOOKED.wait(VCPUS);
            if number == (row + step) % VCPUS {
                exerciser::intercept_reads(msr, exits);
            }
            SWITCHED.wait(VCPUS);
            let value = 0x7f00_0000_0000 | (row as u64) << 24 | (step as u64) << 16 | number as u64;
            msr::set(msr, value);
            look(msr, value, exits);
            exerciser::migrate();
            look(msr, value, exits);
        }
    }
}

/// The exits of asking how many there were come first, so by then this vCPU goes by what was switched elsewhere.
fn look(msr: u32, value: u64, exits: bool) {
    let reads = effort::of(READS) as u32;
    let before = exerciser::read_exits();
    for _ in 0..reads {
        expect_eq(format_args!("MSR {msr:#x}"), msr::get(msr), value);
    }
    let exited = exerciser::read_exits().wrapping_sub(before);
    let expected = if exits { reads } else { 0 };
    expect_eq(format_args!("exits for {reads} reads of MSR {msr:#x}"), exited, expected);
}
