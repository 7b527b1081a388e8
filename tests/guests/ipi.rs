// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupts from vCPU to vCPU: each kind reaches those whom it addresses and nobody else, running or halted, and none of
//! ten thousand is lost.
#![cfg_attr(target_os = "none", no_std, no_main)]

use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::AcqRel;
use core::sync::atomic::Ordering::Acquire;
use core::sync::atomic::Ordering::Release;
use tests::catalogue;
use tests::cpuid;
use tests::effort;
use tests::exceptions;
use tests::interrupts;
use tests::local_apic;
use tests::local_apic::LocalApic;
use tests::local_apic::Register;
use tests::msr;
use tests::processors;
use tests::sync;
use tests::sync::Barrier;
use tests::time;
use tests::verdict::expect_eq;

tests::program!(run);

const VCPUS: usize = catalogue::VCPUS as usize;
const EVERYBODY: u32 = (1 << VCPUS) - 1;
/// Ends a HLT, so that what was ordered is seen.
const LOOK: u8 = 0x3f;
/// Of the ring: one for each sender.
const RING: u8 = 0x60;
/// Of the ring in which all halt.
const HALTING_RING: u8 = 0x70;
/// How many interrupts each vCPU sends in the first ring, and how often the second goes round.
const SENT_BY_EACH: u64 = 2_500;
const ROUNDS: u64 = 500;

/// What the other vCPUs do meanwhile. No order is given twice in a row.
const WAIT: u32 = 0;
const SPIN: u32 = 1;
const HALT: u32 = 2;
const TO_X2APIC: u32 = 3;
const RUN_RINGS: u32 = 4;

static ORDER: AtomicU32 = AtomicU32::new(WAIT);
/// How many have taken the order.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

fn run() {
    processors::together(VCPUS, |number| if number == 0 { conduct() } else { obey(number) });
}

/// CPUID.1:ECX: x2APIC is there.
fn has_x2apic() -> bool {
    cpuid::leaf(1).ecx & 1 << 21 != 0
}

fn conduct() {
    set_logical_id(0);
    for mode in [LocalApic::XApic, LocalApic::X2Apic] {
        if mode == LocalApic::X2Apic {
            if !has_x2apic() {
                break;
            }
            order(TO_X2APIC);
            to_x2apic();
        }
        for others in [SPIN, HALT] {
            order(others);
            each_kind_arrives(mode);
        }
    }
    order(RUN_RINGS);
    run_rings(0);
}

fn order(what: u32) {
    TAKEN.store(0, Release);
    ORDER.store(what, Release);
    LocalApic::current().send(0, local_apic::ALL_BUT_SELF | u32::from(LOOK));
    time::wait_for("the others to take an order", 2_000_000, || TAKEN.load(Acquire) == VCPUS - 1);
    // The last one has yet to reach its HLT.
    time::spin(200);
}

fn obey(number: usize) {
    set_logical_id(number);
    sync::until(|| ORDER.load(Acquire) != WAIT);
    loop {
        let order = ORDER.load(Acquire);
        if order == TO_X2APIC {
            to_x2apic();
        }
        TAKEN.fetch_add(1, AcqRel);
        if order == RUN_RINGS {
            return run_rings(number);
        }
        interrupts::enable();
        while ORDER.load(Acquire) == order {
            if order == HALT {
                // Not between the look and HLT: that interrupt would be slept through.
                interrupts::disable();
                if ORDER.load(Acquire) == order {
                    interrupts::wait();
                }
            } else {
                core::hint::spin_loop();
            }
        }
        interrupts::disable();
    }
}

fn set_logical_id(number: usize) {
    let apic = LocalApic::current();
    apic.write(Register::DESTINATION_FORMAT, u32::MAX);
    apic.write(Register::LOGICAL_DESTINATION, 1 << (24 + number));
}

fn to_x2apic() {
    msr::set(msr::APIC_BASE, msr::get(msr::APIC_BASE) | msr::APIC_BASE_EXTD);
}

fn each_kind_arrives(apic: LocalApic) {
    let mut vector = 0x40;
    let mut arrives = |destination: u32, command: u32, at: u32| {
        send_and_expect(apic, destination, command | vector, at);
        vector += 1;
    };
    for number in 0..VCPUS as u32 {
        arrives(number, 0, 1 << number);
        arrives(1 << number, local_apic::LOGICAL, 1 << number);
    }
    arrives(0b1010, local_apic::LOGICAL, 0b1010);
    arrives(0b0111, local_apic::LOGICAL, 0b0111);
    arrives(apic.broadcast(), 0, EVERYBODY);
    arrives(apic.broadcast(), local_apic::LOGICAL, EVERYBODY);
    arrives(VCPUS as u32 + 1, 0, 0);
    arrives(3, local_apic::SELF, 1);
    arrives(3, local_apic::ALL, EVERYBODY);
    arrives(0, local_apic::ALL_BUT_SELF, EVERYBODY & !1);
    for number in 1..VCPUS as u32 {
        send_and_expect(apic, number, local_apic::NMI, 1 << number);
    }
    send_and_expect(apic, 0, local_apic::NMI | local_apic::ALL_BUT_SELF, EVERYBODY & !1);
    goes_to_one_of(apic, 0b1110, vector);
}

fn arrivals(vector: u8) -> [usize; VCPUS] {
    core::array::from_fn(|number| interrupts::arrivals(number, vector))
}

/// Sends, and expects one more arrival at each vCPU with a bit in `at`, and none at others.
#[track_caller]
fn send_and_expect(apic: LocalApic, destination: u32, command: u32, at: u32) {
    let vector = if command & 0x700 == local_apic::NMI { exceptions::NMI } else { command as u8 };
    let before = arrivals(vector);
    let expected: [usize; VCPUS] =
        core::array::from_fn(|number| before[number] + usize::from(at & 1 << number != 0));
    apic.send(destination, command);
    let latest = time::tsc() + time::ticks(500_000);
    while arrivals(vector) != expected && time::tsc() < latest {
        interrupts::take_pending();
        core::hint::spin_loop();
    }
    time::spin(100);
    expect_eq(
        format_args!("arrivals of {command:#x} to {destination:#x} in {apic:?} mode"),
        arrivals(vector),
        expected,
    );
}

fn goes_to_one_of(apic: LocalApic, destination: u32, vector: u32) {
    let sum = || -> usize { arrivals(vector as u8).iter().sum() };
    let before = sum();
    apic.send(destination, local_apic::LOGICAL | local_apic::LOWEST_PRIORITY | vector);
    time::wait_for("an interrupt to one of several", 500_000, || sum() > before);
    time::spin(1_000);
    expect_eq("arrivals of an interrupt to one of several", sum(), before + 1);
    expect_eq("of them at one who was not addressed", arrivals(vector as u8)[0], 0);
}

fn run_rings(number: usize) {
    static BARRIER: Barrier = Barrier::new();
    let (apic, next) = (LocalApic::current(), (number + 1) % VCPUS);
    let (sent_by_each, rounds) = (effort::of(SENT_BY_EACH) as usize, effort::of(ROUNDS) as usize);
    BARRIER.wait(VCPUS);
    // Each sends to the next, and again once that one has it. All at once.
    interrupts::enable();
    let vector = RING + number as u8;
    for sent in 1..=sent_by_each {
        apic.send(next as u32, vector.into());
        sync::until(|| interrupts::arrivals(next, vector) == sent);
    }
    BARRIER.wait(VCPUS);
    interrupts::disable();
    // One goes round, and whoever does not have it is halted.
    for round in 1..=rounds {
        let before_me = if number == 0 { round - 1 } else { round };
        while interrupts::arrivals(number, HALTING_RING) < before_me {
            interrupts::wait();
        }
        apic.send(next as u32, HALTING_RING.into());
    }
    while interrupts::arrivals(number, HALTING_RING) < rounds {
        interrupts::wait();
    }
    BARRIER.wait(VCPUS);
    for sender in 0..VCPUS {
        let expected = if sender == (number + VCPUS - 1) % VCPUS { sent_by_each } else { 0 };
        expect_eq("arrivals from the ring", interrupts::arrivals(number, RING + sender as u8), expected);
    }
    expect_eq("arrivals from the ring of halted ones", interrupts::arrivals(number, HALTING_RING), rounds);
}
