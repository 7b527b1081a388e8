// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels with a multiboot header: ELF files, and files that say by themselves what goes where.

use super::pvh::CODE;
use super::pvh::CONTENT;
use super::pvh::HEADER;
use super::pvh::HEADERS;
use super::pvh::P_TYPE;
use super::pvh::put;
use super::*;

/// Where [`flat`] has its header, and where it is loaded.
const OFFSET: usize = 0x100;
const LOAD: u32 = 0x20_0000;

const P_VADDR: usize = 16;
const E_ENTRY: usize = 24;
const ADDRESSES: u32 = 1 << 16;

fn header(flags: u32) -> Vec<u8> {
    let checksum = 0u32.wrapping_sub(0x1BAD_B002).wrapping_sub(flags);
    [0x1BAD_B002, flags, checksum].into_iter().flat_map(u32::to_le_bytes).collect()
}

/// A file of 0x300 bytes that is loaded from its byte 0x80 on, without an end and with 0x1000 bytes to clear.
fn flat() -> Vec<u8> {
    with_addresses([LOAD + 0x80, LOAD, 0, LOAD + 0x1280, LOAD + 0x40])
}

/// The header's, load, load end, bss end, entry.
fn with_addresses(addresses: [u32; 5]) -> Vec<u8> {
    let mut file: Vec<u8> = (0..0x300).map(|at| at as u8).collect();
    put(&mut file, OFFSET, &header(ADDRESSES | 3));
    for (number, address) in addresses.into_iter().enumerate() {
        put(&mut file, OFFSET + 12 + 4 * number, &address.to_le_bytes());
    }
    file
}

/// As the PVH kernel, but its note is none, and its code starts with a multiboot header.
pub(super) fn elf() -> Vec<u8> {
    let mut file = pvh::kernel();
    put(&mut file, HEADERS + 2 * HEADER + P_TYPE, &[0]);
    put(&mut file, CONTENT, &header(3));
    put(&mut file, E_ENTRY, &(CODE + 0x40).to_le_bytes());
    file
}

fn entered_at(file: &[u8]) -> u32 {
    match load_into(&dirty_memory(), &source(file, None, "")).unwrap() {
        EntryState::Protected32 { eip, eax: 0x2BAD_B002, ebx: 0x2000 } => eip,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_elf_file_goes_where_its_segments_say() {
    let (memory, file) = (dirty_memory(), elf());
    let entry = load_into(&memory, &source(&file, None, "")).unwrap();
    assert_eq!(entry, EntryState::Protected32 { eip: 0x100_0040, eax: 0x2BAD_B002, ebx: 0x2000 });
    assert_eq!(memory.bytes(CODE, 0x100), file[CONTENT..CONTENT + 0x100]);
}

#[test]
fn a_kernel_of_two_kinds_is_entered_by_pvh() {
    let mut file = pvh::kernel();
    put(&mut file, CONTENT, &header(3));
    let entry = load_into(&dirty_memory(), &source(&file, None, "")).unwrap();
    assert_eq!(entry, EntryState::Protected32 { eip: 0x100_0020, eax: 0, ebx: 0x2000 });
}

#[test]
fn a_virtual_entry_is_told_from_a_physical_one() {
    let mut file = elf();
    put(&mut file, HEADERS + P_VADDR, &0xFFFF_8000_0010_0000u64.to_le_bytes());
    put(&mut file, E_ENTRY, &0xFFFF_8000_0010_0010u64.to_le_bytes());
    assert_eq!(entered_at(&file), 0x100_0010);
    put(&mut file, E_ENTRY, &(CODE + 4).to_le_bytes());
    assert_eq!(entered_at(&file), 0x100_0004);
    for nowhere in [CODE + 0x100, 0xFFFF_8000_0010_0100, 1 << 32] {
        put(&mut file, E_ENTRY, &nowhere.to_le_bytes());
        assert_eq!(refusal(&file), Reason::EntryOutside(nowhere));
    }
}

#[test]
fn an_elf_file_of_32_bits_is_loaded_as_well() {
    let mut file = vec![0; 0x200];
    put(&mut file, 0, b"\x7FELF\x01\x01\x01");
    put(&mut file, 16, &[2, 0, 3, 0, 1, 0, 0, 0]);
    for (at, value) in [(24, LOAD + 8), (28, 0x34)] {
        put(&mut file, at, &value.to_le_bytes());
    }
    put(&mut file, 40, &[52, 0, 32, 0, 1, 0]);
    for (number, value) in [1, 0x100, 0xC000_0000, LOAD, 0x100, 0x180, 5, 0].into_iter().enumerate() {
        put(&mut file, 0x34 + 4 * number, &u32::to_le_bytes(value));
    }
    put(&mut file, 0x100, &header(0));
    file[0x180..].fill(0xAA);
    let memory = dirty_memory();
    let entry = load_into(&memory, &source(&file, None, "")).unwrap();
    assert_eq!(entry, EntryState::Protected32 { eip: LOAD + 8, eax: 0x2BAD_B002, ebx: 0x2000 });
    let expected = [&[0xCC][..], &file[0x100..], &[0; 0x80], &[0xCC]].concat();
    assert_eq!(memory.bytes(u64::from(LOAD) - 1, 0x182), expected);
}

#[test]
fn addresses_in_the_header_say_what_goes_where() {
    let (memory, file) = (dirty_memory(), flat());
    let entry = load_into(&memory, &source(&file, None, "")).unwrap();
    assert_eq!(entry, EntryState::Protected32 { eip: 0x20_0040, eax: 0x2BAD_B002, ebx: 0x2000 });
    let expected = [&[0xCC][..], &file[0x80..], &[0; 0x1000], &[0xCC]].concat();
    assert_eq!(memory.bytes(u64::from(LOAD) - 1, expected.len()), expected);
}

#[test]
fn what_is_loaded_may_end_before_the_file() {
    let memory = dirty_memory();
    let file = with_addresses([LOAD + 0x80, LOAD, LOAD + 0x100, 0, LOAD]);
    load_into(&memory, &source(&file, None, "")).unwrap();
    assert_eq!(memory.bytes(LOAD.into(), 0x101), [&file[0x80..0x180], &[0xCC]].concat());
}

/// They count more than the ELF file's own headers.
#[test]
fn addresses_in_the_header_of_an_elf_file_count() {
    let mut file = elf();
    put(&mut file, CONTENT, &header(ADDRESSES));
    let addresses = [LOAD + CONTENT as u32, LOAD, 0, 0, LOAD + 0x80];
    put(&mut file, CONTENT + 12, addresses.map(u32::to_le_bytes).as_flattened());
    let memory = dirty_memory();
    let entry = load_into(&memory, &source(&file, None, "")).unwrap();
    assert_eq!(entry, EntryState::Protected32 { eip: LOAD + 0x80, eax: 0x2BAD_B002, ebx: 0x2000 });
    assert_eq!(memory.bytes(LOAD.into(), file.len()), file);
}

#[test]
fn the_header_is_looked_for_in_the_first_8192_bytes_at_multiples_of_four() {
    let file = |at: usize| {
        let mut file = vec![0; 0x4000];
        let addresses = [LOAD + at as u32, LOAD, 0, 0, LOAD];
        put(&mut file, at, &[header(ADDRESSES), addresses.map(u32::to_le_bytes).concat()].concat());
        file
    };
    for at in [0, 4, 8192 - 12] {
        assert_eq!(entered_at(&file(at)), LOAD);
    }
    for at in [2, 8192 - 8, 8192] {
        assert_eq!(refusal(&file(at)), Reason::UnknownFormat);
    }
    let mut wrong_checksum = file(0);
    wrong_checksum[8] ^= 1;
    assert_eq!(refusal(&wrong_checksum), Reason::UnknownFormat);
}

#[test]
fn requirements_that_are_not_known_are_refused() {
    let with_flags = |flags| {
        let mut file = elf();
        put(&mut file, CONTENT, &header(flags));
        file
    };
    assert_eq!(refusal(&with_flags(0x8008)), Reason::MultibootFlags(0x8008));
    assert_eq!(entered_at(&with_flags(0xFFFE_0007)), 0x100_0040, "what is above is optional");
    let mut file = flat();
    put(&mut file, OFFSET, &header(3));
    assert_eq!(refusal(&file), Reason::NoAddresses);
}

#[test]
fn addresses_that_contradict_each_other_are_refused() {
    for [header, load, load_end, bss_end] in [
        [LOAD - 1, LOAD, 0, 0],
        [LOAD + 0x101, LOAD, 0, 0],
        [LOAD, LOAD, LOAD - 1, 0],
        [LOAD, LOAD, 0, LOAD + 0x1FF],
        [LOAD, LOAD, 0, LOAD - 1],
    ] {
        let reason = refusal(&with_addresses([header, load, load_end, bss_end, LOAD]));
        assert_eq!(reason, Reason::MultibootAddresses { header, load, load_end, bss_end });
    }
    assert_eq!(refusal(&with_addresses([LOAD, LOAD, LOAD + 0x201, 0, LOAD])), Reason::Truncated(0x300));
    assert_eq!(refusal(&flat()[..OFFSET + 31]), Reason::Truncated(OFFSET + 31));
    let outside = with_addresses([LOAD, LOAD, 0, 0, LOAD + 0x200]);
    assert_eq!(refusal(&outside), Reason::EntryOutside(u64::from(LOAD) + 0x200));
    let below = refusal(&with_addresses([0x1000, 0x1000, 0, 0, 0x1000]));
    assert!(matches!(below, Reason::OutsideRam { start: 0x1000, .. }));
    let large = refusal(&with_addresses([LOAD, LOAD, 0, u32::MAX, LOAD]));
    assert!(matches!(large, Reason::OutsideRam { .. }));
}

#[test]
fn the_information_tells_all_that_was_given() {
    let (memory, kernel) = (dirty_memory(), elf());
    let mut source = source(&kernel, Some(&[7; 5000]), "one two");
    source.modules.push(Module { file: File { name: "m", content: &[8; 3] }, command_line: "a b" });
    load_into(&memory, &source).unwrap();
    let information = memory.bytes(0x2000, 116);
    let field = |at| u32_at(&information, at);
    assert_eq!(field(0), 0b10_0100_1101);
    assert_eq!((field(4), field(8)), (639, 63 * 1024));
    let string = |at: u32| {
        let bytes = memory.bytes(at.into(), 32);
        String::from_utf8(bytes.into_iter().take_while(|&byte| byte != 0).collect()).unwrap()
    };
    assert_eq!(string(field(16)), "kernel one two");
    assert_eq!(string(field(64)), "Satori");

    assert_eq!(field(20), 2);
    let modules = memory.bytes(field(24).into(), 32);
    let module = |at| (u32_at(&modules, at), u32_at(&modules, at + 4), string(u32_at(&modules, at + 8)));
    // Behind the data's 100000 bytes.
    assert_eq!(module(0), (0x111_9000, 0x111_9000 + 5000, "initrd".into()));
    assert_eq!(module(16), (0x111_B000, 0x111_B003, "m a b".into()));
    assert_eq!(memory.bytes(0x111_9000, 5001), [&[7; 5000][..], &[0xCC]].concat());
    assert_eq!(memory.bytes(0x111_B000, 4), [8, 8, 8, 0xCC]);

    assert_eq!(field(44), 4 * 24);
    let map = memory.bytes(field(48).into(), 4 * 24);
    let entries: Vec<_> = map
        .chunks(24)
        .inspect(|entry| assert_eq!(u32_at(entry, 0), 20))
        .map(|entry| (u64_at(entry, 4), u64_at(entry, 12), u32_at(entry, 20)))
        .collect();
    assert_eq!(entries, MAP);
    assert_eq!(information[68..], [0; 48], "no video");
}

proptest! {
    /// Single bytes anywhere in the headers, of an ELF file and of the other.
    #[test]
    fn a_damaged_kernel_is_loaded_in_place_or_refused(
        damage in prop::collection::vec((0..CONTENT + 48, any::<u8>()), 1..8),
        length in 0..CONTENT + 0x110,
        (cut, by_addresses) in any::<(bool, bool)>(),
    ) {
        let mut file = if by_addresses { flat() } else { elf() };
        for (at, value) in damage {
            let at = if by_addresses { OFFSET + at % 32 } else { at };
            file[at] = value;
        }
        if by_addresses {
            // Without this hardly one would be looked at.
            put(&mut file, OFFSET, &header(ADDRESSES));
        }
        if cut {
            file.truncate(length);
        }
        damaged_kernel_stays_in_place(&file, &[7; 5000])?;
    }

    #[test]
    fn hostile_addresses_are_loaded_in_place_or_refused(
        addresses in prop::array::uniform5(prop_oneof![
            LOAD - 0x200..LOAD + 0x400,
            0..0x500_0000u32,
            Just(0),
            any::<u32>(),
        ]),
    ) {
        damaged_kernel_stays_in_place(&with_addresses(addresses), &[7; 5000])?;
    }
}
