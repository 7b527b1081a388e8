// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the data sheet promises, mode by mode. The machine's time has a tick for each of the timer's.

use super::*;
use proptest::prelude::*;

const CHANNEL_0: u16 = 0x40;
const CHANNEL_2: u16 = 0x42;

/// Low byte, then high byte, of channel 0 or 2.
const fn control(channel: u8, mode: u8) -> u8 {
    channel << 6 | 0x30 | mode << 1
}

/// With one tick of the machine's time for each of its own. The least period is 119 ticks then.
fn pit() -> Pit {
    Pit::new(HZ.into())
}

fn program(pit: &mut Pit, channel: u8, mode: u8, count: u16, now: u64) {
    pit.write(CONTROL, control(channel, mode), now);
    write(pit, channel, count, now);
}

/// Channel 0 in that mode since the start.
fn programmed(mode: u8, count: u16) -> Pit {
    let mut pit = pit();
    program(&mut pit, 0, mode, count, 0);
    pit
}

fn write(pit: &mut Pit, channel: u8, count: u16, now: u64) {
    count.to_le_bytes().into_iter().for_each(|byte| pit.write(FIRST + u16::from(channel), byte, now));
}

fn count(pit: &mut Pit, channel: u8, now: u64) -> u16 {
    u16::from_le_bytes([0, 1].map(|_| pit.read(FIRST + u16::from(channel), now)))
}

/// Status as the read-back command has it.
fn status(pit: &mut Pit, channel: u8, now: u64) -> u8 {
    pit.write(CONTROL, 0xE0 | 2 << channel, now);
    pit.read(FIRST + u16::from(channel), now)
}

fn output(pit: &mut Pit, channel: u8, now: u64) -> bool {
    status(pit, channel, now) & 0x80 != 0
}

#[test]
fn nothing_happens_before_a_count_is_written() {
    let mut pit = pit();
    assert_eq!(pit.next_deadline(), None);
    pit.write(CONTROL, control(0, 2), 0);
    assert_eq!((pit.next_deadline(), pit.expire(1 << 40)), (None, false));
    pit.write(CHANNEL_0, 100, 0);
    assert_eq!(pit.next_deadline(), None, "that is half of it");
    pit.write(CHANNEL_0, 0, 0);
    assert_eq!(pit.next_deadline(), Some(100));
}

#[test]
fn mode_0_rises_once_the_count_is_done_and_counts_on() {
    let mut pit = pit();
    program(&mut pit, 0, 0, 1000, 10);
    assert!(!pit.interrupt_line() && !output(&mut pit, 0, 10));
    assert_eq!(count(&mut pit, 0, 11), 1000, "one tick loads it");
    assert_eq!(count(&mut pit, 0, 12), 999);
    assert!(!output(&mut pit, 0, 1010) && output(&mut pit, 0, 1011));
    assert_eq!(pit.next_deadline(), Some(1011));
    assert!(!pit.expire(1010) && !pit.interrupt_line());
    assert!(pit.expire(1011) && pit.interrupt_line());
    assert_eq!(pit.next_deadline(), None);
    assert_eq!(count(&mut pit, 0, 1012), 0xFFFF);
    // A new count begins anew, and the first of its bytes takes the line down.
    pit.write(CHANNEL_0, 7, 2000);
    assert!(!pit.interrupt_line());
    pit.write(CHANNEL_0, 0, 2000);
    assert_eq!(pit.next_deadline(), Some(2008));
}

#[test]
fn mode_2_is_low_for_the_last_tick_of_each_period() {
    let mut pit = pit();
    program(&mut pit, 0, 2, 200, 0);
    assert!(pit.interrupt_line(), "high from the start, which interrupts nobody who has not asked yet");
    assert_eq!([0, 1, 199, 200, 399, 400].map(|now| count(&mut pit, 0, now)), [200, 199, 1, 200, 1, 200]);
    let mut pit = programmed(2, 200);
    assert_eq!(
        [198, 199, 200, 399, 400].map(|now| output(&mut pit, 0, now)),
        [true, false, true, false, true]
    );
    for period in 1..4 {
        assert_eq!(pit.next_deadline(), Some(period * 200));
        assert!(!pit.expire(period * 200 - 1) && pit.expire(period * 200));
    }
}

#[test]
fn a_count_that_is_written_meanwhile_is_for_the_next_period() {
    let mut pit = pit();
    program(&mut pit, 0, 2, 1000, 0);
    write(&mut pit, 0, 300, 500);
    assert_eq!(status(&mut pit, 0, 500) & 0x40, 0x40, "null count");
    assert_eq!(count(&mut pit, 0, 600), 400);
    assert_eq!(pit.next_deadline(), Some(1000));
    assert!(pit.expire(1000));
    assert_eq!(pit.next_deadline(), Some(1300));
    assert_eq!((count(&mut pit, 0, 1010), status(&mut pit, 0, 1010) & 0x40), (290, 0));
}

#[test]
fn mode_3_is_high_for_the_longer_half_and_counts_in_twos() {
    let mut pit = pit();
    program(&mut pit, 0, 3, 10, 0);
    assert_eq!([0, 1, 4, 5, 9, 10].map(|now| count(&mut pit, 0, now)), [10, 8, 2, 10, 2, 10]);
    let mut pit = programmed(3, 10);
    assert_eq!([0, 4, 5, 9, 10].map(|now| output(&mut pit, 0, now)), [true, true, false, false, true]);
    program(&mut pit, 0, 3, 5, 100);
    assert_eq!(
        [100, 102, 103, 104, 105].map(|now| output(&mut pit, 0, now)),
        [true, true, false, false, true]
    );
    program(&mut pit, 0, 3, 1000, 1000);
    assert_eq!(pit.next_deadline(), Some(2000));
    assert!(pit.expire(2000) && pit.interrupt_line());
    // A look at it in its low half does not take the interrupt back.
    pit.write(CONTROL, 0, 2600);
    assert!(pit.interrupt_line());
}

#[test]
fn mode_4_strobes_once() {
    let mut pit = pit();
    program(&mut pit, 0, 4, 500, 0);
    assert_eq!([499, 500, 501].map(|now| output(&mut pit, 0, now)), [true, false, true]);
    assert_eq!(pit.next_deadline(), Some(501));
    assert!(pit.expire(501) && !pit.expire(5000));
    assert_eq!(pit.next_deadline(), None);
    // As Linux has it for each of its ticks.
    write(&mut pit, 0, 500, 6000);
    assert_eq!(pit.next_deadline(), Some(6501));
}

#[test]
fn modes_1_and_5_wait_for_the_gate() {
    for (mode, outputs) in [(1, [false, false, true, true]), (5, [true, true, false, true])] {
        let mut pit = pit();
        program(&mut pit, 2, mode, 100, 0);
        assert!(output(&mut pit, 2, 1000));
        pit.write_port_b(1, 1000);
        assert_eq!([1000, 1099, 1100, 1101].map(|now| output(&mut pit, 2, now)), outputs, "mode {mode}");
        // The gate that falls does not stop it; one that rises starts it anew.
        pit.write_port_b(0, 2000);
        pit.write_port_b(1, 2050);
        assert_eq!(count(&mut pit, 2, 2051), 99);
    }
}

#[test]
fn the_gate_holds_modes_0_and_4_and_restarts_modes_2_and_3() {
    for (mode, expected) in [(0, 901), (4, 900), (2, 1000), (3, 1000)] {
        let mut pit = pit();
        pit.write_port_b(1, 0);
        program(&mut pit, 2, mode, 1000, 0);
        pit.write_port_b(0, 100);
        assert_eq!(count(&mut pit, 2, 5000), count(&mut pit, 2, 9000), "mode {mode} is held");
        assert_eq!(output(&mut pit, 2, 5000), mode != 0);
        pit.write_port_b(1, 10_000);
        assert_eq!(count(&mut pit, 2, 10_000), expected, "mode {mode}");
    }
}

#[test]
fn port_b_has_the_gate_the_output_and_the_refresh() {
    let mut pit = pit();
    program(&mut pit, 2, 0, 100, 0);
    pit.write_port_b(0xFF, 0);
    assert_eq!(pit.read_port_b(0), 0x03, "gate and speaker; the rest is read-only");
    assert_eq!([99, 100].map(|now| pit.read_port_b(now) & 0x20), [0, 0x20]);
    pit.write_port_b(0, 200);
    assert_eq!([208, 224].map(|now| pit.read_port_b(now) & 0x13), [0x10, 0]);
}

#[test]
fn a_latched_count_stays_until_it_is_read() {
    let mut pit = pit();
    program(&mut pit, 0, 2, 1000, 0);
    pit.write(CONTROL, 0x00, 100);
    pit.write(CONTROL, 0x00, 200);
    assert_eq!(count(&mut pit, 0, 300), 900, "the first latch counts");
    assert_eq!(count(&mut pit, 0, 300), 700);
}

#[test]
fn read_back_latches_status_and_counts_of_several() {
    let mut pit = pit();
    program(&mut pit, 0, 2, 1000, 0);
    program(&mut pit, 2, 3, 500, 0);
    pit.write(CONTROL, 0xCA, 100);
    assert_eq!([pit.read(CHANNEL_0, 300), pit.read(CHANNEL_2, 300)], [0xB4, 0xB6], "status first");
    assert_eq!(count(&mut pit, 0, 300), 900);
    assert_eq!(count(&mut pit, 2, 300), 500, "its gate is low");
    assert_eq!(pit.read(CONTROL, 0), 0xFF);
}

#[test]
fn one_byte_at_a_time_is_low_or_high() {
    let mut pit = pit();
    pit.write(CONTROL, 0x14, 0);
    pit.write(CHANNEL_0, 200, 0);
    assert_eq!(pit.next_deadline(), Some(200));
    assert_eq!([1, 2].map(|now| pit.read(CHANNEL_0, now)), [199, 198]);
    pit.write(CONTROL, 0x24, 0);
    pit.write(CHANNEL_0, 2, 0);
    assert_eq!(pit.next_deadline(), Some(0x200));
    assert_eq!([1, 257].map(|now| pit.read(CHANNEL_0, now)), [1, 0]);
}

#[test]
fn decimal_counts_are_decimal() {
    let mut pit = pit();
    pit.write(CONTROL, control(0, 2) | 1, 0);
    write(&mut pit, 0, 0x1234, 0);
    assert_eq!(pit.next_deadline(), Some(1234));
    assert_eq!(count(&mut pit, 0, 235), 0x0999);
    write(&mut pit, 0, 0, 0);
    assert_eq!(count(&mut pit, 0, 1234), 0x0000, "10000");
    assert_eq!(count(&mut pit, 0, 1235), 0x9999);
}

#[test]
fn a_storm_is_thinned_out() {
    let mut pit = pit();
    program(&mut pit, 0, 2, 2, 0);
    let mut now = 0;
    let mut interrupts = 0;
    while let Some(deadline) = pit.next_deadline().filter(|&deadline| deadline < u64::from(HZ)) {
        assert!(deadline > now || now == 0);
        now = deadline;
        interrupts += u64::from(pit.expire(now));
    }
    assert!((MOST_INTERRUPTS - 100..=MOST_INTERRUPTS + 100).contains(&interrupts), "{interrupts}");
    program(&mut pit, 0, 2, 1, now);
    assert_eq!(pit.next_deadline(), None, "a period of one tick never falls");
}

#[test]
fn a_count_of_zero_is_the_most() {
    let mut pit = pit();
    program(&mut pit, 0, 2, 0, 0);
    assert_eq!(pit.next_deadline(), Some(0x1_0000));
    assert_eq!([0, 1].map(|now| count(&mut pit, 0, now)), [0, 0xFFFF]);
}

/// The same, tick by tick: for modes 2 and 3 with a binary count.
fn ticking(mode: u8, count: u32, ticks: u32) -> (u16, bool) {
    let (mut left, mut out) = (if mode == 3 { count & !1 } else { count }, true);
    let mut high = count.div_ceil(2);
    for _ in 0..ticks {
        if mode == 2 {
            left = if left == 1 { count } else { left - 1 };
            out = left != 1;
        } else {
            left = left.saturating_sub(2);
            high -= 1;
            if high == 0 {
                out = !out;
                left = count & !1;
                high = if out { count.div_ceil(2) } else { count / 2 };
            }
        }
    }
    (left as u16, out)
}

proptest! {
    #[test]
    fn agrees_with_a_counter_that_ticks(mode in 2_u8..4, period in 2_u16..40, looks in prop::collection::vec(0_u32..60, 1..20)) {
        let mut pit = pit();
        program(&mut pit, 0, mode, period, 0);
        let mut now = 0;
        for ahead in looks {
            now += ahead;
            let seen = (count(&mut pit, 0, now.into()), output(&mut pit, 0, now.into()));
            prop_assert_eq!(seen, ticking(mode, period.into(), now));
        }
    }

    #[test]
    fn nothing_that_a_guest_writes_panics(
        steps in prop::collection::vec((0_u16..6, any::<u8>(), 0_u64..100_000, any::<bool>()), 0..200),
    ) {
        let mut pit = pit();
        let mut now = 0;
        for (port, value, ahead, write) in steps {
            now += ahead;
            match (port, write) {
                (0..4, true) => pit.write(FIRST + port, value, now),
                (0..4, false) => _ = pit.read(FIRST + port, now),
                (4, true) => pit.write_port_b(value, now),
                (4, false) => _ = pit.read_port_b(now),
                _ => _ = pit.expire(now),
            }
            let due = pit.next_deadline();
            if due.is_some_and(|due| due <= now) {
                prop_assert!(pit.expire(now));
                prop_assert!(pit.next_deadline().is_none_or(|next| next > now));
            }
        }
    }
}
