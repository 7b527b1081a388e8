// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unknown MSRs, and reserved bits of known ones, raise #GP(0) and change nothing.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::exceptions::GP0;
use tests::exceptions::code;
use tests::local_apic::Register;
use tests::msr;
use tests::verdict::expect_eq;

tests::program!(run);

/// Numbers that no CPU gives to an MSR: inside and at the edges of what the MSR bitmaps cover, beyond them, and in the
/// ranges of hypervisors.
const UNKNOWN: [u32; 14] = [
    0x0000_1ffe,
    0x0000_1fff,
    0x0000_2000,
    0x1234_5678,
    0x4000_0000,
    0x4000_0001,
    0x4000_0002,
    0x4000_0073,
    0x4000_0118,
    0x4fff_ffff,
    0xbfff_ffff,
    0xc000_1fff,
    0xc000_2000,
    0xffff_ffff,
];

/// What the registers hold before an attempt that must leave them alone.
const PATTERN: u64 = 0xa5a5_5a5a_c3c3_3c3c;

fn run() {
    for number in UNKNOWN {
        is_refused(number);
    }
    // VMX is hidden, so its capability MSRs are unknown.
    is_refused(msr::VMX_BASIC);
    // The x2APIC MSRs are not there in xAPIC mode.
    is_refused(Register::ID.msr());
    is_refused(Register::SELF_IPI.msr());
    reserved_bits_are_refused();
    impossible_apic_modes_are_refused();
}

fn is_refused(number: u32) {
    let (outcome, rax, rdx) = msr::read_registers(number, PATTERN);
    expect_eq(format_args!("RDMSR {number:#x}"), code(outcome), GP0);
    expect_eq(format_args!("RAX, RDX after refused RDMSR {number:#x}"), (rax, rdx), (PATTERN, PATTERN));
    for value in [0, 1, u64::MAX] {
        expect_eq(format_args!("WRMSR {number:#x} with {value:#x}"), code(msr::write(number, value)), GP0);
    }
}

fn reserved_bits_are_refused() {
    let pat = 0x0007_0406_0007_0406;
    for (number, flip) in [
        (msr::EFER, 1 << 1),
        (msr::EFER, 1 << 9),
        // SVME is AMD's.
        (msr::EFER, 1 << 12),
        (msr::EFER, 1 << 63),
        (msr::APIC_BASE, 1 << 0),
        (msr::APIC_BASE, 1 << 9),
        (msr::APIC_BASE, 1 << 63),
    ] {
        keeps(number, msr::get(number) ^ flip);
    }
    msr::set(msr::PAT, pat);
    for entry in 0..8 {
        for memory_type in [2, 3, 8, 0x80, 0xff] {
            keeps(msr::PAT, pat & !(0xff << (8 * entry)) | memory_type << (8 * entry));
        }
    }
    for bit in [2, 5, 31, 63] {
        expect_eq(format_args!("DEBUGCTL with bit {bit}"), code(msr::write(msr::DEBUGCTL, 1 << bit)), GP0);
    }
}

/// `value` is refused, and the MSR is as before.
fn keeps(number: u32, value: u64) {
    let before = msr::get(number);
    expect_eq(format_args!("WRMSR {number:#x} with {value:#x}"), code(msr::write(number, value)), GP0);
    expect_eq(format_args!("MSR {number:#x} after refused WRMSR with {value:#x}"), msr::get(number), before);
}

/// SDM volume 3, 12.12.5: x2APIC without the APIC is no mode, and is entered only from xAPIC.
fn impossible_apic_modes_are_refused() {
    let base = msr::get(msr::APIC_BASE);
    keeps(msr::APIC_BASE, base & !msr::APIC_BASE_EN | msr::APIC_BASE_EXTD);
    msr::set(msr::APIC_BASE, base | msr::APIC_BASE_EXTD);
    keeps(msr::APIC_BASE, base);
    keeps(msr::APIC_BASE, base & !msr::APIC_BASE_EN | msr::APIC_BASE_EXTD);
}
