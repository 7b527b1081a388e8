// SPDX-License-Identifier: MIT OR Apache-2.0
//! Walks of tables that the tests build, in each format.

use core::slice::from_ref;
use proptest::prelude::*;

use super::*;
use crate::mmu::Unbacked;
use crate::mmu::model::ModelMemory;

const READ: Access = Access { kind: AccessKind::Read, user: false };
const WRITE: Access = Access { kind: AccessKind::Write, user: false };

const PG: u64 = 1 << 31;
const PSE: u64 = 1 << 4;
const PAE: u64 = 1 << 5;
const LA57: u64 = 1 << 12;
const NXE: u64 = 1 << 11;
const LMA: u64 = 1 << 10;

/// Present, writable, user, accessed, dirty.
const OPEN: u64 = 0x67;
const LARGE: u64 = 0x80;

/// RAM from guest-physical 0 on.
fn ram(pages: u64) -> ModelMemory {
    ModelMemory::new(from_ref(&(0..pages * PAGE as u64)))
}

fn put(ram: &ModelMemory, address: u64, bytes: &[u8]) {
    ram.write(GuestPhysical(address), bytes).expect("the test's own address");
}

fn paging(cr4: u64, efer: u64) -> Paging {
    Paging { cr0: PG, cr3: 0x1000, cr4, efer, rflags: 0, physical_bits: 40 }
}

/// Tables at 1000H, 2000H and so on, each of which holds one entry, on the way of `linear`. `entries` go from
/// the highest level to the one that maps the page; those before the last get the next table's address.
fn map(ram: &ModelMemory, paging: &Paging, linear: u64, entries: &[u64]) {
    let (levels, index_bits, width) = match (paging.cr4 & PAE, paging.efer & LMA, paging.cr4 & LA57) {
        (0, _, _) => (2, 10, 4),
        (_, 0, _) => (3, 9, 8),
        (_, _, 0) => (4, 9, 8),
        _ => (5, 9, 8),
    };
    for (number, &entry) in entries.iter().enumerate() {
        let level = levels - number as u32;
        let index = linear >> (12 + index_bits * (level - 1)) & ((1 << index_bits) - 1);
        let next = if number + 1 < entries.len() { 0x2000 + 0x1000 * number as u64 } else { 0 };
        let address = 0x1000 + 0x1000 * number as u64 + index * width;
        put(ram, address, &(entry | next).to_le_bytes()[..width as usize]);
    }
}

fn translated(paging: &Paging, linear: u64, entries: &[u64]) -> Result<GuestPhysical, WalkFault> {
    let ram = ram(8);
    map(&ram, paging, linear, entries);
    paging.translate(&ram, linear, READ)
}

fn error_code(result: Result<GuestPhysical, WalkFault>) -> u32 {
    match result {
        Err(WalkFault::Page(fault)) => fault.error_code,
        other => panic!("no page fault but {other:?}"),
    }
}

#[test]
fn without_paging_addresses_are_physical_and_have_32_bits() {
    let off = Paging { cr0: 0, ..paging(0, 0) };
    assert_eq!(off.translate(&ram(0), 0x1_1234_5678, READ), Ok(GuestPhysical(0x1234_5678)));
}

#[test]
fn legacy_pages_of_4_kib_and_4_mib() {
    let entries = [OPEN, 0xABCD_E000 | OPEN];
    assert_eq!(translated(&paging(0, 0), 0x8765_4321, &entries), Ok(GuestPhysical(0xABCD_E321)));
    // Bits 20:13 of a 4 MiB entry are bits 39:32 of the address.
    let large = [0xABC0_0000 | 0x5A << 13 | LARGE | OPEN];
    assert_eq!(translated(&paging(PSE, 0), 0x8765_4321, &large), Ok(GuestPhysical(0x5A_ABE5_4321)));
}

#[test]
fn legacy_large_bit_means_nothing_without_pse() {
    let entries = [OPEN | LARGE, 0xABCD_E000 | OPEN];
    assert_eq!(translated(&paging(0, 0), 0x8765_4321, &entries), Ok(GuestPhysical(0xABCD_E321)));
}

#[test]
fn pae_pages_of_4_kib_and_2_mib() {
    let entries = [1, OPEN, 0x12_3456_7000 | OPEN];
    assert_eq!(translated(&paging(PAE, 0), 0xC765_4321, &entries), Ok(GuestPhysical(0x12_3456_7321)));
    let large = [1, 0x12_3440_0000 | LARGE | OPEN];
    assert_eq!(translated(&paging(PAE, 0), 0xC765_4321, &large), Ok(GuestPhysical(0x12_3445_4321)));
}

#[test]
fn pae_directory_pointers_restrict_nothing() {
    let (ram, paging) = (ram(8), paging(PAE, 0));
    map(&ram, &paging, 0, &[1, OPEN, 0x4000_0000 | OPEN]);
    let write = Access { kind: AccessKind::Write, user: true };
    assert_eq!(paging.translate(&ram, 0, write), Ok(GuestPhysical(0x4000_0000)));
}

#[test]
fn pae_root_is_aligned_to_32_bytes() {
    let ram = ram(8);
    let paging = Paging { cr3: 0x1020, ..paging(PAE, 0) };
    put(&ram, 0x1020, &0x2001_u64.to_le_bytes());
    put(&ram, 0x2000, &(0x4000_0000 | LARGE | OPEN).to_le_bytes());
    assert_eq!(paging.translate(&ram, 0x1234, READ), Ok(GuestPhysical(0x4000_1234)));
}

#[test]
fn four_level_pages_of_all_sizes() {
    let paging = paging(PAE, LMA);
    let linear = 0xFFFF_8765_4321_0ABC;
    let small = [OPEN, OPEN, OPEN, 0x12_3456_7000 | OPEN];
    assert_eq!(translated(&paging, linear, &small), Ok(GuestPhysical(0x12_3456_7ABC)));
    let middle = [OPEN, OPEN, 0x12_3440_0000 | LARGE | OPEN];
    assert_eq!(translated(&paging, linear, &middle), Ok(GuestPhysical(0x12_3441_0ABC)));
    let large = [OPEN, 0x12_0000_0000 | LARGE | OPEN];
    assert_eq!(translated(&paging, linear, &large), Ok(GuestPhysical(0x12_0321_0ABC)));
}

#[test]
fn five_levels_have_one_more() {
    let paging = paging(PAE | LA57, LMA);
    let entries = [OPEN, OPEN, OPEN, OPEN, 0x12_3456_7000 | OPEN];
    assert_eq!(translated(&paging, 0x00AB_8765_4321_0ABC, &entries), Ok(GuestPhysical(0x12_3456_7ABC)));
}

#[test]
fn address_that_is_not_canonical_is_no_page_fault() {
    let linear = 0x0000_8000_0000_0000;
    let read = |cr4| paging(cr4, LMA).translate(&ram(8), linear, READ);
    assert_eq!(read(PAE), Err(WalkFault::NonCanonical(linear)));
    assert_eq!(error_code(read(PAE | LA57)), 0);
}

#[test]
fn process_context_in_cr3_is_no_address() {
    let ram = ram(8);
    let paging = Paging { cr3: 0x1FFF, ..paging(PAE, LMA) };
    map(&ram, &paging, 0, &[OPEN, 0x4000_0000 | LARGE | OPEN]);
    assert_eq!(paging.translate(&ram, 0, READ), Ok(GuestPhysical(0x4000_0000)));
}

#[test]
fn absent_entry_of_any_level_faults() {
    for absent in 0..4 {
        let mut entries = [OPEN; 4];
        entries[absent] = OPEN & !1;
        assert_eq!(error_code(translated(&paging(PAE, LMA), 0x1234, &entries)), 0, "entry {absent}");
    }
}

#[test]
fn reserved_bits_fault_as_such() {
    let reserved = 0b01001;
    let four_level = |entries: &[u64]| translated(&paging(PAE, LMA), 0, entries);
    assert_eq!(error_code(four_level(&[OPEN | LARGE])), reserved, "large PML4 entry");
    assert_eq!(error_code(four_level(&[OPEN | 1 << 63])), reserved, "NX without NXE");
    assert_eq!(error_code(four_level(&[OPEN | 1 << 40])), reserved, "beyond the physical width");
    assert_eq!(
        error_code(four_level(&[OPEN, OPEN, OPEN | LARGE | 1 << 13])),
        reserved,
        "within a large page"
    );
    assert_eq!(error_code(translated(&paging(PAE, 0), 0, &[1, OPEN | 1 << 52])), reserved, "PAE bit 52");
    assert_eq!(error_code(translated(&paging(PAE, 0), 0, &[OPEN])), reserved, "PDPTE with rights");
    assert_eq!(
        error_code(translated(&paging(PSE, 0), 0, &[OPEN | LARGE | 1 << 21])),
        reserved,
        "4 MiB bit 21"
    );
    // These look alike and are free for software, or mean something else.
    let free = [OPEN | 1 << 52, OPEN, OPEN | LARGE | 1 << 12];
    assert_eq!(four_level(&free), Ok(GuestPhysical(0)));
}

/// All combinations of rights, control bits and accesses against the manual's list of what is not allowed.
#[test]
fn rights_are_those_of_the_manual() {
    for case in 0..768_u32 {
        let bit = |n: u32| case >> n & 1 != 0;
        let (writable, user_page, no_execute) = (bit(0), bit(1), bit(2));
        let (wp, smep, smap, ac) = (bit(3), bit(4), bit(5), bit(6));
        let user = bit(7);
        let kind = [AccessKind::Fetch, AccessKind::Read, AccessKind::Write][(case >> 8) as usize];

        let forbidden = [
            user && !user_page,
            !user && user_page && smap && !ac && kind != AccessKind::Fetch,
            !user && user_page && smep && kind == AccessKind::Fetch,
            kind == AccessKind::Write && !writable && (user || wp),
            kind == AccessKind::Fetch && no_execute,
        ];
        let when = |condition: bool, bits: u64| if condition { bits } else { 0 };
        let paging = Paging {
            cr0: PG | when(wp, 1 << 16),
            cr4: PAE | when(smep, 1 << 20) | when(smap, 1 << 21),
            rflags: when(ac, 1 << 18),
            ..paging(PAE, LMA | NXE)
        };
        let rights = when(writable, 2) | when(user_page, 4) | when(no_execute, 1 << 63);
        // Only one level restricts; which one makes no difference.
        for restricting in 0..3 {
            let mut entries = [OPEN, OPEN, OPEN | LARGE];
            entries[restricting] = entries[restricting] & !6 | rights;
            let ram = ram(8);
            map(&ram, &paging, 0, &entries);
            let result = paging.translate(&ram, 0, Access { kind, user });
            assert_eq!(result.is_err(), forbidden.contains(&true), "case {case:#b}, level {restricting}");
        }
    }
}

#[test]
fn error_code_tells_the_access() {
    let ram = ram(8);
    let fault = |paging: Paging, kind, user| error_code(paging.translate(&ram, 0, Access { kind, user }));
    let plain = paging(PAE, LMA);
    assert_eq!(fault(plain, AccessKind::Read, false), 0);
    assert_eq!(fault(plain, AccessKind::Write, true), 0b00110);
    assert_eq!(fault(plain, AccessKind::Fetch, false), 0, "told only with NXE or SMEP");
    assert_eq!(fault(paging(PAE, LMA | NXE), AccessKind::Fetch, false), 0b10000);
    assert_eq!(fault(paging(1 << 20, 0), AccessKind::Fetch, true), 0b10100);
    assert_eq!(fault(paging(0, NXE), AccessKind::Fetch, false), 0, "legacy paging has no NX");
}

#[test]
fn tables_outside_of_ram_are_reported() {
    let lost = GuestPhysical(0x1000);
    assert_eq!(
        paging(PAE, LMA).translate(&ram(1), 0, READ),
        Err(WalkFault::Unbacked(Unbacked { address: lost }))
    );
}

/// Two pages that follow each other in linear space and not in RAM: 0 is mapped to 6000H, 1000H to 5000H.
fn two_pages(second: u64) -> (ModelMemory, Paging) {
    let (ram, paging) = (ram(8), paging(PAE, LMA));
    map(&ram, &paging, 0, &[OPEN, OPEN, OPEN, 0x6000 | OPEN]);
    put(&ram, 0x4008, &second.to_le_bytes());
    (ram, paging)
}

#[test]
fn read_crosses_into_the_next_page() {
    let (ram, paging) = two_pages(0x5000 | OPEN);
    put(&ram, 0x6FFC, &[1, 2, 3, 4]);
    put(&ram, 0x5000, &[5, 6, 7, 8]);
    let mut buffer = [0; 8];
    assert_eq!(paging.read_linear(&ram, 0xFFC, READ, &mut buffer), Ok(()));
    assert_eq!(buffer, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn fetch_stops_where_the_next_page_is_missing() {
    let mut buffer = [0; MAX_INSTRUCTION];
    let (ram, paging) = two_pages(0);
    assert_eq!(paging.fetch_instruction(&ram, 0xFFA, false, &mut buffer), Ok(6));
    assert_eq!(paging.fetch_instruction(&ram, 0xFF1, false, &mut buffer), Ok(15));
    assert_eq!(
        error_code(paging.fetch_instruction(&ram, 0x1000, false, &mut buffer).map(|_| GuestPhysical(0))),
        0
    );
    let (ram, paging) = two_pages(0x5000 | OPEN);
    assert_eq!(paging.fetch_instruction(&ram, 0xFFA, false, &mut buffer), Ok(15));
}

#[test]
fn write_is_made_whole_or_not_at_all() {
    let (ram, paging) = two_pages(0x5000 | OPEN);
    assert_eq!(paging.write_linear(&ram, 0xFFE, WRITE, &[1, 2, 3, 4]), Ok(()));
    let mut bytes = [0; 2];
    assert_eq!(ram.read(GuestPhysical(0x6FFE), &mut bytes).map(|()| bytes), Ok([1, 2]));
    assert_eq!(ram.read(GuestPhysical(0x5000), &mut bytes).map(|()| bytes), Ok([3, 4]));

    let (ram, paging) = two_pages(0);
    assert!(matches!(paging.write_linear(&ram, 0xFFE, WRITE, &[1, 2, 3, 4]), Err(WalkFault::Page(_))));
    assert_eq!(ram.read(GuestPhysical(0x6FFE), &mut bytes).map(|()| bytes), Ok([0, 0]));
}

#[test]
fn write_marks_the_page_dirty_and_a_read_does_not() {
    let (ram, paging) = two_pages(0x5000 | OPEN & !0x40);
    let dirty = || {
        let mut entry = [0; 8];
        ram.read(GuestPhysical(0x4008), &mut entry).map(|()| entry[0] & 0x40 != 0)
    };
    assert_eq!(paging.translate(&ram, 0x1004, READ), Ok(GuestPhysical(0x5004)));
    assert_eq!(dirty(), Ok(false));
    assert_eq!(paging.write_linear(&ram, 0x1004, WRITE, &[1]), Ok(()));
    assert_eq!(dirty(), Ok(true));
}

fn any_paging() -> impl Strategy<Value = Paging> {
    (any::<[u64; 5]>(), any::<u8>()).prop_map(|([cr0, cr3, cr4, efer, rflags], physical_bits)| Paging {
        cr0: cr0 | PG,
        cr3: cr3 & 0x7FFF,
        cr4,
        efer,
        rflags,
        physical_bits,
    })
}

proptest! {
    /// Tables full of anything, under any control bits.
    #[test]
    fn no_tables_and_no_registers_make_it_panic(
        paging in any_paging(), linear: u64, seed: u64, user: bool, width in 1..16_usize,
    ) {
        let ram = ram(8);
        for (number, address) in (0..8 * PAGE as u64).step_by(8).enumerate() {
            let noise = seed.wrapping_mul(2 * number as u64 + 1).rotate_left(number as u32) & 0x8000_0000_0000_7FFF;
            put(&ram, address, &(noise | 1).to_le_bytes());
        }
        let mut buffer = [0; MAX_INSTRUCTION];
        let _ = paging.fetch_instruction(&ram, linear, user, &mut buffer);
        let _ = paging.read_linear(&ram, linear, Access { kind: AccessKind::Read, user }, &mut buffer[..width]);
        let _ = paging.write_linear(&ram, linear, Access { kind: AccessKind::Write, user }, &buffer[..width]);
    }

    #[test]
    fn offset_in_the_page_survives(linear: u64, frame in 0..1_u64 << 28) {
        let linear = (linear << 16).cast_signed() >> 16;
        let entries = [OPEN, OPEN, OPEN, frame << 12 | OPEN];
        let expected = GuestPhysical(frame << 12 | linear.cast_unsigned() & 0xFFF);
        prop_assert_eq!(translated(&paging(PAE, LMA), linear.cast_unsigned(), &entries), Ok(expected));
    }
}
