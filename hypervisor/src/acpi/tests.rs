// SPDX-License-Identifier: MIT OR Apache-2.0
//! ACPI tables, good and broken, and what is read out of them.

use super::*;
use proptest::prelude::*;

struct Memory(Vec<u8>);

impl PhysicalRead for Memory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        let from =
            usize::try_from(address).ok().and_then(|address| self.0.get(address..)?.get(..buffer.len()));
        from.map(|from| buffer.copy_from_slice(from)).is_some()
    }
}

fn put_table(memory: &mut [u8], at: usize, signature: &[u8; 4], body: &[u8]) {
    let length = HEADER + body.len();
    let table = &mut memory[at..at + length];
    table[..4].copy_from_slice(signature);
    table[4..8].copy_from_slice(&(length as u32).to_le_bytes());
    table[HEADER..].copy_from_slice(body);
    table[9] = 0;
    table[9] = checksum(table).wrapping_neg();
}

/// RSDP at 0xE0010, RSDT, a MADT with two CPUs (one of them off) and an I/O APIC, a FADT and a DSDT with `\_S5` = (5, 0).
fn machine() -> Memory {
    let mut memory = vec![0; 0x10_0000];
    let mut madt = vec![0; 8];
    madt.extend([0, 8, 0, 3, 1, 0, 0, 0]);
    madt.extend([0, 8, 1, 4, 0, 0, 0, 0]);
    madt.extend([1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
    madt.extend([2, 10, 0, 9, 9, 0, 0, 0, 0x0f, 0]);
    put_table(&mut memory, 0x2000, b"APIC", &madt);
    put_table(&mut memory, 0x3000, b"DSDT", b"\x08_S5_\x12\x06\x04\x0a\x05\x00\x00\x00");
    let mut fadt = vec![0; 116 - HEADER];
    fadt[40 - HEADER..][..4].copy_from_slice(&0x3000_u32.to_le_bytes());
    fadt[64 - HEADER..][..4].copy_from_slice(&0xb004_u32.to_le_bytes());
    fadt[76 - HEADER..][..4].copy_from_slice(&0xb008_u32.to_le_bytes());
    put_table(&mut memory, 0x4000, b"FACP", &fadt);
    put_table(&mut memory, 0x1000, b"RSDT", &[0, 0x20, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0xf0]);
    let rsdp = &mut memory[0xe_0010..0xe_0024];
    rsdp[..8].copy_from_slice(b"RSD PTR ");
    rsdp[16..20].copy_from_slice(&0x1000_u32.to_le_bytes());
    rsdp[8] = checksum(rsdp).wrapping_neg();
    Memory(memory)
}

#[test]
fn the_platform_is_read_from_the_bios_area_on() {
    let memory = machine();
    let root = RootTable::search(&memory).unwrap();
    assert_eq!(root, RootTable::Rsdt(0x1000));
    let platform = Platform::read(&memory, root);
    assert_eq!(platform.cpus[..], [3]);
    assert_eq!(platform.io_apic, Some((0xfec0_0000, 0)));
    assert_eq!(platform.isa_interrupt(9), SourceOverride { irq: 9, gsi: 9, level: true, low: true });
    assert_eq!(platform.isa_interrupt(4), SourceOverride { irq: 4, gsi: 4, level: false, low: false });
    assert_eq!(platform.pm_timer, Some(0xb008));
    let power_off = PowerOff { pm1a_control: 0xb004, pm1b_control: 0, sleep_type: (5, 0) };
    assert_eq!(platform.power_off, Some(power_off));
}

#[test]
fn a_table_with_a_wrong_checksum_is_absent() {
    let mut memory = machine();
    memory.0[0x2000 + HEADER] ^= 1;
    assert!(Platform::read(&memory, RootTable::Rsdt(0x1000)).cpus.is_empty());
}

/// A CPU as a MADT lists it: APIC id, and whether it is on.
fn local_apic(apic_id: u8, flags: u8) -> Vec<u8> {
    vec![0, 8, 0, apic_id, flags, 0, 0, 0]
}

fn local_x2apic(apic_id: u32, flags: u8) -> Vec<u8> {
    let mut entry = vec![9, 16, 0, 0];
    entry.extend(apic_id.to_le_bytes());
    entry.extend([flags, 0, 0, 0, 0, 0, 0, 0]);
    entry
}

fn platform_with(cpus: &[Vec<u8>]) -> Platform {
    let mut memory = machine();
    put_table(&mut memory.0, 0x2000, b"APIC", &[vec![0; 8], cpus.concat()].concat());
    Platform::read(&memory, RootTable::Rsdt(0x1000))
}

#[test]
fn cpus_stand_in_the_order_of_the_tables_each_once() {
    let platform = platform_with(&[
        local_apic(6, 1),
        local_apic(2, 1),
        local_x2apic(0x100, 1),
        local_x2apic(2, 1),
        local_apic(0, 1),
    ]);
    assert_eq!(platform.cpus[..], [6, 2, 0x100, 0]);
    assert!(platform.other_cpus(2).eq([6, 0x100, 0]));
}

#[test]
fn cpus_that_are_not_there_are_not_listed() {
    const ONLINE_CAPABLE: u8 = 2;
    let platform = platform_with(&[
        local_apic(1, ONLINE_CAPABLE),
        local_apic(0xff, 1),
        local_x2apic(u32::MAX, 1),
        local_x2apic(0xff, 1),
    ]);
    assert_eq!(platform.cpus[..], [0xff]);
    assert_eq!(platform.cpus_beyond, 0);
}

#[test]
fn cpus_beyond_our_bound_are_counted() {
    let platform = platform_with(&(0..100).map(|apic_id| local_x2apic(apic_id * 2, 1)).collect::<Vec<_>>());
    assert!(platform.cpus.iter().copied().eq((0..MAX_CPUS as u32).map(|number| number * 2)));
    assert_eq!(platform.cpus_beyond, 100 - MAX_CPUS);
}

#[test]
fn a_madt_entry_of_no_length_ends_the_walk() {
    let mut memory = machine();
    put_table(&mut memory.0, 0x2000, b"APIC", &[0; 64]);
    assert!(Platform::read(&memory, RootTable::Rsdt(0x1000)).cpus.is_empty());
}

proptest! {
    #[test]
    fn no_firmware_makes_us_panic(edits in prop::collection::vec((0_usize..0x5000, any::<u8>()), 0..40)) {
        let mut memory = machine();
        for (at, value) in edits {
            memory.0[at] = value;
        }
        // Checksums would hide most edits from the parser: mend them where the length still allows.
        for at in [0x1000, 0x2000, 0x3000, 0x4000] {
            let length = u32_at(&memory.0, at + 4).unwrap() as usize;
            if let Some(table) = memory.0.get_mut(at..at + length.clamp(HEADER, 0x8000)) {
                table[9] = 0;
                table[9] = checksum(table).wrapping_neg();
            }
        }
        for root in [RootTable::Rsdt(0x1000), RootTable::Xsdt(0x1000)] {
            let platform = Platform::read(&memory, root);
            // The broadcast would make INIT strike the sender too.
            prop_assert!(!platform.cpus.contains(&u32::MAX));
        }
    }

    #[test]
    fn whatever_is_listed_is_started_once_and_never_the_boot_cpu(
        cpus in prop::collection::vec((any::<bool>(), 0_u32..80, any::<u8>()), 0..150), boot in 0_u32..80,
    ) {
        let entry = |&(old, apic_id, flags)| {
            if old { local_apic(apic_id as u8, flags) } else { local_x2apic(apic_id, flags) }
        };
        let platform = platform_with(&cpus.iter().map(entry).collect::<Vec<_>>());
        let mut expected = Vec::new();
        for &(_, apic_id, _) in cpus.iter().filter(|(_, _, flags)| flags & 1 != 0) {
            if !expected.contains(&apic_id) && expected.len() < MAX_CPUS {
                expected.push(apic_id);
            }
        }
        expected.retain(|&apic_id| apic_id != boot);
        prop_assert!(platform.other_cpus(boot).eq(expected));
    }
}

#[test]
fn soft_off_is_found_with_and_without_the_roots_prefix() {
    assert_eq!(soft_off_type(b"\x08_S5_\x12\x06\x04\x0a\x05\x0a\x07\x00\x00"), Some((5, 7)));
    assert_eq!(soft_off_type(b"\x10\x08\\_S5_\x12\x06\x04\x01\x00\x00\x00"), Some((1, 0)));
    assert_eq!(soft_off_type(b"_S5_\x12\x06\x04\x01\x00\x00\x00"), None);
}
