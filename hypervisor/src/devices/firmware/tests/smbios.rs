// SPDX-License-Identifier: MIT OR Apache-2.0
//! SMBIOS as a guest walks it.

use super::*;

struct Structure {
    kind: u8,
    handle: u16,
    /// Header and all.
    formatted: Vec<u8>,
    strings: Vec<String>,
}

fn structures(mebibytes: u32, vcpus: u32) -> Vec<Structure> {
    let layout = MemoryLayout::new(mebibytes);
    // What is above the firmware need not be there.
    let memory = ModelMemory::new(core::slice::from_ref(&(0..0x10_0000)));
    write_tables(&memory, layout, vcpus).unwrap();
    let entry_point = memory.bytes(0xF_0000, 24);
    assert_eq!(
        (&entry_point[..5], sum(&entry_point), entry_point[6], entry_point[7]),
        (&b"_SM3_"[..], 0, 24, 3)
    );
    let bytes = memory.bytes(u64_at(&entry_point, 16), u32_at(&entry_point, 12) as usize);
    let mut rest = bytes.as_slice();
    let mut structures = Vec::new();
    while !rest.is_empty() {
        let (formatted, behind) = rest.split_at(rest[1].into());
        let end = behind.windows(2).position(|pair| pair == [0, 0]).unwrap();
        let strings = behind[..end].split(|&byte| byte == 0).filter(|string| !string.is_empty());
        let strings = strings.map(|string| String::from_utf8(string.to_vec()).unwrap()).collect();
        let handle = u16::from_le_bytes([formatted[2], formatted[3]]);
        structures.push(Structure { kind: formatted[0], handle, formatted: formatted.to_vec(), strings });
        rest = &behind[end + 2..];
    }
    structures
}

fn one(structures: &[Structure], kind: u8) -> &Structure {
    structures.iter().find(|structure| structure.kind == kind).unwrap()
}

#[test]
fn the_structures_are_there_and_the_last_one_ends_them() {
    let structures = structures(512, 4);
    let kinds: Vec<u8> = structures.iter().map(|structure| structure.kind).collect();
    assert_eq!(kinds, [0, 1, 3, 4, 16, 17, 19, 32, 127]);
    let mut handles: Vec<u16> = structures.iter().map(|structure| structure.handle).collect();
    handles.sort_unstable();
    handles.dedup();
    assert_eq!(handles.len(), kinds.len());
    assert_eq!(one(&structures, 0).strings[0], "Satori");
    assert_eq!(one(&structures, 1).strings[..2], ["Satori", "virtual machine"]);
}

#[test]
fn strings_are_named_by_numbers_that_are_there() {
    for (kind, fields) in [(0, &[4, 5, 8][..]), (1, &[4, 5, 6]), (3, &[4]), (4, &[4, 7]), (17, &[0x10, 0x17])]
    {
        let structures = structures(16, 1);
        let structure = one(&structures, kind);
        let mut numbers: Vec<u8> = fields.iter().map(|&at| structure.formatted[at]).collect();
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(1..=structure.strings.len() as u8), "kind {kind}");
    }
}

#[test]
fn processors_and_memory_are_told() {
    let structures = structures(4096, 64);
    assert_eq!(one(&structures, 4).formatted[0x23..0x26], [64; 3]);
    let array = &one(&structures, 16).formatted;
    assert_eq!((u32_at(array, 7), u64_at(array, 0x0F)), (1 << 31, 4 << 30));
    assert_eq!(one(&structures, 17).formatted[0x0C..0x0E], [0, 0x10]);
    let ranges: Vec<_> = structures
        .iter()
        .filter(|structure| structure.kind == 19)
        .map(|mapped| (u64_at(&mapped.formatted, 0x0F), u64_at(&mapped.formatted, 0x17)))
        .collect();
    assert_eq!(ranges, [(0, 0xBFFF_FFFF), (0x1_0000_0000, 0x1_3FFF_FFFF)]);
}

#[test]
fn sizes_that_no_small_field_holds_are_in_larger_ones() {
    for (mebibytes, size, extended) in [
        (0x7FFE, 0x7FFE, 0),
        (0x7FFF, 0x7FFF, 0x7FFF),
        (0x10_0000, 0x7FFF, 0x10_0000),
        (u32::MAX, 0x7FFF, u32::MAX),
    ] {
        let structures = structures(mebibytes, 1);
        let device = &one(&structures, 17).formatted;
        let told = (u16::from_le_bytes([device[0xC], device[0xD]]), u32_at(device, 0x1C));
        assert_eq!(told, (size, extended));
    }
}
