// SPDX-License-Identifier: MIT OR Apache-2.0
//! The timer as software programs it.

use super::*;

const DIVIDE_BY_1: u32 = 0b1011;
const PERIODIC: u32 = 1 << 17;
const TSC_DEADLINE: u32 = 2 << 17;

fn with_timer(entry: u32) -> LocalApic {
    let mut apic = xapic(0);
    assert_eq!(apic.mmio_write(DIVIDE, DIVIDE_BY_1, 0), Effect::TimerChanged);
    assert_eq!(apic.mmio_write(LVT_TIMER, entry, 0), Effect::TimerChanged);
    apic
}

#[test]
fn one_shot_fires_once() {
    // "APIC Timer".
    let mut apic = with_timer(0x50);
    assert_eq!(apic.mmio_write(INITIAL_COUNT, 1000, 10), Effect::TimerChanged);
    assert_eq!(apic.next_deadline(), Some(1010));
    assert_eq!(apic.mmio_read(CURRENT_COUNT, 400), 610);
    apic.expire(1009);
    assert_eq!(apic.pending(), None);
    apic.expire(1010);
    assert_eq!(apic.pending(), Some(0x50));
    assert_eq!(apic.next_deadline(), None);
    assert_eq!(apic.mmio_read(INITIAL_COUNT, 2000), 1000);
}

#[test]
fn periodic_fires_on_and_on() {
    // "APIC Timer".
    let mut apic = with_timer(PERIODIC | 0x50);
    let _ = apic.mmio_write(INITIAL_COUNT, 1000, 0);
    for period in 1..10 {
        assert_eq!(apic.next_deadline(), Some(period * 1000));
        apic.expire(period * 1000 + 3);
        assert_eq!(apic.pending(), Some(0x50));
        apic.acknowledge(0x50);
        let _ = apic.mmio_write(EOI, 0, 0);
        assert_eq!(apic.pending(), None);
    }
}

#[test]
fn masked_timer_counts_but_does_not_fire() {
    // "Local Vector Table", the mask.
    let mut apic = with_timer(MASKED | 0x50);
    let _ = apic.mmio_write(INITIAL_COUNT, 1000, 0);
    assert_eq!(apic.next_deadline(), None);
    assert_eq!(apic.mmio_read(CURRENT_COUNT, 400), 600);
    // What fell due while it was masked is gone when it is not any more.
    let _ = apic.mmio_write(LVT_TIMER, 0x50, 1500);
    apic.expire(2000);
    assert_eq!(apic.pending(), None);
}

#[test]
fn expiry_before_masking_is_kept() {
    let mut apic = with_timer(0x50);
    let _ = apic.mmio_write(INITIAL_COUNT, 1000, 0);
    let _ = apic.mmio_write(LVT_TIMER, MASKED | 0x50, 1500);
    assert_eq!(apic.pending(), Some(0x50));
}

#[test]
fn input_clock_is_slower_by_the_given_ratio() {
    let mut apic = LocalApic::new(0, true, NonZeroU32::new(24).unwrap());
    let _ = apic.mmio_write(SVR, 0x1FF, 0);
    let _ = apic.mmio_write(LVT_TIMER, 0x50, 0);
    let _ = apic.mmio_write(DIVIDE, 0b0011, 0);
    let _ = apic.mmio_write(INITIAL_COUNT, 10, 0);
    assert_eq!(apic.next_deadline(), Some(10 * 16 * 24));
}

#[test]
fn tsc_deadline_fires_when_it_is_reached_and_clears_itself() {
    // "TSC-Deadline Mode".
    let mut apic = with_timer(TSC_DEADLINE | 0x50);
    assert_eq!(apic.set_tsc_deadline(5000, 10), Effect::TimerChanged);
    assert_eq!(apic.tsc_deadline(10), 5000);
    assert_eq!(apic.next_deadline(), Some(5000));
    assert_eq!(apic.mmio_read(CURRENT_COUNT, 10), 0);
    apic.expire(4999);
    assert_eq!(apic.pending(), None);
    apic.expire(5000);
    assert_eq!(apic.pending(), Some(0x50));
    assert_eq!(apic.tsc_deadline(5000), 0);
    assert_eq!(apic.next_deadline(), None);
}

#[test]
fn deadline_in_the_past_is_due_at_once_and_zero_disarms() {
    // "TSC-Deadline Mode".
    let mut apic = with_timer(TSC_DEADLINE | 0x50);
    let _ = apic.set_tsc_deadline(5, 10);
    assert_eq!(apic.next_deadline(), Some(5));
    apic.expire(10);
    assert_eq!(apic.pending(), Some(0x50));
    let _ = apic.set_tsc_deadline(5000, 10);
    let _ = apic.set_tsc_deadline(0, 20);
    assert_eq!(apic.next_deadline(), None);
}

#[test]
fn deadline_that_was_reached_before_the_next_is_set_is_not_lost() {
    let mut apic = with_timer(TSC_DEADLINE | 0x50);
    let _ = apic.set_tsc_deadline(50, 10);
    let _ = apic.set_tsc_deadline(500, 60);
    assert_eq!(apic.pending(), Some(0x50));
    assert_eq!(apic.next_deadline(), Some(500));
}

#[test]
fn each_mode_ignores_the_registers_of_the_other() {
    // "TSC-Deadline Mode".
    let mut apic = with_timer(TSC_DEADLINE | 0x50);
    assert_eq!(apic.mmio_write(INITIAL_COUNT, 1000, 0), Effect::None);
    assert_eq!(apic.next_deadline(), None);
    let mut apic = with_timer(0x50);
    assert_eq!(apic.set_tsc_deadline(5000, 0), Effect::None);
    assert_eq!(apic.next_deadline(), None);
    let _ = apic.mmio_write(INITIAL_COUNT, 1000, 0);
    assert_eq!(apic.tsc_deadline(0), 0);
}

#[test]
fn change_between_count_and_deadline_disarms() {
    // "TSC-Deadline Mode".
    let mut apic = with_timer(TSC_DEADLINE | 0x50);
    let _ = apic.set_tsc_deadline(5000, 0);
    let _ = apic.mmio_write(LVT_TIMER, 0x50, 10);
    assert_eq!(apic.next_deadline(), None);
    let _ = apic.mmio_write(INITIAL_COUNT, 1000, 10);
    let _ = apic.mmio_write(LVT_TIMER, PERIODIC | 0x50, 20);
    assert_eq!(apic.next_deadline(), Some(1010));
    let _ = apic.mmio_write(LVT_TIMER, TSC_DEADLINE | 0x50, 30);
    assert_eq!(apic.next_deadline(), None);
}

#[test]
fn divider_does_not_move_a_deadline() {
    let mut apic = with_timer(TSC_DEADLINE | 0x50);
    let _ = apic.set_tsc_deadline(5000, 0);
    let _ = apic.mmio_write(DIVIDE, 0, 10);
    assert_eq!(apic.next_deadline(), Some(5000));
}
