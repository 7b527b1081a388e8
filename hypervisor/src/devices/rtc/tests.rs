// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the data sheet promises. The machine's time has a tick for each of the crystal's.

use super::*;
use proptest::prelude::*;

/// Ticks in a second.
const SECOND: u64 = 32_768;
/// 2024-02-29 12:34:56, a Thursday.
const START: u64 = 1_709_210_096;
const CONTENTS: Contents = Contents { low_memory: 64 << 20, high_memory: 0, vcpus: 3 };
const BINARY_24: u8 = 0x06;
const SET: u8 = 0x80;

fn rtc() -> Rtc {
    Rtc::new(SECOND, 0, START, CONTENTS)
}

fn read(rtc: &mut Rtc, register: u8, now: u64) -> u8 {
    rtc.write(INDEX, register, now);
    rtc.read(DATA, now)
}

fn write(rtc: &mut Rtc, register: u8, value: u8, now: u64) {
    rtc.write(INDEX, register, now);
    rtc.write(DATA, value, now);
}

/// Century, year, month, day of month, day of week, hours, minutes, seconds.
fn time(rtc: &mut Rtc, now: u64) -> [u8; 8] {
    [0x32, 9, 8, 7, 6, 4, 2, 0].map(|register| read(rtc, register, now))
}

#[test]
fn the_time_is_the_start_and_what_has_passed() {
    let mut rtc = rtc();
    assert_eq!(time(&mut rtc, 0), [0x20, 0x24, 0x02, 0x29, 0x05, 0x12, 0x34, 0x56]);
    assert_eq!(time(&mut rtc, 4 * SECOND), [0x20, 0x24, 0x02, 0x29, 0x05, 0x12, 0x35, 0x00]);
    assert_eq!(time(&mut rtc, 86_400 * SECOND), [0x20, 0x24, 0x03, 0x01, 0x06, 0x12, 0x34, 0x56]);
}

#[test]
fn register_b_says_how_it_is_spelled() {
    let mut rtc = rtc();
    write(&mut rtc, 0x0B, BINARY_24, 0);
    assert_eq!(time(&mut rtc, 3600 * SECOND), [20, 24, 2, 29, 5, 13, 34, 56]);
    write(&mut rtc, 0x0B, 0x04, 0);
    assert_eq!(read(&mut rtc, 4, 3600 * SECOND), 0x81);
    write(&mut rtc, 0x0B, 0x00, 0);
    assert_eq!(read(&mut rtc, 4, 0), 0x92);
}

#[test]
fn an_index_has_seven_bits_and_reads_as_ones() {
    let mut rtc = rtc();
    rtc.write(INDEX, 0x80 | 9, 0);
    assert_eq!((rtc.read(DATA, 0), rtc.read(INDEX, 0)), (0x24, 0xFF));
}

#[test]
fn an_update_is_announced_244_us_ahead() {
    let mut rtc = rtc();
    let in_progress = |rtc: &mut Rtc, now| read(rtc, 0x0A, now) & 0x80 != 0;
    assert_eq!(
        [0, SECOND - 9, SECOND - 8, SECOND - 1, SECOND].map(|now| in_progress(&mut rtc, now)),
        [false, false, true, true, false]
    );
    write(&mut rtc, 0x0B, SET, 0);
    assert!(!in_progress(&mut rtc, SECOND - 1), "not while the time is being set");
}

#[test]
fn the_time_stands_while_it_is_being_set_and_goes_on_from_there() {
    let mut rtc = rtc();
    write(&mut rtc, 0x0B, SET | BINARY_24, 0);
    let set = [20, 30, 12, 31, 3, 23, 59, 58];
    for (register, value) in [0x32, 9, 8, 7, 6, 4, 2, 0].into_iter().zip(set) {
        write(&mut rtc, register, value, 0);
    }
    assert_eq!(time(&mut rtc, 10 * SECOND), set);
    write(&mut rtc, 0x0B, BINARY_24, 10 * SECOND);
    assert_eq!(time(&mut rtc, 12 * SECOND), [20, 31, 1, 1, 4, 0, 0, 0]);
}

#[test]
fn a_register_can_be_set_while_the_clock_runs() {
    let mut rtc = rtc();
    write(&mut rtc, 4, 0x23, SECOND / 2);
    assert_eq!(time(&mut rtc, SECOND), [0x20, 0x24, 0x02, 0x29, 0x05, 0x23, 0x34, 0x57]);
}

#[test]
fn the_periodic_interrupt_comes_at_its_rate_and_register_c_takes_it_back() {
    let mut rtc = rtc();
    // 1024 Hz is what the rate is from the start.
    write(&mut rtc, 0x0B, 0x42, 5);
    assert_eq!(rtc.next_deadline(), Some(32));
    rtc.expire(31);
    assert!(!rtc.interrupt_line());
    rtc.expire(32);
    assert!(rtc.interrupt_line());
    assert_eq!(rtc.next_deadline(), None, "the line stays as it is until C is read");
    assert_eq!(read(&mut rtc, 0x0C, 40), 0xC0);
    assert!(!rtc.interrupt_line());
    assert_eq!((read(&mut rtc, 0x0C, 40), rtc.next_deadline()), (0, Some(64)));
    for (rate, period) in [(1, 128), (2, 256), (3, 4), (15, 16_384)] {
        write(&mut rtc, 0x0A, 0x20 | rate, 63);
        assert_eq!(rtc.next_deadline(), Some((63 / period + 1) * period), "rate {rate}");
    }
    write(&mut rtc, 0x0A, 0x20, 63);
    assert_eq!(rtc.next_deadline(), None);
}

#[test]
fn events_that_are_not_enabled_are_told_and_interrupt_nobody() {
    let mut rtc = rtc();
    assert_eq!(read(&mut rtc, 0x0C, SECOND), 0x50, "update and periodic");
    assert_eq!((rtc.interrupt_line(), rtc.next_deadline()), (false, None));
    // One that is enabled after it has happened interrupts.
    rtc.expire(2 * SECOND);
    write(&mut rtc, 0x0B, 0x12, 2 * SECOND);
    assert!(rtc.interrupt_line());
}

#[test]
fn an_update_interrupts_with_each_second() {
    let mut rtc = rtc();
    write(&mut rtc, 0x0A, 0x20, 0);
    write(&mut rtc, 0x0B, 0x12, 100);
    for second in 1..4 {
        assert_eq!(rtc.next_deadline(), Some(second * SECOND));
        rtc.expire(second * SECOND);
        assert_eq!(read(&mut rtc, 0x0C, second * SECOND), 0x90);
    }
    // Setting the time forgets it.
    write(&mut rtc, 0x0B, SET | 0x12, 3 * SECOND);
    assert_eq!((read(&mut rtc, 0x0B, 0), rtc.next_deadline()), (SET | 0x02, None));
}

#[test]
fn the_alarm_comes_at_its_time() {
    for (hours, minutes, seconds, ahead) in [
        (0x12, 0x35, 0x10, 14),
        (0x12, 0x34, 0x56, 86_400),
        (0xFF, 0x00, 0x00, 25 * 60 + 4),
        (0xC0, 0xFF, 0x57, 1),
        (0xFF, 0xFF, 0xFF, 1),
        (0x00, 0x00, 0x00, 11 * 3600 + 25 * 60 + 4),
        (0x11, 0xFF, 0xFF, 22 * 3600 + 25 * 60 + 4),
    ] {
        let mut rtc = rtc();
        write(&mut rtc, 0x0A, 0x20, 0);
        for (register, value) in [(5, hours), (3, minutes), (1, seconds)] {
            write(&mut rtc, register, value, 0);
        }
        write(&mut rtc, 0x0B, 0x22, 0);
        assert_eq!(rtc.next_deadline(), Some(ahead * SECOND), "{hours:x}:{minutes:x}:{seconds:x}");
        rtc.expire(ahead * SECOND);
        assert_eq!(read(&mut rtc, 0x0C, ahead * SECOND) & 0xA0, 0xA0);
    }
}

#[test]
fn an_alarm_at_no_time_never_comes() {
    for (register, value) in [(5, 0x24), (3, 0x60), (1, 0xBF)] {
        let mut rtc = rtc();
        [5, 3, 1].into_iter().for_each(|register| write(&mut rtc, register, 0xFF, 0));
        write(&mut rtc, register, value, 0);
        write(&mut rtc, 0x0B, 0x22, 0);
        assert_eq!(rtc.next_deadline(), None);
    }
}

#[test]
fn memory_is_kept_and_c_and_d_are_read_only() {
    let mut rtc = rtc();
    for register in (0x0E..0x80).filter(|&register| register != CENTURY) {
        write(&mut rtc, register, !register, 0);
    }
    assert!(
        (0x0E..0x80)
            .filter(|&register| register != CENTURY)
            .all(|register| read(&mut rtc, register, 0) == !register)
    );
    [0x0C, 0x0D].into_iter().for_each(|register| write(&mut rtc, register, 0x5A, 0));
    assert_eq!([0x0C, 0x0D].map(|register| read(&mut rtc, register, 0)), [0, 0x80]);
}

#[test]
fn cmos_tells_the_size_of_memory_as_qemu_does() {
    let bytes = |contents, registers: &[u8]| {
        let mut rtc = Rtc::new(SECOND, 0, 0, contents);
        registers.iter().map(|&register| read(&mut rtc, register, 0)).collect::<Vec<_>>()
    };
    let places = [0x15, 0x16, 0x17, 0x18, 0x30, 0x31, 0x34, 0x35, 0x5B, 0x5C, 0x5D, 0x5F];
    // 640 KiB; 63 MiB in KiB, which is as much as fits; 48 MiB in 64 KiB.
    assert_eq!(bytes(CONTENTS, &places), [0x80, 2, 0, 0xFC, 0, 0xFC, 0, 3, 0, 0, 0, 2]);
    let large = Contents { low_memory: 3 << 30, high_memory: 5 << 40, vcpus: 64 };
    // 5 TiB in 64 KiB are 0x500_0000, of which three bytes hold the most.
    let expected = [0x80, 2, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xBF, 0xFF, 0xFF, 0xFF, 63];
    assert_eq!(bytes(large, &places), expected);
}

proptest! {
    #[test]
    fn nothing_that_a_guest_writes_panics_and_what_is_due_lies_ahead(
        steps in prop::collection::vec((prop_oneof![Just(0x70_u16), Just(0x71)], any::<u8>(), 0_u64..100_000, any::<bool>()), 0..200),
    ) {
        let mut rtc = rtc();
        let mut now = 0;
        for (port, value, ahead, write) in steps {
            now += ahead;
            if write {
                rtc.write(port, if port == INDEX { value & 0x3F } else { value }, now);
            } else {
                rtc.read(port, now);
            }
            rtc.expire(now);
            prop_assert!(rtc.next_deadline().is_none_or(|deadline| deadline > now));
        }
    }

    /// All events that are told are those that a clock would have seen that is looked at in each tick.
    #[test]
    fn looking_seldom_tells_the_same(rate in 0_u8..16, looks in prop::collection::vec(1_u64..50_000, 1..10)) {
        let (mut seldom, mut often) = (rtc(), rtc());
        let mut now = 0;
        for rtc in [&mut seldom, &mut often] {
            write(rtc, 0x0A, 0x20 | rate, 0);
            [5, 3, 1].into_iter().for_each(|register| write(rtc, register, 0xFF, 0));
        }
        for ahead in looks {
            for tick in now..now + ahead {
                often.expire(tick);
            }
            now += ahead;
            prop_assert_eq!(read(&mut seldom, 0x0C, now), read(&mut often, 0x0C, now));
        }
    }
}

/// While SET is set the time stands still, and no alarm's time comes.
#[test]
fn nobody_is_to_look_for_an_alarm_while_the_time_is_being_set() {
    const ALARM: u8 = 0x20;
    let mut rtc = rtc();
    write(&mut rtc, 0x0B, BINARY_24 | ALARM | SET, 0);
    for register in [1, 3, 5] {
        write(&mut rtc, register, 0xC0, 0);
    }
    assert_eq!(rtc.next_deadline(), None);
    rtc.expire(10 * SECOND);
    assert!(!rtc.interrupt_line());
    write(&mut rtc, 0x0B, BINARY_24 | ALARM, 10 * SECOND);
    assert_eq!(rtc.next_deadline(), Some(11 * SECOND));
}
