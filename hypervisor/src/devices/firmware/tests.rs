// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables as a guest finds them.

mod smbios;

use super::*;
use crate::mmu::model::ModelMemory;
use proptest::prelude::*;
use std::collections::BTreeMap;

const LAYOUT: u32 = 16;

fn written(vcpus: u32) -> ModelMemory {
    let layout = MemoryLayout::new(LAYOUT);
    let memory = ModelMemory::new(&layout.ram());
    assert_eq!(write_tables(&memory, layout, vcpus), Ok(GuestPhysical(0xE_0000)));
    memory
}

/// The tables by signature, found the way in which a guest finds them, each with its address.
fn tables(vcpus: u32) -> BTreeMap<[u8; 4], (u64, Vec<u8>)> {
    let memory = written(vcpus);
    let rsdp = memory.bytes(0xE_0000, 36);
    assert_eq!((&rsdp[..8], rsdp[15], u32_at(&rsdp, 20)), (&b"RSD PTR "[..], 2, 36));
    assert_eq!((sum(&rsdp[..20]), sum(&rsdp)), (0, 0));

    let read = |address: u64| {
        let length = u32_at(&memory.bytes(address, 8), 4);
        assert!(FIRMWARE_TABLES.contains(&address) && address + u64::from(length) <= SMBIOS_ENTRY_POINT);
        let table = memory.bytes(address, length as usize);
        (table[..4].try_into().unwrap(), (address, table))
    };
    let (signature, xsdt) = read(u64_at(&rsdp, 24));
    assert_eq!(&signature, b"XSDT");
    let (signature, rsdt) = read(u32_at(&rsdp, 16).into());
    assert_eq!(&signature, b"RSDT");
    let entries: Vec<u64> = xsdt.1[36..].chunks(8).map(|entry| u64_at(entry, 0)).collect();
    let short_entries: Vec<u64> = rsdt.1[36..].chunks(4).map(|entry| u32_at(entry, 0).into()).collect();
    assert_eq!(entries, short_entries);

    let mut tables: BTreeMap<_, _> = entries.into_iter().map(read).collect();
    let fadt = &tables[b"FACP"].1;
    assert_eq!(u64_at(fadt, 140), u32_at(fadt, 40).into());
    let named = [read(u64_at(fadt, 140)), read(u32_at(fadt, 36).into())];
    tables.extend(named);
    tables.extend([(*b"XSDT", xsdt), (*b"RSDT", rsdt)]);
    tables
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().copied().fold(0, u8::wrapping_add)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

#[test]
fn all_tables_are_found_and_sound() {
    for vcpus in [1, 2, 64, MOST_VCPUS] {
        let tables = tables(vcpus);
        let names: Vec<_> = tables.keys().collect();
        assert_eq!(names, [b"APIC", b"DSDT", b"FACP", b"FACS", b"MCFG", b"RSDT", b"XSDT"]);
        // The FACS has no checksum.
        assert!(tables.iter().all(|(name, (_, table))| name == b"FACS" || sum(table) == 0));
        let mut ranges: Vec<_> = tables.values().map(|(at, table)| *at..*at + table.len() as u64).collect();
        ranges.sort_by_key(|range| range.start);
        assert!(0xE_0000 + 36 <= ranges[0].start && ranges.is_sorted_by(|a, b| a.end <= b.start));
        assert!(tables[b"FACS"].0.is_multiple_of(64));
    }
}

#[test]
fn the_fadt_has_the_fixed_registers() {
    let (_, fadt) = &tables(1)[b"FACP"];
    assert_eq!((fadt.len(), fadt[8]), (276, 6));
    assert_eq!((fadt[46], fadt[47]), (9, 0), "SCI");
    assert_eq!(fadt[48..56], [0; 8], "no SMI command, nothing to enable");
    let blocks = [56, 60, 64, 68, 72, 76, 80, 84].map(|at| u32_at(fadt, at));
    assert_eq!(blocks, [0x600, 0, 0x604, 0, 0, 0x608, 0, 0]);
    assert_eq!(fadt[88..94], [4, 2, 0, 4, 0, 0]);
    assert_eq!(fadt[96..100], [101, 0, 0xE9, 3], "neither C2 nor C3");
    assert_eq!(fadt[108], 0x32, "century");
    let extended = |at: usize| &fadt[at..at + 12];
    let register = |port: u16, bits: u8, access: u8| {
        [1, bits, 0, access, port as u8, (port >> 8) as u8, 0, 0, 0, 0, 0, 0]
    };
    assert_eq!(extended(148), register(0x600, 32, 2));
    assert_eq!(extended(172), register(0x604, 16, 2));
    assert_eq!(extended(208), register(0x608, 32, 3));
    for absent in [160, 184, 196, 220, 232, 244, 256] {
        assert_eq!(extended(absent), [0; 12]);
    }
    assert_eq!((extended(116), fadt[128]), (&register(0xCF9, 8, 1)[..], 6));
    assert_eq!(&fadt[268..276], b"Satori\0\0");
}

#[test]
fn the_fadt_tells_what_a_pc_has_and_this_one_has_not() {
    let (_, fadt) = &tables(1)[b"FACP"];
    assert_eq!(fadt[109..111], [0b101, 0], "legacy devices, a CMOS RTC; no 8042, no VGA");
    let flags = u32_at(fadt, 112);
    assert_eq!(flags, 1 << 12 | 1 << 10 | 1 << 8 | 1 << 6 | 1 << 5 | 1 << 2 | 1, "a fixed power button");
}

#[test]
fn the_madt_has_the_pins_of_a_pc() {
    let (_, madt) = &tables(1)[b"APIC"];
    assert_eq!((u32_at(madt, 36), u32_at(madt, 40)), (0xFEE0_0000, 1), "PCAT_COMPAT");
    let expected = [
        &[0, 8, 0, 0, 1, 0, 0, 0][..],
        &[1, 12, 0, 0, 0, 0, 0xC0, 0xFE, 0, 0, 0, 0],
        &[2, 10, 0, 0, 2, 0, 0, 0, 0, 0],
        &[2, 10, 0, 9, 9, 0, 0, 0, 0xD, 0],
        &[4, 6, 0xFF, 0, 0, 1],
    ];
    assert_eq!(madt[44..], expected.concat());
}

#[test]
fn each_vcpu_has_its_local_apic() {
    let (_, madt) = &tables(64)[b"APIC"];
    for (number, entry) in madt[44..44 + 64 * 8].chunks(8).enumerate() {
        assert_eq!(entry, [0, 8, number as u8, number as u8, 1, 0, 0, 0]);
    }
    assert_eq!(madt[44 + 64 * 8], 1, "then the I/O APIC");
}

#[test]
fn the_mcfg_has_bus_0() {
    let (_, mcfg) = &tables(1)[b"MCFG"];
    assert_eq!(mcfg[44..], [0, 0, 0, 0xE0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

fn dsdt_has(bytes: &[u8]) -> bool {
    let (_, dsdt) = &tables(1)[b"DSDT"];
    dsdt.windows(bytes.len()).any(|window| window == bytes)
}

#[test]
fn the_dsdt_has_soft_off_and_what_no_probing_finds() {
    assert!(dsdt_has(b"\x08_S5_\x12\x06\x04\x00\x00\x00\x00"), "Name (_S5, Package (4) {{0, 0, 0, 0}})");
    assert!(dsdt_has(b"COM1\x08_HID\x0C\x41\xD0\x05\x01"), "PNP0501");
    assert!(dsdt_has(&[0x47, 1, 0xF8, 3, 0xF8, 3, 1, 8, 0x22, 0x10, 0]), "eight ports at 0x3F8, IRQ 4");
    assert!(dsdt_has(&[0x47, 1, 0x70, 0, 0x70, 0, 1, 2, 0x22, 0, 1]), "the RTC, IRQ 8");
    assert!(dsdt_has(&[0x47, 1, 0x40, 0, 0x40, 0, 1, 4, 0x22, 1, 0]), "the PIT, IRQ 0");
    assert!(dsdt_has(b"\x08_HID\x0DQEMU0002\0"));
}

#[test]
fn the_dsdt_has_the_windows_of_pci() {
    assert!(dsdt_has(b"PCI0\x08_HID\x0C\x41\xD0\x0A\x08"), "PNP0A08");
    let bus = [0x88, 13, 0, 2, 0xC, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    let ports = [0x88, 13, 0, 1, 0xC, 3, 0, 0, 0, 0xC0, 0xFF, 0xFF, 0, 0, 0, 0x40];
    assert!(dsdt_has(&bus) && dsdt_has(&ports));
    assert!(dsdt_has(&[0x47, 1, 0xF8, 0xC, 0xF8, 0xC, 1, 8]), "configuration by ports");
    let memory = [0u32, 0xC000_0000, 0xDFFF_FFFF, 0, 0x2000_0000].map(u32::to_le_bytes).concat();
    assert!(dsdt_has(&[&[0x87, 23, 0, 0, 0xC, 1][..], &memory].concat()));
    assert!(dsdt_has(&[0x86, 9, 0, 1, 0, 0, 0, 0xE0, 0, 0, 0x10, 0]), "the ECAM is reserved");
}

#[test]
fn the_pins_of_pci_devices_lead_to_four_lines_in_turn() {
    let entry = |device: u8, pin: u8, gsi: u8| {
        let pin = match pin {
            0 => vec![0],
            1 => vec![1],
            other => vec![0x0A, other],
        };
        let address = [0x0C, 0xFF, 0xFF, device, 0];
        let address = if device == 0 { vec![0x0B, 0xFF, 0xFF] } else { address.to_vec() };
        let body = [&[4][..], &address, &pin, &[0, 0x0A, gsi]].concat();
        [&[0x12, 1 + body.len() as u8][..], &body].concat()
    };
    for (device, pin, gsi) in
        [(0, 0, 16), (1, 0, 17), (2, 0, 18), (3, 0, 19), (4, 0, 16), (5, 3, 16), (31, 3, 18)]
    {
        assert!(dsdt_has(&entry(device, pin, gsi)), "device {device} pin {pin}");
    }
}

#[test]
fn the_reset_vector_writes_the_reset_register() {
    // mov dx, 0xcf9; mov al, 6; out dx, al; hlt; jmp to the hlt.
    assert_eq!(written(1).bytes(0xF_FFF0, 9), [0xBA, 0xF9, 0x0C, 0xB0, 0x06, 0xEE, 0xF4, 0xEB, 0xFD]);
}

#[test]
fn the_bios_data_area_tells_of_com1_and_where_memory_ends() {
    let memory = written(1);
    assert_eq!(memory.bytes(0x400, 4), [0xF8, 3, 0, 0]);
    assert_eq!(memory.bytes(0x40E, 7), [0xC0, 0x9F, 0, 2, 0, 0x7F, 2]);
    assert_eq!(memory.bytes(0x9_FC00, 2), [1, 0]);
}

#[test]
fn too_many_vcpus_are_refused() {
    let layout = MemoryLayout::new(LAYOUT);
    let memory = ModelMemory::new(&layout.ram());
    for many in [255, 256, u32::MAX] {
        assert_eq!(write_tables(&memory, layout, many), Err(FirmwareError::ManyVcpus(many)));
    }
}

#[test]
fn an_area_without_ram_is_reported() {
    let memory = ModelMemory::new(&[0..0x1000, 0x10_0000..0x10_1000]);
    assert!(matches!(write_tables(&memory, MemoryLayout::new(LAYOUT), 1), Err(FirmwareError::Unbacked(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// All is where the memory map says that it is the firmware's, but for the BIOS data area.
    #[test]
    fn nothing_is_written_outside_of_the_firmwares_area(vcpus in 1..=MOST_VCPUS, mebibytes in 16u32..64) {
        let layout = MemoryLayout::new(mebibytes);
        let memory = ModelMemory::new(&layout.ram());
        write_tables(&memory, layout, vcpus).unwrap();
        let zero = |from: u64, to: u64| memory.bytes(from, (to - from) as usize).iter().all(|&byte| byte == 0);
        prop_assert!(zero(0, 0x400) && zero(0x500, 0x9_FC00) && zero(0xC_0000, 0xE_0000));
        prop_assert!(zero(0x10_0000, layout.low_ram_end()));
    }
}
