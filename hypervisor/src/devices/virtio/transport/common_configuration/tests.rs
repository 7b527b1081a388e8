// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a driver and a device agree, and what is refused.

use super::*;
use core::mem::offset_of;

const OFFERED: u64 = VERSION_1 | 0b101;

fn set_up() -> (CommonConfiguration, [Mutex<Queue>; 1]) {
    (CommonConfiguration::new(OFFERED), [Mutex::new(Queue::new(8))])
}

fn accept(common: &mut CommonConfiguration, features: u64) {
    for select in [0, 1_u32] {
        common.write_32(register::DRIVER_FEATURE_SELECT, select, &[]);
        common.write_32(register::DRIVER_FEATURE, (features >> (32 * select)) as u32, &[]);
    }
}

/// Virtio 1.2, 4.1.4.3.
#[test]
fn registers_are_where_the_specification_has_them() {
    assert_eq!(offset_of!(Registers, config_msix_vector), 0x10);
    assert_eq!(offset_of!(Registers, device_status), 0x14);
    assert_eq!(offset_of!(Registers, queue_select), 0x16);
    assert_eq!(offset_of!(Registers, queue_notify_off), 0x1E);
    assert_eq!(offset_of!(Registers, queue_desc), 0x20);
    assert_eq!(offset_of!(Registers, queue_device), 0x30);
}

#[test]
fn features_are_shown_by_halves() {
    let (mut common, queues) = set_up();
    let shown = [0, 1, 2, u32::MAX].map(|select| {
        common.write_32(register::DEVICE_FEATURE_SELECT, select, &queues);
        common.read(&queues).device_feature
    });
    assert_eq!(shown, [0b101, 1, 0, 0]);
}

#[test]
fn only_features_that_are_offered_are_agreed_on_and_version_1_must_be() {
    for (accepted, agreed) in [
        (OFFERED, true),
        (VERSION_1, true),
        (OFFERED | 2, false),
        (VERSION_1 | 1 << 63, false),
        (0b101, false),
    ] {
        let (mut common, queues) = set_up();
        accept(&mut common, accepted);
        assert_eq!(common.write_status(3), Request::None);
        assert_eq!(common.write_status(3 | status::FEATURES_OK), Request::None);
        assert_eq!(common.read(&queues).device_status, if agreed { 11 } else { 3 }, "{accepted:#x}");
        let request = common.write_status(15);
        assert_eq!(request, if agreed { Request::Start } else { Request::None }, "{accepted:#x}");
        assert_eq!(common.is_running(), agreed);
    }
}

#[test]
fn what_is_agreed_on_stays() {
    let (mut common, _) = set_up();
    accept(&mut common, VERSION_1);
    common.write_status(11);
    accept(&mut common, OFFERED);
    assert_eq!(common.accepted(), VERSION_1);
}

#[test]
fn status_bits_are_cleared_by_zero_alone_and_it_starts_once() {
    let (mut common, queues) = set_up();
    accept(&mut common, OFFERED);
    common.write_status(11);
    assert_eq!(common.write_status(15), Request::Start);
    assert_eq!(common.write_status(4), Request::None);
    assert_eq!(common.write_status(64 | 16), Request::None);
    assert_eq!(common.read(&queues).device_status, 15);
    assert_eq!(common.write_status(0), Request::Reset);
}

#[test]
fn one_that_needs_a_reset_does_not_start_or_take_queues() {
    let (mut common, queues) = set_up();
    accept(&mut common, OFFERED);
    common.write_status(11);
    common.set_needs_reset();
    assert_eq!(common.write_status(15), Request::None);
    assert_eq!(common.write_16(register::QUEUE_ENABLE, 1, &queues), Ok(Request::None));
    assert!(!common.is_running() && !queues[0].lock().enabled());
}

#[test]
fn a_queue_is_set_up_by_whole_registers() {
    let (mut common, queues) = set_up();
    accept(&mut common, OFFERED);
    common.write_status(11);
    assert_eq!(
        common.write(register::QUEUE_DESC, &0x1_0000_1000_u64.to_le_bytes(), &queues),
        Ok(Request::None)
    );
    for (offset, word) in [(0x28, 0x2000), (0x2C, 2), (0x30, 0x3000), (0x34, 3_u32)] {
        assert_eq!(common.write(offset, &word.to_le_bytes(), &queues), Ok(Request::None));
    }
    for (offset, bytes) in
        [(0x20, &[1, 1][..]), (0x21, &[1; 4]), (0x18, &[4]), (0x34, &[9; 8]), (0x1C, &[2, 0])]
    {
        let before = common.read(&queues);
        // The first half of what reaches beyond the end is written.
        if offset != 0x34 {
            assert_eq!(common.write(offset, bytes, &queues), Ok(Request::None));
            assert_eq!(common.read(&queues).as_bytes(), before.as_bytes(), "{offset:#x}");
        }
    }
    assert_eq!(common.write(register::QUEUE_SIZE, &[4, 0], &queues), Ok(Request::None));
    assert_eq!(common.write(register::QUEUE_ENABLE, &[1, 0], &queues), Ok(Request::None));
    let registers = common.read(&queues);
    assert_eq!((registers.queue_size, registers.queue_enable), (4, 1));
    let addresses = [registers.queue_desc, registers.queue_driver, registers.queue_device];
    assert_eq!(addresses, [0x1_0000_1000, 0x2_0000_2000, 0x3_0000_3000]);
}

#[test]
fn no_queue_is_enabled_before_features_are_agreed_on() {
    let (mut common, queues) = set_up();
    assert_eq!(common.write_16(register::QUEUE_ENABLE, 1, &queues), Ok(Request::None));
    assert_eq!(common.read(&queues).queue_enable, 0);
}

#[test]
fn a_size_or_a_place_that_no_queue_has_is_a_breach() {
    let (mut common, queues) = set_up();
    accept(&mut common, OFFERED);
    common.write_status(11);
    for size in [0, 3, 16, 0xFFFF] {
        assert_eq!(common.write_16(register::QUEUE_SIZE, size, &queues), Err(Broken::Size));
    }
    common.write_32(register::QUEUE_DESC, 8, &queues);
    assert_eq!(common.write_16(register::QUEUE_ENABLE, 1, &queues), Err(Broken::Alignment));
    let registers = common.read(&queues);
    assert_eq!((registers.queue_size, registers.queue_enable), (8, 0));
}

#[test]
fn a_queue_that_is_not_there_reads_as_zero() {
    let (mut common, queues) = set_up();
    assert_eq!(common.write_16(register::QUEUE_SELECT, 1, &queues), Ok(Request::None));
    for (offset, bytes) in [(0x18, &[8, 0][..]), (0x1C, &[1, 0]), (0x20, &[0; 8]), (0x1A, &[0, 0])] {
        assert_eq!(common.write(offset, bytes, &queues), Ok(Request::None));
    }
    let registers = common.read(&queues);
    assert_eq!((registers.queue_select, registers.queue_size, registers.num_queues), (1, 0, 1));
}
