// SPDX-License-Identifier: MIT OR Apache-2.0
//! bzImages.

use super::*;

const SETUP_SECTS: usize = 0x1F1;
const SYSSIZE: usize = 0x1F4;
const JUMP_DISTANCE: usize = 0x201;
const VERSION: usize = 0x206;
const INITRD_ADDR_MAX: usize = 0x22C;
const KERNEL_ALIGNMENT: usize = 0x230;
const RELOCATABLE_KERNEL: usize = 0x234;
const XLOADFLAGS: usize = 0x236;
const CMDLINE_SIZE: usize = 0x238;
const PREF_ADDRESS: usize = 0x258;
const INIT_SIZE: usize = 0x260;

/// Real-mode code of two sectors.
const REAL_MODE: usize = 3 * 512;

fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = kernel();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

/// Protocol 2.15, 4096 bytes of code and 20 that were appended, to run at 16 MiB and needing 4 MiB there.
pub(super) fn kernel() -> Vec<u8> {
    let mut file = vec![0xAB; REAL_MODE];
    file[0x1F1..0x26C].fill(0);
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(SETUP_SECTS, &[2]);
    put(SYSSIZE, &256u32.to_le_bytes());
    put(0x1FE, &[0x55, 0xAA, 0xEB, 0x6A]);
    put(0x202, b"HdrS");
    put(VERSION, &0x020Fu16.to_le_bytes());
    put(INITRD_ADDR_MAX, &0x7FFF_FFFFu32.to_le_bytes());
    put(KERNEL_ALIGNMENT, &0x20_0000u32.to_le_bytes());
    put(RELOCATABLE_KERNEL, &[1]);
    put(XLOADFLAGS, &[1]);
    put(CMDLINE_SIZE, &2047u32.to_le_bytes());
    put(PREF_ADDRESS, &0x100_0000u64.to_le_bytes());
    put(INIT_SIZE, &0x40_0000u32.to_le_bytes());
    file.extend([0x90; 4096]);
    file.extend([0x51; 20]);
    file
}

fn entry(file: &[u8]) -> u64 {
    match load_into(&dirty_memory(), &source(file, None, "")).unwrap() {
        EntryState::Long64 { rip, .. } => rip,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_code_is_where_the_entry_says() {
    let memory = dirty_memory();
    let entry = load_into(&memory, &source(&kernel(), None, "")).unwrap();
    let (cr3, gdt_base) = (GuestPhysical(0x4000), GuestPhysical(0x1000));
    assert_eq!(entry, EntryState::Long64 { rip: 0x100_0200, rsi: 0x2000, cr3, gdt_base, gdt_limit: 31 });
    let loaded = memory.bytes(0xFF_FFFF, 4118);
    assert_eq!(loaded, [&[0xCC][..], &[0x90; 4096], &[0x51; 20], &[0xCC]].concat());
}

#[test]
fn the_boot_parameters_tell_all_that_was_given() {
    let memory = dirty_memory();
    load_into(&memory, &source(&kernel(), Some(&[7; 5000]), "quiet")).unwrap();
    let params = memory.bytes(0x2000, 4096);
    assert_eq!(u64_at(&params, 0x070), RSDP.0);
    assert_eq!((params[0x1E8], params[0x1EF], params[0x210]), (4, 0, 0xFF));
    assert_eq!((u32_at(&params, 0x218), u32_at(&params, 0x21C)), (0x3FF_E000, 5000));
    assert_eq!(u64_at(&params, 0x0C0), 0, "high halves of the initrd's address and size");
    assert_eq!(memory.bytes(0x3FF_E000, 5000), [7; 5000]);
    assert_eq!((u32_at(&params, 0x228), u32_at(&params, 0x0C8)), (0x3000, 0));
    assert_eq!(memory.bytes(0x3000, 6), b"quiet\0");
    let map: Vec<_> = params[0x2D0..0x2D0 + 80]
        .chunks(20)
        .map(|entry| (u64_at(entry, 0), u64_at(entry, 8), u32_at(entry, 16)))
        .collect();
    assert_eq!(map, MAP);
    // What the kernel says of itself is handed back to it.
    assert_eq!(params[0x22C..0x26C], kernel()[0x22C..0x26C]);
}

#[test]
fn nothing_behind_the_headers_end_is_copied() {
    let memory = dirty_memory();
    // Protocol 2.12: the header ends at 0x268, and code follows.
    let mut file = with(JUMP_DISTANCE, &[0x66]);
    file[0x268..0x26C].fill(0xAB);
    load_into(&memory, &source(&file, None, "")).unwrap();
    assert_eq!(memory.bytes(0x2268, 4), [0; 4]);
}

#[test]
fn the_first_4_gib_are_mapped_to_themselves() {
    let memory = dirty_memory();
    load_into(&memory, &source(&kernel(), None, "")).unwrap();
    let entry = |table: u64, number: u64| u64_at(&memory.bytes(table + number * 8, 8), 0);
    for address in [0u64, 0x100_0200, 0xBFFF_FFFF, 0xFFFF_FFFF] {
        let pointers = entry(0x4000, address >> 39);
        let directory = entry(pointers & !0xFFF, address >> 30);
        let page = entry(directory & !0xFFF, address >> 21 & 511);
        assert_eq!((pointers & 0xFFF, directory & 0xFFF), (3, 3));
        assert_eq!(page, address & !0x1F_FFFF | 0x83);
    }
    assert_eq!((entry(0x4000, 1), entry(0x5000, 4)), (0, 0), "nothing else is mapped");
}

#[test]
fn the_gdt_has_the_two_segments() {
    let memory = dirty_memory();
    load_into(&memory, &source(&kernel(), None, "")).unwrap();
    let gdt = memory.bytes(0x1000, 32);
    assert_eq!(u64_at(&gdt, BOOT_CS.into()), 0x00AF_9B00_0000_FFFF);
    assert_eq!(u64_at(&gdt, BOOT_DS.into()), 0x00CF_9300_0000_FFFF);
}

#[test]
fn a_relocatable_kernel_is_moved_up_to_where_it_may_run() {
    assert_eq!(entry(&with(PREF_ADDRESS, &0x110_0000u64.to_le_bytes())), 0x120_0200);
    assert_eq!(entry(&with(PREF_ADDRESS, &0u64.to_le_bytes())), 0x20_0200);
}

#[test]
fn a_kernel_that_is_not_relocatable_stays() {
    let mut file = with(PREF_ADDRESS, &0x110_0000u64.to_le_bytes());
    file[RELOCATABLE_KERNEL] = 0;
    assert_eq!(entry(&file), 0x110_0200);
    file[PREF_ADDRESS..PREF_ADDRESS + 8].fill(0);
    assert!(matches!(refusal(&file), Reason::OutsideRam { start: 0, .. }));
}

#[test]
fn the_initrd_is_where_the_kernel_can_reach_it() {
    let memory = dirty_memory();
    let file = with(INITRD_ADDR_MAX, &0x2FF_FFFFu32.to_le_bytes());
    load_into(&memory, &source(&file, Some(&[7; 5000]), "")).unwrap();
    assert_eq!(u32_at(&memory.bytes(0x2218, 4), 0), 0x2FF_E000);
    let file = with(INITRD_ADDR_MAX, &0x1Fu32.to_le_bytes());
    let error = load_into(&memory, &source(&file, Some(&[7; 5000]), "")).unwrap_err();
    assert_eq!(error.reason, Reason::NoRoom { bytes: 5000, last: 0x1F });
}

#[test]
fn a_kernels_own_limit_of_the_command_line_counts() {
    let longest = "x".repeat(2047);
    load_into(&dirty_memory(), &source(&kernel(), None, &longest)).unwrap();
    let error = load_into(&dirty_memory(), &source(&kernel(), None, &(longest + "x"))).unwrap_err();
    assert_eq!(error.reason, Reason::LongCommandLine { bytes: 2048, longest: 2047 });
    let boundless = with(CMDLINE_SIZE, &[0xFF; 4]);
    let error = load_into(&dirty_memory(), &source(&boundless, None, &"x".repeat(4096))).unwrap_err();
    assert_eq!(error.reason, Reason::LongCommandLine { bytes: 4096, longest: 4095 });
}

#[test]
fn kernels_without_a_64_bit_entry_are_refused() {
    assert_eq!(refusal(&with(VERSION, &[0x0B])), Reason::OldProtocol(0x020B));
    assert_eq!(refusal(&with(XLOADFLAGS, &[0])), Reason::No64BitEntry);
}

#[test]
fn a_kernel_that_is_cut_short_is_refused() {
    let file = kernel();
    for length in [0x26C, 0x600, 0x800, REAL_MODE + 4095] {
        assert_eq!(refusal(&file[..length]), Reason::Truncated(length));
    }
    assert_eq!(refusal(&with(SETUP_SECTS, &[0xFF])), Reason::Truncated(file.len()));
    assert_eq!(refusal(&with(SYSSIZE, &[0xFF; 4])), Reason::Truncated(file.len()));
}

#[test]
fn impossible_sizes_and_places_are_refused() {
    assert_eq!(refusal(&with(KERNEL_ALIGNMENT, &[3])), Reason::Alignment(0x20_0003));
    assert_eq!(refusal(&with(KERNEL_ALIGNMENT, &[0; 4])), Reason::Alignment(0));
    let too_small = Reason::InitSize { holds: 4116, init_size: 4115 };
    assert_eq!(refusal(&with(INIT_SIZE, &4115u32.to_le_bytes())), too_small);
    for init_size in [0x300_0001u32, u32::MAX] {
        assert!(matches!(refusal(&with(INIT_SIZE, &init_size.to_le_bytes())), Reason::OutsideRam { .. }));
    }
    for address in [0x3C0_0001u64, 1 << 32, u64::MAX] {
        assert!(matches!(refusal(&with(PREF_ADDRESS, &address.to_le_bytes())), Reason::OutsideRam { .. }));
    }
}

proptest! {
    #[test]
    fn a_damaged_kernel_is_loaded_in_place_or_refused(
        damage in prop::collection::vec((0x1F1..0x270usize, any::<u8>()), 1..8),
        length in 0..REAL_MODE + 4116,
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

    #[test]
    fn hostile_addresses_are_loaded_in_place_or_refused(
        address in prop_oneof![0..0x500_0000u64, any::<u64>()],
        init_size in prop_oneof![0..0x500_0000u32, any::<u32>()],
        alignment in prop_oneof![(0..32u32).prop_map(|bit| 1 << bit), any::<u32>()],
        initrd_addr_max in prop_oneof![0..0x500_0000u32, any::<u32>()],
        relocatable in any::<bool>(),
    ) {
        let mut file = with(PREF_ADDRESS, &address.to_le_bytes());
        file[INIT_SIZE..INIT_SIZE + 4].copy_from_slice(&init_size.to_le_bytes());
        file[KERNEL_ALIGNMENT..KERNEL_ALIGNMENT + 4].copy_from_slice(&alignment.to_le_bytes());
        file[INITRD_ADDR_MAX..INITRD_ADDR_MAX + 4].copy_from_slice(&initrd_addr_max.to_le_bytes());
        file[RELOCATABLE_KERNEL] = relocatable.into();
        damaged_kernel_stays_in_place(&file, &[7; 5000])?;
    }
}
