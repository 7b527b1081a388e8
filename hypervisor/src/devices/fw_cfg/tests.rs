// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device as a guest meets it, and as a hostile one does.

use super::*;
use crate::mmu::model::ModelMemory;
use core::slice::from_ref;
use proptest::prelude::*;

/// Where tests have the description of a transfer, and what is transferred.
const ACCESS: u64 = 0x1000;
const BUFFER: u64 = 0x2000;

fn device() -> FwCfg {
    FwCfg::new(MemoryLayout::new(64), 3, "one two")
}

fn memory() -> ModelMemory {
    let memory = ModelMemory::new(from_ref(&(0x1000..0x2_0000)));
    memory.write(GuestPhysical(BUFFER), &[0xCC; 0x100]).unwrap();
    memory
}

/// The first bytes of an item, by port.
fn item(device: &mut FwCfg, key: u16, bytes: usize) -> Vec<u8> {
    device.write(0, 2, key.into(), &memory());
    (0..bytes).map(|_| device.read(1, 1) as u8).collect()
}

/// What the guest finds in `control` in the end.
fn transfer(device: &mut FwCfg, memory: &ModelMemory, control: u32, length: u32, address: u64) -> u32 {
    let access = [&control.to_be_bytes()[..], &length.to_be_bytes(), &address.to_be_bytes()].concat();
    memory.write(GuestPhysical(ACCESS), &access).unwrap();
    device.write(4, 4, 0, memory);
    device.write(8, 4, (ACCESS as u32).swap_bytes(), memory);
    u32::from_be_bytes(memory.bytes(ACCESS, 4).try_into().unwrap())
}

#[test]
fn it_is_what_kernels_look_for() {
    let mut device = device();
    assert_eq!(item(&mut device, 0, 6), *b"QEMU\0\0");
    assert_eq!(item(&mut device, 1, 4), [3, 0, 0, 0]);
    assert_eq!(device.read(4, 4), u32::from_le_bytes(*b"QEMU"));
    assert_eq!(device.read(8, 4), u32::from_le_bytes(*b" CFG"));
}

#[test]
fn it_tells_what_the_machine_has() {
    let mut device = device();
    assert_eq!(item(&mut device, 0x03, 8), (64u64 << 20).to_le_bytes());
    assert_eq!(item(&mut device, 0x05, 3), [3, 0, 0]);
    assert_eq!(item(&mut device, 0x0F, 2), [3, 0]);
    assert_eq!(item(&mut device, 0x14, 4), [8, 0, 0, 0]);
    assert_eq!(item(&mut device, 0x15, 9), *b"one two\0\0");
    assert_eq!(item(&mut device, 0x8002, 4), [1, 0, 0, 0]);
}

#[test]
fn its_directory_leads_to_its_files() {
    let mut device = device();
    let directory = item(&mut device, 0x19, 4 + 2 * 64 + 1);
    assert_eq!(directory[..4], [0, 0, 0, 2]);
    assert_eq!(directory[4..8], [0, 0, 0, 80]);
    assert_eq!(directory[8..10], [0, 0x20]);
    assert_eq!(directory[12..21], *b"etc/e820\0");
    assert_eq!(directory[68..74], [0, 0, 0, 6, 0, 0x21]);
    assert_eq!(directory[76..94], *b"etc/system-states\0");
    let map = item(&mut device, 0x20, 80);
    assert_eq!(map[..20], [&[0; 8][..], &0x9_FC00u64.to_le_bytes(), &[1, 0, 0, 0]].concat());
    assert_eq!(map[60..68], 0xE000_0000u64.to_le_bytes());
    assert_eq!(item(&mut device, 0x21, 6), [128, 0, 0, 0, 0, 128]);
}

#[test]
fn what_it_has_not_is_zero() {
    let mut device = device();
    for key in [0x02, 0x11, 0x22, 0x4005, 0x8000, 0xFFFF] {
        assert_eq!(item(&mut device, key, 3), [0; 3]);
    }
}

#[test]
fn a_selection_starts_anew_and_takes_two_bytes() {
    let mut device = device();
    assert_eq!(item(&mut device, 0, 2), *b"QE");
    device.write(0, 1, 5, &memory());
    device.write(0, 4, 5, &memory());
    device.write(1, 1, 5, &memory());
    assert_eq!(device.read(1, 1), b'M'.into());
    device.write(0, 2, 0, &memory());
    assert_eq!(device.read(1, 2), 0xFF00 | u32::from(b'Q'), "one port of data");
    assert_eq!((device.read(0, 1), device.read(2, 2)), (0xFF, 0xFFFF));
}

#[test]
fn dma_reads_as_the_port_does() {
    let (mut device, memory) = (device(), memory());
    assert_eq!(transfer(&mut device, &memory, 0x15 << 16 | 8 | 2, 20, BUFFER), 0);
    assert_eq!(memory.bytes(BUFFER, 21), *b"one two\0\0\0\0\0\0\0\0\0\0\0\0\0\xCC");
    device.write(0, 2, 0, &memory);
    assert_eq!(device.read(1, 1), b'Q'.into());
    assert_eq!(transfer(&mut device, &memory, 2, 2, BUFFER), 0);
    assert_eq!(memory.bytes(BUFFER, 3), *b"EMe", "it goes on where the port was");
    assert_eq!(transfer(&mut device, &memory, 0x15 << 16 | 8 | 4, 4, u64::MAX), 0);
    assert_eq!(device.read(1, 1), b't'.into(), "four were skipped");
    assert_eq!(transfer(&mut device, &memory, 0, 4, u64::MAX), 0);
    assert_eq!(device.read(1, 1), b'w'.into(), "nothing was asked for");
}

#[test]
fn what_cannot_be_done_by_dma_is_told() {
    let (mut device, memory) = (device(), memory());
    assert_eq!(transfer(&mut device, &memory, 16, 4, BUFFER), 1, "nothing can be written");
    assert_eq!(transfer(&mut device, &memory, 2, 0x1_0001, BUFFER), 1, "too long");
    assert_eq!(memory.bytes(BUFFER, 4), [0xCC; 4]);
    for address in [0, 0x1_FFFF, 1 << 40, u64::MAX - 1] {
        assert_eq!(transfer(&mut device, &memory, 8 | 2, 4, address), 1, "no memory at {address:#x}");
    }
    // There is nobody to tell.
    device.write(4, 4, u32::MAX, &memory);
    device.write(8, 4, u32::MAX, &memory);
}

#[test]
fn the_address_has_two_halves() {
    let (mut device, memory) = (device(), ModelMemory::new(from_ref(&(0x1_0000_1000..0x1_0000_2000))));
    let access = [0, 5, 0, 10, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0x18, 0];
    memory.write(GuestPhysical(0x1_0000_1000), &access).unwrap();
    device.write(4, 4, 1u32.swap_bytes(), &memory);
    device.write(8, 4, 0x1000u32.swap_bytes(), &memory);
    assert_eq!(memory.bytes(0x1_0000_1000, 4), [0; 4]);
    assert_eq!(memory.bytes(0x1_0000_1800, 2), [3, 0]);
    // The higher half counts once.
    device.write(8, 4, 0x1000u32.swap_bytes(), &memory);
}

proptest! {
    /// Whatever a guest does, the device ends, and tells the same as before afterwards.
    #[test]
    fn nothing_that_a_guest_does_breaks_it(
        steps in prop::collection::vec((any::<bool>(), 0u16..12, prop::sample::select(vec![1u8, 2, 4]), any::<u32>()), 0..20),
        (control, length) in (0u32..32, prop_oneof![0u32..0x2_0000, any::<u32>()]),
        address in prop_oneof![0u64..0x3_0000, any::<u64>()],
    ) {
        let (mut device, memory) = (device(), memory());
        for (reads, offset, size, value) in steps {
            if reads {
                device.read(offset, size);
            } else {
                device.write(offset, size, value, &memory);
            }
        }
        let status = transfer(&mut device, &memory, control, length, address);
        prop_assert!(status <= 1 || address < ACCESS + 16);
        prop_assert_eq!(item(&mut device, 0, 4), *b"QEMU");
    }
}
