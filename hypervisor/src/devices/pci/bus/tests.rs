// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who answers where on the bus.

use super::*;
use crate::devices::virtio::transport::model::ModelDevice;
use crate::devices::virtio::transport::model::Rig;
use crate::devices::virtio::transport::model::ecam;
use alloc::sync::Arc;
use std::collections::BTreeSet;

const BAR_0: u64 = 0x10;
const COMMAND: u64 = 0x04;

fn select(rig: &Rig, address: u32) {
    rig.bus.write_configuration_port(CONFIG_ADDRESS, 4, address, &rig.upstream);
}

fn input(rig: &Rig, port: u16, size: u8) -> u32 {
    rig.bus.read_configuration_port(port, size, &rig.upstream)
}

/// A double word by the ports.
fn by_ports(rig: &Rig, device: u32, offset: u32) -> u32 {
    select(rig, 1 << 31 | device << 11 | offset);
    input(rig, CONFIG_DATA, 4)
}

#[test]
fn both_mechanisms_show_the_same() {
    let rig = Rig::new(2);
    for device in 0..32 {
        for offset in (0..256).step_by(4) {
            let double_word = by_ports(&rig, device, offset);
            assert_eq!(double_word, rig.configuration(device.into(), offset.into()), "{device} {offset:#x}");
        }
    }
    assert_eq!(by_ports(&rig, 0, 0), 0x0D57_8086);
    assert_eq!(by_ports(&rig, 0, 8), 0x0600_0000);
    assert_eq!([1, 2].map(|device| by_ports(&rig, device, 0)), [0x1042_1AF4; 2]);
}

#[test]
fn configuration_data_is_read_and_written_in_parts() {
    let rig = Rig::new(1);
    select(&rig, 1 << 31 | 1 << 11);
    assert_eq!([0, 1, 2, 3].map(|byte| input(&rig, CONFIG_DATA + byte, 1)), [0xF4, 0x1A, 0x42, 0x10]);
    assert_eq!([0, 1, 2].map(|byte| input(&rig, CONFIG_DATA + byte, 2)), [0x1AF4, 0x421A, 0x1042]);
    // What is beyond the four ports is no configuration data.
    assert_eq!(input(&rig, CONFIG_DATA + 3, 2), 0xFF10);
    assert_eq!(input(&rig, CONFIG_DATA + 1, 4), 0xFF10_421A);
    select(&rig, 1 << 31 | 1 << 11 | 0x3C);
    rig.bus.write_configuration_port(CONFIG_DATA, 1, 0x55, &rig.upstream);
    assert_eq!(input(&rig, CONFIG_DATA, 2), 0x0155);
    select(&rig, 1 << 31 | 1 << 11 | 0x38);
    rig.bus.write_configuration_port(CONFIG_DATA + 3, 4, 0x1122_3344, &rig.upstream);
    assert_eq!(rig.configuration(1, 0x3C), 0x0155, "nothing of the next double word");
}

#[test]
fn what_is_absent_reads_ones_and_takes_nothing() {
    let rig = Rig::new(1);
    assert_eq!(by_ports(&rig, 2, 0), u32::MAX);
    select(&rig, 1 << 31 | 1 << 11 | 1 << 8);
    assert_eq!(input(&rig, CONFIG_DATA, 4), u32::MAX, "function 1");
    select(&rig, 1 << 31 | 1 << 16);
    assert_eq!(input(&rig, CONFIG_DATA, 4), u32::MAX, "bus 1");
    select(&rig, 0);
    for (size, ones) in [(1, 0xFF), (2, 0xFFFF), (4, u32::MAX)] {
        assert_eq!(input(&rig, CONFIG_DATA, size), ones, "not enabled");
    }
    for address in [ecam(2, 0), ecam(1, 0x1000), 0xE010_0000, 0xFEBF_FFFC, 0xC000_0000, 0xDFFF_FFFF] {
        rig.store(address, &[0; 8]);
        assert_eq!(rig.load(address), [0xFF; 8], "{address:#x}");
    }
    assert_eq!([1, 2, 4].map(|size| rig.bus.read_io(0xFFFF, size)), [0xFF, 0xFFFF, u32::MAX]);
    rig.bus.write_io(0xFFFF, 4, u32::MAX, &rig.upstream);
}

#[test]
fn the_address_register_keeps_what_it_has_bits_for() {
    let rig = Rig::new(0);
    select(&rig, u32::MAX);
    assert_eq!(input(&rig, CONFIG_ADDRESS, 4), 0x80FF_FFFC);
}

/// As firmware leaves it.
#[test]
fn all_bars_of_a_full_bus_have_places_of_their_own_within_the_windows() {
    let mut rig = Rig::new(MOST_DEVICES);
    let doorbell = Doorbell::new(Arc::clone(&rig.upstream.posts));
    assert_eq!(rig.bus.plug(Box::new(ModelDevice::default()), doorbell), Err(BusFull));
    let mut pages = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for device in 1..32 {
        let bar = |index: u64| rig.configuration(device, BAR_0 + 4 * index);
        for (bar, size) in [(bar(0), 0x4000_u32), (bar(4), 0x1000)] {
            assert!(bar.is_multiple_of(size) && MEMORY_WINDOW.contains(&bar.into()), "{bar:#x}");
            assert!((bar..bar + size).step_by(0x1000).all(|page| pages.insert(page)), "{bar:#x}");
        }
        let port = bar(2) - 1;
        assert!(port.is_multiple_of(16) && IO_WINDOW.contains(&port.into()), "{port:#x}");
        assert!(ports.insert(port));
        assert_eq!([bar(1), bar(3), bar(5)], [0; 3]);
    }
}

#[test]
fn a_bar_goes_where_it_is_put_and_of_two_one_answers() {
    let rig = Rig::new(2);
    let number_of_queues = |at: u64| u16::from_le_bytes(rig.load(at + 0x12));
    let [first, second] = [1, 2].map(|device| u64::from(rig.configuration(device, BAR_0)));
    assert_eq!([first, second, 0xD000_0000].map(number_of_queues), [2, 2, 0xFFFF]);
    rig.configure(2, BAR_0, &0xD000_0000_u32.to_le_bytes());
    assert_eq!([first, second, 0xD000_0000].map(number_of_queues), [2, 0xFFFF, 2]);
    rig.configure(2, COMMAND, &[1]);
    assert_eq!([first, 0xD000_0000].map(number_of_queues), [2, 0xFFFF]);
    // Both at one place: what is written is written to the first.
    rig.configure(2, BAR_0, &(first as u32).to_le_bytes());
    rig.configure(2, COMMAND, &[3]);
    rig.store(first + 0x16, &1_u16.to_le_bytes());
    rig.configure(1, COMMAND, &[0]);
    assert_eq!(rig.load(first + 0x16), [0, 0], "the second");
    rig.configure(1, COMMAND, &[3]);
    assert_eq!(rig.load(first + 0x16), [1, 0], "the first");
}

#[test]
fn devices_that_share_a_line_assert_it_together() {
    let rig = Rig::new(0);
    let lines = &rig.bus.lines;
    let set = |device, state| {
        lines.update(device, &rig.upstream, || state);
        rig.upstream.take_lines()
    };
    assert_eq!(set(1, true), [(17, true)]);
    assert_eq!(set(2, true), [(18, true)]);
    assert_eq!(set(5, true), []);
    assert_eq!(set(1, false), []);
    assert_eq!(set(1, false), []);
    assert_eq!(set(5, false), [(17, false)]);
    assert_eq!(set(31, true), [(19, true)]);
}
