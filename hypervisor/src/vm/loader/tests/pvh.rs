// SPDX-License-Identifier: MIT OR Apache-2.0
//! ELF kernels with a PVH note.

use super::*;

pub(super) const CODE: u64 = 0x100_0000;
pub(super) const DATA: u64 = 0x110_0000;

pub(super) const HEADERS: usize = 0x40;
pub(super) const HEADER: usize = 56;
const NOTES: usize = 0x200;
pub(super) const CONTENT: usize = 0x300;

/// Offsets of a 64-bit program header's fields.
pub(super) const P_TYPE: usize = 0;
const P_OFFSET: usize = 8;
const P_PADDR: usize = 24;
const P_FILESZ: usize = 32;
const P_MEMSZ: usize = 40;

pub(super) fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn put_header(file: &mut [u8], number: usize, kind: u32, offset: usize, address: u64, sizes: (u64, u64)) {
    let at = HEADERS + number * HEADER;
    put(file, at + P_TYPE, &kind.to_le_bytes());
    put(file, at + P_OFFSET, &(offset as u64).to_le_bytes());
    put(file, at + P_PADDR, &address.to_le_bytes());
    put(file, at + P_FILESZ, &sizes.0.to_le_bytes());
    put(file, at + P_MEMSZ, &sizes.1.to_le_bytes());
    put(file, at + 48, &4u64.to_le_bytes());
}

/// Two notes, of which the second is the PVH entry.
fn put_notes(file: &mut [u8], desc: &[u8]) {
    let note = |kind: u32, name: &[u8; 4], desc: &[u8]| {
        [&4u32.to_le_bytes()[..], &(desc.len() as u32).to_le_bytes(), &kind.to_le_bytes(), name, desc]
            .concat()
    };
    let notes = [note(18, b"GNU\0", &[1; 4]), note(18, b"Xen\0", desc)].concat();
    put(file, NOTES, &notes);
    put_header(file, 2, 4, NOTES, 0, (notes.len() as u64, notes.len() as u64));
}

/// Code of 256 bytes, data of 16 bytes and 100,000 zeroes, and the notes.
pub(super) fn kernel() -> Vec<u8> {
    let mut file = vec![0; CONTENT + 0x110];
    put(&mut file, 0, b"\x7FELF\x02\x01\x01");
    put(&mut file, 16, &[2, 0, 62, 0, 1]);
    put(&mut file, 32, &(HEADERS as u64).to_le_bytes());
    put(&mut file, 52, &[64, 0, HEADER as u8, 0, 3, 0, 64]);
    put_header(&mut file, 0, 1, CONTENT, CODE, (0x100, 0x100));
    put_header(&mut file, 1, 1, CONTENT + 0x100, DATA, (0x10, 100_000));
    put_notes(&mut file, &(CODE + 0x20).to_le_bytes());
    file[CONTENT..CONTENT + 0x100].fill(0x90);
    file[CONTENT + 0x100..].fill(0xDA);
    file
}

/// The reason for which [`kernel`] is refused when the `bytes` stand at `at` of its program header `number`.
fn refusal_with(number: usize, at: usize, bytes: &[u8]) -> Reason {
    let mut file = kernel();
    put(&mut file, HEADERS + number * HEADER + at, bytes);
    refusal(&file)
}

#[test]
fn segments_are_copied_and_the_rest_of_them_is_cleared() {
    let memory = dirty_memory();
    let entry = load_into(&memory, &source(&kernel(), None, "")).unwrap();
    assert_eq!(entry, EntryState::Protected32 { eip: 0x100_0020, eax: 0, ebx: 0x2000 });
    assert_eq!(memory.bytes(CODE - 1, 0x102), [&[0xCC][..], &[0x90; 0x100], &[0xCC]].concat());
    assert_eq!(memory.bytes(DATA, 100_001), [&[0xDA; 0x10][..], &[0; 100_000 - 0x10], &[0xCC]].concat());
}

#[test]
fn a_note_with_4_bytes_serves_as_well() {
    let mut file = kernel();
    put_notes(&mut file, &(CODE as u32).to_le_bytes());
    let entry = load_into(&dirty_memory(), &source(&file, None, "")).unwrap();
    assert_eq!(entry, EntryState::Protected32 { eip: 0x100_0000, eax: 0, ebx: 0x2000 });
}

#[test]
fn the_start_info_tells_all_that_was_given() {
    let memory = dirty_memory();
    load_into(&memory, &source(&kernel(), Some(&[7; 5000]), "console=ttyS0")).unwrap();
    let info = memory.bytes(0x2000, 56);
    assert_eq!((u32_at(&info, 0), u32_at(&info, 4), u32_at(&info, 8)), (0x336E_C578, 1, 0));
    assert_eq!(u64_at(&info, 32), RSDP.0);

    assert_eq!(u32_at(&info, 12), 1);
    let module = memory.bytes(u64_at(&info, 16), 32);
    assert_eq!((u64_at(&module, 0), u64_at(&module, 8)), (0x3FF_E000, 5000));
    assert_eq!(memory.bytes(0x3FF_E000, 5001), [&[7; 5000][..], &[0xCC]].concat());

    assert_eq!(memory.bytes(u64_at(&info, 24), 14), b"console=ttyS0\0");

    assert_eq!(u32_at(&info, 48), 4);
    let map = memory.bytes(u64_at(&info, 40), 4 * 24);
    let entries: Vec<_> =
        map.chunks(24).map(|entry| (u64_at(entry, 0), u64_at(entry, 8), u32_at(entry, 16))).collect();
    assert_eq!(entries, MAP);
}

#[test]
fn no_initrd_is_no_module() {
    let memory = dirty_memory();
    load_into(&memory, &source(&kernel(), None, "")).unwrap();
    assert_eq!(u32_at(&memory.bytes(0x2000, 56), 12), 0);
}

#[test]
fn segments_outside_of_ram_are_refused() {
    let outside = |start: u64, bytes| Reason::OutsideRam {
        what: "a segment",
        start,
        bytes,
        ram: 0x10_0000..0x400_0000,
    };
    for start in [0, 0x1000, 0xF_FFFF, 0x3FF_FFFF, 0x400_0000, u64::MAX] {
        assert_eq!(refusal_with(1, P_PADDR, &start.to_le_bytes()), outside(start, 100_000));
    }
    for bytes in [0x2F0_0001u64, u64::MAX] {
        assert_eq!(refusal_with(1, P_MEMSZ, &bytes.to_le_bytes()), outside(DATA, bytes));
    }
}

#[test]
fn segments_that_overlap_are_refused() {
    let reason = refusal_with(1, P_PADDR, &(CODE + 0xFF).to_le_bytes());
    assert_eq!(
        reason,
        Reason::Overlap { what: "a segment", start: CODE + 0xFF, bytes: 100_000, other: "a segment" }
    );
}

#[test]
fn a_segment_with_more_content_than_memory_is_refused() {
    let reason = refusal_with(1, P_MEMSZ, &15u64.to_le_bytes());
    assert_eq!(reason, Reason::SegmentSize { file: 16, memory: 15 });
}

#[test]
fn content_beyond_the_file_is_refused() {
    assert!(matches!(refusal_with(1, P_OFFSET, &[0xFF; 8]), Reason::Elf(_)));
    assert!(matches!(refusal_with(1, P_FILESZ, &17u64.to_le_bytes()), Reason::Elf(_)));
}

#[test]
fn an_entry_outside_of_the_content_is_refused() {
    let mut file = kernel();
    for entry in [0, CODE - 1, CODE + 0x100, DATA + 0x10] {
        put_notes(&mut file, &entry.to_le_bytes());
        assert_eq!(refusal(&file), Reason::EntryOutside(entry));
    }
}

#[test]
fn a_note_without_an_address_is_refused() {
    let mut file = kernel();
    put_notes(&mut file, &(CODE | 1 << 32).to_le_bytes());
    assert_eq!(refusal(&file), Reason::BadPvhNote(8));
    put_notes(&mut file, &[0; 12]);
    assert_eq!(refusal(&file), Reason::BadPvhNote(12));
    assert_eq!(refusal_with(2, P_TYPE, &[0]), Reason::NoEntry);
}

#[test]
fn other_machines_are_refused() {
    let mut file = kernel();
    put(&mut file, 18, &[183]);
    assert_eq!(refusal(&file), Reason::Machine(183));
    put(&mut file, 5, &[2]);
    assert!(matches!(refusal(&file), Reason::Elf(_)));
}

#[test]
fn too_many_program_headers_are_refused() {
    let mut file = kernel();
    file.resize(0x1_0000, 0);
    put(&mut file, 56, &65u16.to_le_bytes());
    assert_eq!(refusal(&file), Reason::ManySegments(65));
}

proptest! {
    /// Single bytes anywhere in the headers.
    #[test]
    fn a_damaged_kernel_is_loaded_in_place_or_refused(
        damage in prop::collection::vec((0..CONTENT, any::<u8>()), 1..8),
        length in 0..=CONTENT + 0x110,
        cut in any::<bool>(),
    ) {
        let mut file = kernel();
        for (at, value) in damage {
            file[at] = value;
        }
        if cut {
            file.truncate(length);
        }
        damaged_kernel_stays_in_place(&file, &[7; 5000])?;
    }

    /// Whole fields of program headers, in the range where they nearly fit.
    #[test]
    fn hostile_program_headers_are_loaded_in_place_or_refused(
        fields in prop::collection::vec((0usize..3, 0usize..7, prop_oneof![0..0x500u64, 0..0x800_0000u64, any::<u64>()]), 1..6),
    ) {
        let mut file = kernel();
        for (number, field, value) in fields {
            put(&mut file, HEADERS + number * HEADER + field * 8, &value.to_le_bytes());
            put(&mut file, HEADERS + number * HEADER, &[[1, 1, 4][number]]);
        }
        damaged_kernel_stays_in_place(&file, &[7; 5000])?;
    }
}
