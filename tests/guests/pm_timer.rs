// SPDX-License-Identifier: MIT OR Apache-2.0
//! ACPI's timer ticks 3579545 times in a second by the TSC, never goes back, and reads alike by bytes; PM1a is in ACPI mode.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::ports;
use tests::time;
use tests::verdict::expect;
use tests::verdict::expect_eq;
use tests::verdict::expect_within;

tests::program!(run);

const STATUS: u16 = 0x600;
const ENABLE: u16 = 0x602;
const CONTROL: u16 = 0x604;
const TIMER: u16 = 0x608;
const HZ: u64 = 3_579_545;

fn run() {
    it_ticks_at_its_rate();
    it_never_goes_back();
    expect_eq("PM1a control: SCI_EN", ports::in_u16(CONTROL) & 1, 1);
    expect_eq("PM1a status", ports::in_u16(STATUS), 0);
    ports::out_u16(ENABLE, 0x521);
    expect_eq("PM1a enable: timer, global, power button, clock", ports::in_u16(ENABLE), 0x521);
    ports::out_u16(ENABLE, 0);
}

fn timer() -> u32 {
    ports::in_u32(TIMER)
}

fn it_ticks_at_its_rate() {
    let (start, first) = time::tsc_with(timer);
    time::spin(100_000);
    let (end, last) = time::tsc_with(timer);
    let ticks = u64::from(last.wrapping_sub(first)) * time::tsc_hz() / HZ;
    let slack = (end - start) / 10_000 + time::ticks(time::patience(2));
    expect_within("ticks of the timer in TSC's", ticks, end - start - slack..=end - start + slack);
}

fn it_never_goes_back() {
    let mut last = timer();
    for _ in 0..1_000 {
        let now = timer();
        expect("the timer does not go back", now.wrapping_sub(last) < 1 << 31);
        last = now;
    }
    let high = |value: u32| value >> 16;
    let before = timer();
    let by_bytes = ports::in_u8(TIMER + 2);
    let after = timer();
    expect(
        "the third byte is the whole's",
        [before, after].map(high).map(|high| high as u8).contains(&by_bytes),
    );
}
