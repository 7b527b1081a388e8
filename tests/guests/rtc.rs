// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real-time clock goes on second by second, is set, and interrupts at its rate, with each update, and at its alarm; CMOS
//! memory tells how much memory there is.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::interrupts;
use tests::io_apic;
use tests::local_apic::LocalApic;
use tests::pic;
use tests::rtc;
use tests::start_info;
use tests::time;
use tests::verdict::expect;
use tests::verdict::expect_eq;
use tests::verdict::expect_within;

tests::program!(run);

const PIN: u8 = 8;
const VECTOR: u8 = 0x48;
const TIMER_VECTOR: u8 = 0x40;
const MODE: u8 = rtc::BINARY | rtc::HOURS_24;
/// How late an interrupt may be, in microseconds.
const LATE_US: u64 = 5_000;

const SECONDS: u8 = 0;
const MINUTES: u8 = 2;
const HOURS: u8 = 4;
const DAY: u8 = 7;
const MONTH: u8 = 8;
const YEAR: u8 = 9;
const CENTURY: u8 = 0x32;

fn run() {
    let apic = LocalApic::enabled();
    rtc::write(rtc::B, MODE);
    it_shows_a_time_of_this_century();
    cmos_tells_the_memory();
    at_its_rate_by_the_8259as();
    io_apic::redirect(PIN, VECTOR.into());
    at_its_rate_by_the_io_apic();
    // From here on whole seconds pass. Halted ones cost the least where each instruction is emulated.
    an_update_is_announced_and_counts(apic);
    it_is_set_and_goes_on();
    with_each_update_and_at_the_alarm();
}

fn it_shows_a_time_of_this_century() {
    expect_eq("century", rtc::read(CENTURY), 20);
    expect_within("year", rtc::read(YEAR).into(), 20..=99);
    expect_within("month", rtc::read(MONTH).into(), 1..=12);
    expect_within("day of month", rtc::read(DAY).into(), 1..=31);
    expect_within("hour", rtc::read(HOURS).into(), 0..=23);
    expect_eq("register D", rtc::read(0x0d), 0x80);
}

/// KiB from 1 MiB on, as far as 16 bits go; there is less than 16 MiB above that, so that the register for those holds nothing.
fn cmos_tells_the_memory() {
    let ram = start_info::memory_map().filter(|region| region.kind == start_info::RAM);
    let end = ram.map(|region| region.range.end).max().unwrap_or_default();
    let word = |register: u8| u64::from(rtc::read(register)) | u64::from(rtc::read(register + 1)) << 8;
    expect_eq("KiB of base memory", word(0x15), 640);
    expect_eq("KiB from 1 MiB on", (word(0x17), word(0x30)), ((end >> 10) - 1024, (end >> 10) - 1024));
    expect_eq("64 KiB from 16 MiB on", word(0x34), end.saturating_sub(16 << 20) >> 16);
    expect_eq("vCPUs less one", rtc::read(0x5f), 0);
}

/// An announcement lasts for 244 microseconds: a guest that is stopped then misses it. It looks for the next from another moment on,
/// since what stopped it may come as regularly.
fn an_update_is_announced_and_counts(apic: LocalApic) {
    const ATTEMPTS: u64 = 8;
    /// Before the update, and as long after it.
    const POLLED_US: u64 = 20_000;
    const LATER_US: u64 = 50;
    let announced = || rtc::read_again() & rtc::UPDATE_IN_PROGRESS != 0;
    for attempt in 0..ATTEMPTS {
        wait_for_an_update();
        let before = rtc::read(SECONDS);
        let update = time::tsc() + time::tsc_hz();
        let count =
            u32::try_from(time::ticks(1_000_000 - POLLED_US + attempt * LATER_US)).unwrap_or(u32::MAX);
        apic.start_timer(TIMER_VECTOR, 0, count);
        interrupts::wait();
        let _ = rtc::read(rtc::A);
        while time::tsc() < update + time::ticks(POLLED_US) {
            if announced() {
                time::wait_for("the update", 3_000, || !announced());
                expect_eq("the second after an update", rtc::read(SECONDS), (before + 1) % 60);
                return;
            }
        }
    }
    expect("an update is announced", false);
}

/// By its interrupt.
fn wait_for_an_update() {
    let _ = rtc::read(rtc::C);
    rtc::write(rtc::B, MODE | rtc::UPDATE);
    interrupts::wait();
    let _ = rtc::read(rtc::C);
    rtc::write(rtc::B, MODE);
}

fn it_is_set_and_goes_on() {
    rtc::write(rtc::B, MODE | rtc::SET);
    for (register, value) in
        [(CENTURY, 20), (YEAR, 24), (MONTH, 2), (DAY, 28), (HOURS, 23), (MINUTES, 59), (SECONDS, 59)]
    {
        rtc::write(register, value);
    }
    rtc::write(rtc::B, MODE);
    wait_for_an_update();
    let seen = [MONTH, DAY, HOURS, MINUTES, SECONDS].map(rtc::read);
    expect_eq("a second after 2024-02-28 23:59:59", seen, [2, 29, 0, 0, 0]);
}

/// Counts interrupts at 1024 Hz, each of which is taken back by reading register C.
#[track_caller]
fn at_its_rate(ended: fn()) {
    const INTERRUPTS: u64 = 32;
    rtc::write(rtc::A, 0x26);
    let _ = rtc::read(rtc::C);
    rtc::write(rtc::B, MODE | rtc::PERIODIC);
    let mut causes = 0;
    let mut start = 0;
    for number in 0..=INTERRUPTS {
        interrupts::wait();
        if number == 0 {
            start = time::tsc();
        }
        causes |= rtc::read(rtc::C);
        ended();
    }
    let elapsed = time::tsc() - start;
    rtc::write(rtc::B, MODE);
    let _ = rtc::read(rtc::C);
    let expected = time::tsc_hz() * INTERRUPTS / 1024;
    let late = time::ticks(time::patience(LATE_US));
    expect("the interrupt and the period are in register C", causes & 0xc0 == rtc::INTERRUPT | rtc::PERIODIC);
    expect_within("32 periods at 1024 Hz", elapsed, expected.saturating_sub(late)..=expected + late);
}

fn at_its_rate_by_the_8259as() {
    interrupts::acknowledge(false);
    pic::initialize(1 << 8);
    interrupts::forget();
    at_its_rate(|| pic::end_of_interrupt(8));
    pic::unmask(0);
    interrupts::acknowledge(true);
    expect_eq("vectors by the 8259As", interrupts::vectors(), [Some(pic::VECTOR + 8); 2]);
}

fn at_its_rate_by_the_io_apic() {
    interrupts::forget();
    at_its_rate(|| {});
    expect_eq("vectors by the I/O APIC", interrupts::vectors(), [Some(VECTOR); 2]);
}

/// The alarm in the second after the next; updates in both.
fn with_each_update_and_at_the_alarm() {
    [1, 3, 5].into_iter().for_each(|alarm| rtc::write(alarm, 0xff));
    let _ = rtc::read(rtc::C);
    rtc::write(rtc::B, MODE | rtc::UPDATE);
    interrupts::forget();
    interrupts::wait();
    let cause = rtc::read(rtc::C);
    expect_eq("cause of the update's interrupt", cause & 0x90, rtc::INTERRUPT | rtc::UPDATE);
    rtc::write(rtc::B, MODE | rtc::ALARM);
    rtc::write(1, (rtc::read(SECONDS) + 1) % 60);
    let _ = rtc::read(rtc::C);
    let start = time::tsc();
    interrupts::wait();
    let (cause, elapsed) = (rtc::read(rtc::C), time::tsc() - start);
    rtc::write(rtc::B, MODE);
    expect_eq("cause of the alarm's interrupt", cause & 0xa0, rtc::INTERRUPT | rtc::ALARM);
    let second = time::tsc_hz();
    expect_within("time to the alarm", elapsed, second / 2..=second + time::ticks(time::patience(LATE_US)));
    expect_eq("interrupts in all", interrupts::count(), 2);
}
