// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUID names Satori, hides VMX, offers what the virtual machine has, and follows the state of the virtual CPU.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::control;
use tests::cpuid;
use tests::local_apic::LocalApic;
use tests::local_apic::Register;
use tests::verdict::expect;
use tests::verdict::expect_eq;

tests::program!(run);

fn run() {
    the_hypervisor_names_itself();
    features_are_those_of_the_virtual_machine();
    the_tsc_frequency_is_told();
    leaves_out_of_range_read_as_the_highest_basic_leaf();
    the_apic_id_is_the_apics();
    osxsave_follows_cr4();
    the_xsave_area_follows_xcr0();
    upper_halves_are_zeroed();
}

fn the_hypervisor_names_itself() {
    let leaf = cpuid::leaf(0x4000_0000);
    let [a, b, c] = [leaf.ebx, leaf.ecx, leaf.edx].map(u32::to_le_bytes);
    expect_eq("signature", [a, b, c], [*b"Sato", *b"riSa", *b"tori"]);
    expect("EAX of leaf 0x40000000 names a hypervisor leaf", leaf.eax >> 8 == 0x40_0000);
}

fn features_are_those_of_the_virtual_machine() {
    expect("there are basic leaves up to 0x15 at least", cpuid::highest_basic() >= 0x15);
    expect(
        "there are extended leaves up to 0x80000008 at least",
        cpuid::leaf(0x8000_0000).eax >= 0x8000_0008,
    );
    let leaf_1 = cpuid::leaf(1);
    for (bit, name, offered) in [
        (5, "VMX", false),
        (21, "x2APIC", true),
        (24, "TSC-deadline", true),
        (26, "XSAVE", true),
        (31, "hypervisor", true),
    ] {
        expect_eq(name, leaf_1.ecx >> bit & 1 != 0, offered);
    }
    expect("EDX: a local APIC", leaf_1.edx >> 9 & 1 != 0);
    expect("leaf 7: TSC_ADJUST", cpuid::leaf(7).ebx >> 1 & 1 != 0);
    let extended = cpuid::leaf(0x8000_0001).edx;
    for (bit, name) in [(11, "SYSCALL"), (20, "execute disable"), (27, "RDTSCP"), (29, "long mode")] {
        expect(name, extended >> bit & 1 != 0);
    }
}

fn the_tsc_frequency_is_told() {
    let leaf = cpuid::leaf(0x15);
    expect("leaf 0x15 has no zero in EAX, EBX and ECX", leaf.eax != 0 && leaf.ebx != 0 && leaf.ecx != 0);
}

fn leaves_out_of_range_read_as_the_highest_basic_leaf() {
    let highest = cpuid::highest_basic();
    let expected = cpuid::leaf(highest);
    for leaf in [highest + 1, 0x3fff_ffff, 0x4000_0001, 0x4000_0003, 0x8fff_ffff, 0xffff_ffff] {
        expect_eq(format_args!("leaf {leaf:#x}"), cpuid::leaf(leaf), expected);
    }
}

fn the_apic_id_is_the_apics() {
    let id = match LocalApic::current() {
        LocalApic::XApic => LocalApic::XApic.read(Register::ID) >> 24,
        LocalApic::X2Apic => LocalApic::X2Apic.read(Register::ID),
    };
    expect_eq("initial APIC ID in leaf 1", cpuid::leaf(1).ebx >> 24, id);
    expect_eq("x2APIC ID in leaf 0xb", cpuid::subleaf(0xb, 0).edx, id);
    expect_eq("leaf 0xb gives the sub-leaf back", cpuid::subleaf(0xb, 1).ecx & 0xff, 1);
}

fn osxsave_follows_cr4() {
    let osxsave = || cpuid::leaf(1).ecx >> 27 & 1;
    let cr4 = control::cr4() & !control::CR4_OSXSAVE;
    for _ in 0..2 {
        expect_eq("CR4.OSXSAVE is cleared", control::write_cr4(cr4), Ok(()));
        expect_eq("OSXSAVE without CR4.OSXSAVE", osxsave(), 0);
        expect_eq("CR4.OSXSAVE is set", control::write_cr4(cr4 | control::CR4_OSXSAVE), Ok(()));
        expect_eq("OSXSAVE with CR4.OSXSAVE", osxsave(), 1);
    }
}

/// CR4.OSXSAVE is set here.
fn the_xsave_area_follows_xcr0() {
    let supported = cpuid::subleaf(0xd, 0);
    expect_eq("leaf 0xd offers x87, SSE and AVX", supported.eax & 7, 7);
    let avx = cpuid::subleaf(0xd, 2);
    expect_eq("leaf 0xd, AVX: size and offset", (avx.eax, avx.ebx), (256, 576));
    for (xcr0, size) in [(1, 576), (3, 576), (7, 832), (1, 576)] {
        expect_eq(format_args!("XCR0 takes {xcr0}"), control::write_xcr(0, xcr0), Ok(()));
        expect_eq(format_args!("XCR0 reads {xcr0}"), control::xcr0(), Ok(xcr0));
        let leaf = cpuid::subleaf(0xd, 0);
        expect_eq(format_args!("size of the XSAVE area for XCR0 {xcr0}"), leaf.ebx, size);
        expect("the largest XSAVE area holds all that is offered", leaf.ecx >= 832);
    }
}

fn upper_halves_are_zeroed() {
    for leaf in [0, 1, 7, 0xd, 0x4000_0000, 0x8000_0000, 0x8fff_ffff] {
        let upper = 0xdead_beef_0000_0000;
        let registers = cpuid::registers(upper | leaf, upper);
        expect_eq(format_args!("upper halves after leaf {leaf:#x}"), registers.map(|r| r >> 32), [0; 4]);
        let plain = cpuid::registers(leaf, 0);
        expect_eq(format_args!("leaf {leaf:#x}, whatever the upper halves are"), registers, plain);
    }
}
