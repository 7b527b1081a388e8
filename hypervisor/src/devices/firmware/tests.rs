// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables as a guest finds them.

use super::*;
use crate::mmu::model::ModelMemory;
use crate::vm::memory_layout::MemoryLayout;
use std::collections::BTreeMap;

/// The tables by signature, found the way in which a guest finds them, each with its address.
fn tables(vcpus: u32) -> BTreeMap<[u8; 4], (u64, Vec<u8>)> {
    let memory = ModelMemory::new(&MemoryLayout::new(16).ram());
    let rsdp = write_tables(&memory, vcpus).unwrap();
    assert_eq!(rsdp, GuestPhysical(0xE_0000));
    let rsdp = memory.bytes(rsdp.0, 36);
    assert_eq!((&rsdp[..8], rsdp[15], u32_at(&rsdp, 20)), (&b"RSD PTR "[..], 2, 36));
    assert_eq!((sum(&rsdp[..20]), sum(&rsdp)), (0, 0));

    let read = |address: u64| {
        let length = u32_at(&memory.bytes(address, 8), 4);
        assert!(FIRMWARE_TABLES.contains(&address) && address + u64::from(length) <= FIRMWARE_TABLES.end);
        let table = memory.bytes(address, length as usize);
        (table[..4].try_into().unwrap(), (address, table))
    };
    let (signature, xsdt) = read(u64_at(&rsdp, 24));
    assert_eq!(&signature, b"XSDT");
    let mut tables: BTreeMap<_, _> = xsdt.1[36..].chunks(8).map(|entry| read(u64_at(entry, 0))).collect();
    let (signature, dsdt) = read(u64_at(&tables[b"FACP"].1, 140));
    tables.extend([(*b"XSDT", xsdt), (signature, dsdt)]);
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
    for vcpus in [1, 2, 255, 256, MOST_VCPUS] {
        let tables = tables(vcpus);
        assert_eq!(tables.keys().collect::<Vec<_>>(), [b"APIC", b"DSDT", b"FACP", b"XSDT"]);
        assert!(tables.values().all(|(_, table)| sum(table) == 0));
        let mut ranges: Vec<_> = tables.values().map(|(at, table)| *at..*at + table.len() as u64).collect();
        ranges.sort_by_key(|range| range.start);
        assert!(0xE_0000 + 36 <= ranges[0].start && ranges.is_sorted_by(|a, b| a.end <= b.start));
    }
}

#[test]
fn the_fadt_tells_of_the_fixed_registers() {
    let (_, fadt) = &tables(1)[b"FACP"];
    assert_eq!((fadt.len(), fadt[8]), (276, 6));
    assert_eq!(fadt[46..48], [9, 0], "SCI");
    assert_eq!((u32_at(fadt, 56), u32_at(fadt, 64), u32_at(fadt, 76)), (0x600, 0x604, 0x608));
    assert_eq!(fadt[88..92], [4, 2, 0, 4]);
    assert_eq!(fadt[108], 0x32, "century");
    assert_eq!(fadt[109..111], [0b101, 0], "legacy devices, no 8042, VGA not present");
    let flags = u32_at(fadt, 112);
    assert_eq!(flags, 1 << 12 | 1 << 10 | 1 << 8 | 1 << 6 | 1 << 5 | 1);
    assert_eq!((&fadt[116..128], fadt[128]), (&[1, 8, 0, 1, 0xF9, 0xC, 0, 0, 0, 0, 0, 0][..], 6));
    assert_eq!(&fadt[268..276], b"Satori\0\0");
}

#[test]
fn the_madt_has_one_vcpu_and_one_io_apic() {
    let (_, madt) = &tables(1)[b"APIC"];
    assert_eq!((u32_at(madt, 36), u32_at(madt, 40)), (0xFEE0_0000, 0), "no PCAT_COMPAT");
    let expected =
        [&[0, 8, 0, 0, 1, 0, 0, 0][..], &[1, 12, 0, 0, 0, 0, 0xC0, 0xFE, 0, 0, 0, 0], &[4, 6, 0xFF, 0, 0, 1]];
    assert_eq!(madt[44..], expected.concat());
}

#[test]
fn vcpus_from_number_255_on_have_x2apic_entries() {
    let (_, madt) = &tables(257)[b"APIC"];
    let entries = &madt[44 + 255 * 8 - 8..];
    assert_eq!(entries[..8], [0, 8, 254, 254, 1, 0, 0, 0]);
    assert_eq!(entries[8..24], [9, 16, 0, 0, 255, 0, 0, 0, 1, 0, 0, 0, 255, 0, 0, 0]);
    assert_eq!(entries[24..40], [9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(entries[entries.len() - 12..], [10, 12, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0]);
}

#[test]
fn the_dsdt_has_soft_off_and_com1() {
    let (_, dsdt) = &tables(1)[b"DSDT"];
    let has = |bytes: &[u8]| dsdt.windows(bytes.len()).any(|window| window == bytes);
    assert!(has(b"\x08_S5_\x12\x06\x04\x00\x00\x00\x00"), "Name (_S5, Package (4) {{0, 0, 0, 0}})");
    assert!(has(b"COM1\x08_HID\x0C\x41\xD0\x05\x01"), "PNP0501");
    assert!(has(&[0x47, 1, 0xF8, 3, 0xF8, 3, 1, 8]), "eight ports at 0x3F8");
    assert!(has(&[0x89, 6, 0, 0b0011, 1, 4, 0, 0, 0]), "GSI 4, edge, active high, exclusive");
}

#[test]
fn the_reset_vector_writes_the_reset_register() {
    let memory = ModelMemory::new(&MemoryLayout::new(16).ram());
    write_tables(&memory, 1).unwrap();
    // mov dx, 0xcf9; mov al, 6; out dx, al; hlt; jmp to the hlt.
    assert_eq!(memory.bytes(0xF_FFF0, 9), [0xBA, 0xF9, 0x0C, 0xB0, 0x06, 0xEE, 0xF4, 0xEB, 0xFD]);
}

#[test]
fn too_many_vcpus_are_refused() {
    let memory = ModelMemory::new(&MemoryLayout::new(16).ram());
    assert_eq!(write_tables(&memory, 4097), Err(FirmwareError::ManyVcpus(4097)));
    assert_eq!(write_tables(&memory, u32::MAX), Err(FirmwareError::ManyVcpus(u32::MAX)));
}

#[test]
fn an_area_without_ram_is_reported() {
    let memory = ModelMemory::new(&[0..0x1000, 0x10_0000..0x10_1000]);
    assert!(matches!(write_tables(&memory, 1), Err(FirmwareError::Unbacked(_))));
}
