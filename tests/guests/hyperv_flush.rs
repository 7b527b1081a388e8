// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flushes by hypercall: once a call has returned, no vCPU reads by a translation from before; each vCPU is caller and target at
//! once, but one that only reads.
#![cfg_attr(target_os = "none", no_std, no_main)]

use core::sync::atomic::AtomicU64;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::AcqRel;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Release;
use tests::catalogue;
use tests::control;
use tests::cpuid;
use tests::effort;
use tests::hyperv;
use tests::hyperv::FAST_WORDS;
use tests::hyperv::FLUSH_LIST;
use tests::hyperv::FLUSH_LIST_EX;
use tests::hyperv::FLUSH_SPACE;
use tests::hyperv::FLUSH_SPACE_EX;
use tests::hyperv::VP_INDEX;
use tests::hyperv::reps;
use tests::hyperv::variable_header;
use tests::msr;
use tests::paging;
use tests::physical;
use tests::processors;
use tests::sync::Barrier;
use tests::verdict::expect;
use tests::verdict::expect_eq;

tests::program!(run);

const VCPUS: usize = catalogue::VCPUS as usize;
/// They change their windows and flush; the last vCPU only reads.
const FLUSHERS: usize = VCPUS - 1;
/// How often each of them does.
const EPOCHS: u64 = 240;
/// As many as it takes for each call to come in each of its forms.
const FEWEST_EPOCHS: u64 = 48;
/// After each flush, so often all windows are looked at.
const LOOKS: usize = 20;
const EVERYBODY: u64 = (1 << VCPUS) - 1;

const HYPERCALL_PAGE: u64 = 30 << 20;
/// A page of input for each vCPU.
const INPUTS: u64 = 28 << 20;
/// Two large pages for each window.
const PAGES: u64 = 8 << 20;
const LARGE: u64 = 2 << 20;

/// The last change of each window whose flush has returned.
static FLUSHED: [AtomicU64; FLUSHERS] = [const { AtomicU64::new(0) }; FLUSHERS];
static WORKING: AtomicUsize = AtomicUsize::new(FLUSHERS);
static READY: Barrier = Barrier::new();

/// Flags of calls.
const ALL_PROCESSORS: u64 = 1;
const ALL_SPACES: u64 = 2;

fn run() {
    hyperv::enable(HYPERCALL_PAGE);
    errors_are_told();
    for number in 0..FLUSHERS {
        change_window(number, 0);
    }
    processors::together(VCPUS, |number| {
        expect_eq("the VP index", msr::get(VP_INDEX), number as u64);
        hyperv::use_xmm();
        READY.wait(VCPUS);
        if number < FLUSHERS { change_and_flush(number) } else { read_only() }
    });
}

fn change_and_flush(number: usize) {
    for epoch in 1..=effort::of(EPOCHS).max(FEWEST_EPOCHS) {
        let old = change_window(number, epoch);
        flush(number, epoch);
        FLUSHED[number].store(epoch, Release);
        // Who still comes there by an old translation reads this.
        physical::write(old, 0_u64);
        (0..LOOKS).for_each(|_| look());
    }
    WORKING.fetch_sub(1, AcqRel);
    // Until the last one is through, the others' flushes still have somebody to reach.
    read_only();
}

/// Never leaves the guest by itself.
fn read_only() {
    while WORKING.load(Acquire) > 0 {
        look();
    }
}

/// Has window `number` lead to its other page, which holds `epoch`; gives the one to which it led.
fn change_window(number: usize, epoch: u64) -> u64 {
    let pages = PAGES + number as u64 * 2 * LARGE;
    let (new, old) = (pages + epoch % 2 * LARGE, pages + (epoch + 1) % 2 * LARGE);
    physical::write(new, epoch);
    paging::change_window_of(number, new | paging::PRESENT | paging::WRITABLE | paging::LARGE);
    old
}

/// Each window leads to what its last flush left there, or to what comes next.
fn look() {
    for (number, flushed) in FLUSHED.iter().enumerate() {
        let least = flushed.load(Acquire);
        let seen = paging::read_window_of(number);
        expect(format_args!("window {number} shows {seen}, which is {least} at least"), seen >= least);
    }
}

/// One of the calls, each in its turn, in memory or in registers.
fn flush(number: usize, epoch: u64) {
    let window = paging::WINDOW + number as u64 * LARGE;
    let ranges = [window, 0x7000, 0x1_0003, 0xffff_8000_0000_0fff];
    let flags = if epoch.is_multiple_of(3) { ALL_SPACES } else { 0 };
    let mask = [control::cr3(), flags, EVERYBODY];
    let everybody = [control::cr3(), flags | ALL_PROCESSORS, 0];
    let set = [control::cr3(), flags, 0, 1, EVERYBODY];
    let all = [control::cr3(), flags, 1, 0];
    let fast = epoch.is_multiple_of(2) && xmm_input();
    let call = |value, header: &[u64], ranges: &[u64]| call(number, fast, value, header, ranges);
    match epoch / 2 % 8 {
        0 => call(FLUSH_SPACE, &mask, &[]),
        1 => call(FLUSH_SPACE, &everybody, &[]),
        2 => call(FLUSH_LIST, &mask, &ranges[..1]),
        3 => call(FLUSH_LIST, &everybody, &ranges),
        4 => call(FLUSH_SPACE_EX | variable_header(1), &set, &[]),
        5 => call(FLUSH_SPACE_EX, &all, &[]),
        6 => call(FLUSH_LIST_EX | variable_header(1), &set, &ranges),
        _ => call(FLUSH_LIST_EX, &all, &ranges[..2]),
    }
}

/// CPUID.40000003:EDX: input in XMM registers.
fn xmm_input() -> bool {
    cpuid::leaf(0x4000_0003).edx >> 4 & 1 != 0
}

fn call(number: usize, fast: bool, value: u64, header: &[u64], ranges: &[u64]) {
    let list = reps(ranges.len() as u64);
    let words = || header.iter().chain(ranges).copied();
    let result = if fast {
        let mut registers = [0; FAST_WORDS];
        registers.iter_mut().zip(words()).for_each(|(register, word)| *register = word);
        hyperv::call_fast(HYPERCALL_PAGE, value | list, &registers)
    } else {
        let input = INPUTS + number as u64 * 4096;
        (input..).step_by(8).zip(words()).for_each(|(address, word)| physical::write(address, word));
        hyperv::call(HYPERCALL_PAGE, value | list, input)
    };
    expect_eq(format_args!("result of call {value:#x}, fast: {fast}"), result, list);
}

/// What every L0 says that may answer the calls in our place; our own answers to the rest are tested on the host.
fn errors_are_told() {
    const INVALID_CODE: u64 = 2;
    const INVALID_INPUT: u64 = 3;
    let input = [control::cr3(), 0, 0, 0b11, 1, 1];
    (INPUTS..).step_by(8).zip(input).for_each(|(address, word)| physical::write(address, word));
    for (what, value, status) in [
        ("a call that nobody knows", 0x7fff, INVALID_CODE),
        ("a reserved bit", FLUSH_SPACE | 1 << 27, INVALID_INPUT),
        ("a reserved bit", FLUSH_SPACE | 1 << 47, INVALID_INPUT),
        ("a reserved bit", FLUSH_LIST | reps(1) | 1 << 63, INVALID_INPUT),
        ("a list where there is none", FLUSH_SPACE | reps(1), INVALID_INPUT),
        ("a list where there is none", FLUSH_SPACE_EX | variable_header(2) | reps(1), INVALID_INPUT),
        ("an empty list", FLUSH_LIST, INVALID_INPUT),
        ("an empty list", FLUSH_LIST_EX | variable_header(2), INVALID_INPUT),
        ("a variable header where there is none", FLUSH_SPACE | variable_header(1), INVALID_INPUT),
        ("fewer banks than the mask has", FLUSH_SPACE_EX | variable_header(1), INVALID_INPUT),
        ("more banks than the mask has", FLUSH_SPACE_EX | variable_header(3), INVALID_INPUT),
    ] {
        expect_eq(format_args!("{what}: {value:#x}"), hyperv::call(HYPERCALL_PAGE, value, INPUTS), status);
    }
    let nowhere = hyperv::call(HYPERCALL_PAGE, FLUSH_SPACE, 0xd000_0000);
    expect_eq("input where no memory is", nowhere, INVALID_INPUT);
}
