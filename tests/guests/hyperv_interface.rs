// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hyper-V's interface is what it says: leaves, MSRs with their reserved bits, pages that hide and give back what is under them.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::cpuid;
use tests::cpuid::Leaf;
use tests::exceptions;
use tests::exceptions::GP0;
use tests::exceptions::code;
use tests::hyperv;
use tests::hyperv::ENABLED;
use tests::hyperv::GUEST_OS_ID;
use tests::hyperv::HYPERCALL;
use tests::hyperv::LOCKED;
use tests::hyperv::SOME_SYSTEM;
use tests::hyperv::TSC_INVARIANT_CONTROL;
use tests::hyperv::VP_ASSIST_PAGE;
use tests::hyperv::VP_INDEX;
use tests::msr;
use tests::physical;
use tests::verdict::expect;
use tests::verdict::expect_eq;

tests::program!(run);

/// Two pages, which hold patterns.
const HERE: u64 = 8 << 20;
const THERE: u64 = 12 << 20;
/// Input of calls.
const INPUT: u64 = 10 << 20;
/// The status of calls that nobody knows.
const INVALID_CODE: u64 = 2;
/// A call that nobody knows.
const UNKNOWN: u64 = 0x7fff;

fn run() {
    the_leaves_offer_the_least();
    there_is_no_call_before_the_guest_says_who_it_is();
    what_is_not_offered_is_not_there();
    reserved_bits_are_refused();
    the_hypercall_page_is_an_overlay();
    the_assist_page_is_an_overlay();
    a_page_can_only_be_where_memory_is();
    the_invariant_tsc_can_be_exposed();
    a_locked_page_stays();
}

fn the_leaves_offer_the_least() {
    let Leaf { eax, ebx, ecx, edx } = cpuid::leaf(0x4000_0000);
    expect_eq("highest leaf", eax, 0x4000_0005);
    let vendor = [ebx, ecx, edx].map(u32::to_le_bytes);
    expect_eq("vendor", vendor, [*b"Micr", *b"osof", *b"t Hv"]);
    expect_eq("signature", cpuid::leaf(0x4000_0001).eax.to_le_bytes(), *b"Hv#1");
    let Leaf { eax, ebx, .. } = cpuid::leaf(0x4000_0003);
    expect_eq("privileges but for the invariant TSC", (eax & !(1 << 15), ebx), (1 << 5 | 1 << 6, 0));
    let hints = cpuid::leaf(0x4000_0004).eax;
    expect_eq("hints", hints, 1 << 1 | 1 << 2 | 1 << 11);
    expect_eq("virtual processors", cpuid::leaf(0x4000_0005).eax, 64);
    let beyond = cpuid::leaf(0x4000_0006);
    expect_eq("the next leaf is out of range", beyond, cpuid::leaf(cpuid::highest_basic()));
}

fn there_is_no_call_before_the_guest_says_who_it_is() {
    let invalid_opcode = Err((exceptions::INVALID_OPCODE, 0));
    expect_eq("VMCALL by nobody", code(hyperv::vmcall(UNKNOWN, INPUT)), invalid_opcode);
    expect_eq("the guest OS id at first", msr::get(GUEST_OS_ID), 0);
    msr::set(HYPERCALL, HERE | ENABLED);
    expect_eq("the hypercall page of nobody", msr::get(HYPERCALL), 0);
    msr::set(GUEST_OS_ID, SOME_SYSTEM);
    expect_eq("the guest OS id", msr::get(GUEST_OS_ID), SOME_SYSTEM);
    expect_eq("VMCALL by somebody", hyperv::vmcall(UNKNOWN, INPUT), Ok(INVALID_CODE));
}

fn what_is_not_offered_is_not_there() {
    expect_eq("this is VP 0", msr::get(VP_INDEX), 0);
    expect_eq("the VP index is read-only", code(msr::write(VP_INDEX, 0)), GP0);
    let absent = (0x3..0x73).chain(0x74..0x118).chain(0x119..0x202);
    for number in absent.map(|low| 0x4000_0000 + low) {
        expect_eq(format_args!("RDMSR {number:#x}"), code(msr::read(number)), GP0);
        expect_eq(format_args!("WRMSR {number:#x}"), code(msr::write(number, 0)), GP0);
    }
}

fn reserved_bits_are_refused() {
    for bit in 2..12 {
        expect_eq(
            format_args!("HYPERCALL with bit {bit}"),
            code(msr::write(HYPERCALL, HERE | 1 << bit)),
            GP0,
        );
    }
    for bit in 1..12 {
        let outcome = code(msr::write(VP_ASSIST_PAGE, HERE | 1 << bit));
        expect_eq(format_args!("VP_ASSIST_PAGE with bit {bit}"), outcome, GP0);
    }
    expect_eq("nothing was taken", (msr::get(HYPERCALL), msr::get(VP_ASSIST_PAGE)), (0, 0));
}

fn pattern(page: u64, word: u64) -> u64 {
    page << 20 ^ word.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn fill(page: u64) {
    (0..512).for_each(|word| physical::write(page + word * 8, pattern(page, word)));
}

fn is_filled(page: u64) -> bool {
    (0..512).all(|word| physical::read::<u64>(page + word * 8) == pattern(page, word))
}

fn the_hypercall_page_is_an_overlay() {
    for page in [HERE, THERE] {
        fill(page);
    }
    for _ in 0..3 {
        msr::set(HYPERCALL, HERE | ENABLED);
        expect("the page hides what was there", !is_filled(HERE));
        expect_eq("a call by it", hyperv::call(HERE, UNKNOWN, INPUT), INVALID_CODE);
        msr::set(HYPERCALL, THERE | ENABLED);
        expect_eq("a call by it from elsewhere", hyperv::call(THERE, UNKNOWN, INPUT), INVALID_CODE);
        expect("what was hidden is there again", is_filled(HERE) && !is_filled(THERE));
        msr::set(HYPERCALL, THERE);
        expect("all that was hidden is there again", is_filled(HERE) && is_filled(THERE));
    }
    msr::set(HYPERCALL, HERE | ENABLED);
    msr::set(GUEST_OS_ID, 0);
    expect_eq("nobody has no hypercall page", msr::get(HYPERCALL), HERE);
    expect("its place is as it was", is_filled(HERE));
    msr::set(GUEST_OS_ID, SOME_SYSTEM);
}

fn the_assist_page_is_an_overlay() {
    fill(HERE);
    msr::set(VP_ASSIST_PAGE, HERE | ENABLED);
    expect_eq("VP_ASSIST_PAGE", msr::get(VP_ASSIST_PAGE), HERE | ENABLED);
    let zero = (0..512).all(|word| physical::read::<u64>(HERE + word * 8) == 0);
    expect("the assist page starts as zero", zero);
    physical::write(HERE + 8, 7_u64);
    expect_eq("the guest's to write", physical::read::<u64>(HERE + 8), 7);
    msr::set(VP_ASSIST_PAGE, 0);
    expect("what the assist page hid is there again", is_filled(HERE));
}

fn a_page_can_only_be_where_memory_is() {
    msr::set(HYPERCALL, HERE | ENABLED);
    for page in [0xd000_0000, 0xfee0_0000, 1 << 40, !0xfff] {
        for register in [HYPERCALL, VP_ASSIST_PAGE] {
            let outcome = code(msr::write(register, page | ENABLED));
            expect_eq(format_args!("a page at {page:#x}"), outcome, GP0);
        }
    }
    expect_eq("the page of before", hyperv::call(HERE, UNKNOWN, INPUT), INVALID_CODE);
}

fn the_invariant_tsc_can_be_exposed() {
    let offered = cpuid::leaf(0x4000_0003).eax >> 15 & 1 != 0;
    if offered {
        expect_eq("a reserved bit", code(msr::write(TSC_INVARIANT_CONTROL, 2)), GP0);
        msr::set(TSC_INVARIANT_CONTROL, 1);
        expect_eq("the TSC is exposed", msr::get(TSC_INVARIANT_CONTROL), 1);
        expect("CPUID shows it", cpuid::leaf(0x8000_0007).edx >> 8 & 1 != 0);
    } else {
        expect_eq("no such MSR", code(msr::read(TSC_INVARIANT_CONTROL)), GP0);
        expect_eq("no such MSR", code(msr::write(TSC_INVARIANT_CONTROL, 1)), GP0);
    }
}

fn a_locked_page_stays() {
    let locked = THERE | ENABLED | LOCKED;
    msr::set(HYPERCALL, locked);
    for value in [0, THERE, HERE | ENABLED, locked] {
        expect_eq(format_args!("{value:#x} to a locked MSR"), code(msr::write(HYPERCALL, value)), GP0);
    }
    expect_eq("the locked page", msr::get(HYPERCALL), locked);
    expect_eq("a call by it", hyperv::call(THERE, UNKNOWN, INPUT), INVALID_CODE);
}
