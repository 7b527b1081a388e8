// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether each guest-state field is written, with the value that the entry state asks for.

use super::*;
use crate::mmu::GuestPhysical;
use crate::vcpu::model::Model;
use hyperv_bindings::enlightened_vmcs::FIELDS;
use std::collections::BTreeMap;

/// What VMCSs hold before: bits that are to be set are clear in one of them, and those to be clear are set in the other.
const POISONS: [u8; 2] = [0xaa, 0x55];

/// Guest-state fields that count only with a VM-entry control that is not used: PERF_GLOBAL_CTRL, BNDCFGS, LBR_CTL,
/// S_CET, SSP and INTERRUPT_SSP_TABLE_ADDR.
const UNUSED: [u16; 6] = [0x2808, 0x2812, 0x2816, 0x6828, 0x682a, 0x682c];

const PROTECTED_32: EntryState = EntryState::Protected32 { eip: 0x0123_4560, ebx: 0x9000 };
const LONG_64: EntryState = EntryState::Long64 {
    rip: 0x0123_4560,
    rsi: 0x9000,
    cr3: GuestPhysical(0x4000),
    gdt_base: GuestPhysical(0x1000),
    gdt_limit: 0x1f,
};

/// Encodings and values, spelled out: ES, CS, SS, DS, FS, GS, LDTR, TR of each property of segments.
fn segments(code: u64, data: u64, code_rights: u64) -> impl Iterator<Item = (u16, u64)> {
    const FLAT: u64 = 0xffff_ffff;
    const WRITABLE: u64 = 0xc093;
    let selectors = [data, code, data, data, data, data, 0, 0];
    let limits = [FLAT, FLAT, FLAT, FLAT, FLAT, FLAT, 0, 0x67];
    let rights = [WRITABLE, code_rights, WRITABLE, WRITABLE, WRITABLE, WRITABLE, 0x1_0000, 0x8b];
    let rows = [(0x800, selectors), (0x4800, limits), (0x4814, rights), (0x6806, [0; 8])];
    rows.into_iter().flat_map(|(first, values)| (first..).step_by(2).zip(values))
}

/// What both entry states have alike (SDM vol. 3, "Processor States Following Power-up, Reset, or INIT").
const AS_AFTER_RESET: [(u16, u64); 27] = [
    // VMCS link pointer, DEBUGCTL, PAT, PDPTEs.
    (0x2800, u64::MAX),
    (0x2802, 0),
    (0x2804, 0x0007_0406_0007_0406),
    (0x280a, 0),
    (0x280c, 0),
    (0x280e, 0),
    (0x2810, 0),
    // IDTR, interruptibility, activity, SYSENTER_CS, DR7, RSP, RFLAGS, pending debug exceptions, SYSENTER_ESP and _EIP.
    (0x4812, 0),
    (0x6818, 0),
    (0x4824, 0),
    (0x4826, 0),
    (0x482a, 0),
    (0x681a, 0x400),
    (0x681c, 0),
    (0x6820, 2),
    (0x6822, 0),
    (0x6824, 0),
    (0x6826, 0),
    // RIP, which both have the same here.
    (0x681e, 0x0123_4560),
    // CR0 and CR4: NE and VMXE because VMX demands them, MCE because it is ours. CR3, EFER and GDTR.
    (0x6800, 0x31),
    (0x6802, 0),
    (0x6804, 0x2040),
    (0x2806, 0),
    (0x4810, 0),
    (0x6816, 0),
    // What is injected, which is no guest state but must not be left over.
    (0x4016, 0),
    // No bit of CR4 that the guest sees is set.
    (0x6006, 0),
];

fn protected_32() -> BTreeMap<u16, u64> {
    AS_AFTER_RESET.into_iter().chain([(0x6004, 0x11)]).chain(segments(0x8, 0x10, 0xc09b)).collect()
}

/// Linux, Documentation/arch/x86/boot.rst, "64-bit Boot Protocol": __BOOT_CS is 10H and __BOOT_DS 18H.
fn long_64() -> BTreeMap<u16, u64> {
    let mode = [
        (0x6800, 0x8000_0031),
        (0x6004, 0x8000_0011),
        (0x6802, 0x4000),
        (0x6804, 0x2060),
        (0x6006, 0x20),
        (0x2806, 0x500),
        (0x4810, 0x1f),
        (0x6816, 0x1000),
    ];
    AS_AFTER_RESET.into_iter().chain(mode).chain(segments(0x10, 0x18, 0xa09b)).collect()
}

fn written(poison: u8, entry: EntryState) -> (Model, Registers) {
    let mut model = Model::poisoned(poison);
    let registers = write(&mut model.guest().vmcs, entry);
    (model, registers)
}

#[test]
fn every_guest_state_field_of_the_enlightened_vmcs_is_written() {
    let is_guest_state = |encoding: u16| encoding >> 10 & 3 == 2;
    for (entry, expected) in [(PROTECTED_32, protected_32()), (LONG_64, long_64())] {
        for poison in POISONS {
            let (model, _) = written(poison, entry);
            for field in FIELDS {
                let value = model.raw(field.offset, field.size);
                match expected.get(&field.encoding) {
                    Some(&expected) => assert_eq!(value, expected, "{entry:?}: {:#x}", field.encoding),
                    None if is_guest_state(field.encoding) => {
                        assert!(UNUSED.contains(&field.encoding), "{entry:?}: {:#x}", field.encoding);
                    }
                    None => {}
                }
            }
        }
    }
}

#[test]
fn the_expected_values_name_every_guest_state_field_once() {
    let guest_state = FIELDS.iter().filter(|field| field.encoding >> 10 & 3 == 2).count();
    // Beyond guest state: the two read shadows and what is injected.
    assert_eq!(protected_32().len() - 3, guest_state - UNUSED.len());
    assert_eq!(long_64().len(), protected_32().len());
}

/// SDM vol. 3, "Checks on Guest Control Registers, Debug Registers, and MSRs": an entry with the control and LMA in disagreement fails.
#[test]
fn the_entry_control_for_64_bit_guests_is_set_or_cleared_and_the_others_are_kept() {
    for poison in POISONS {
        let before = u32::from_le_bytes([poison; 4]);
        let (mut model, _) = written(poison, PROTECTED_32);
        assert_eq!(model.read(field::VM_ENTRY_CONTROLS), before & !(1 << 9));
        let (mut model, _) = written(poison, LONG_64);
        assert_eq!(model.read(field::VM_ENTRY_CONTROLS), before | 1 << 9);
    }
}

#[test]
fn what_is_ours_of_cr0_and_cr4_exits() {
    let (mut model, _) = written(0xaa, LONG_64);
    // NE, NW and CD; of CR4 also bits that nobody has yet.
    assert_eq!(model.read(field::CR0_GUEST_HOST_MASK), 0x6000_0020);
    let cr4 = model.read(field::CR4_GUEST_HOST_MASK);
    let owned = [("VMXE", 13), ("SMXE", 14), ("LA57", 12), ("PKE", 22), ("CET", 23), ("PKS", 24), ("63", 63)];
    assert!(owned.iter().all(|(_, bit)| cr4 >> bit & 1 == 1), "{cr4:#x}");
    let free = [
        ("PAE", 5),
        ("PGE", 7),
        ("UMIP", 11),
        ("FSGSBASE", 16),
        ("PCIDE", 17),
        ("OSXSAVE", 18),
        ("SMAP", 21),
    ];
    assert!(free.iter().all(|(_, bit)| cr4 >> bit & 1 == 0), "{cr4:#x}");
}

#[test]
fn the_registers_that_the_boot_protocols_name_are_set_and_the_others_are_zero() {
    assert_eq!(written(0xaa, PROTECTED_32).1, Registers { rbx: 0x9000, ..Registers::default() });
    assert_eq!(written(0xaa, LONG_64).1, Registers { rsi: 0x9000, ..Registers::default() });
}
