// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether the first vCPU enters its kernel as the entry state asks for, and otherwise as after RESET.

use super::*;
use crate::mmu::GuestPhysical;
use crate::vcpu::model::Model;
use crate::vmx::entry::Registers;
use hyperv_bindings::enlightened_vmcs::FIELDS;
use std::collections::BTreeMap;
use std::sync::Arc;

const PROTECTED_32: EntryState = EntryState::Protected32 { eip: 0x0123_4560, eax: 0x2BAD_B002, ebx: 0x9000 };
const LONG_64: EntryState = EntryState::Long64 {
    rip: 0x0123_4560,
    rsi: 0x9000,
    cr3: GuestPhysical(0x4000),
    gdt_base: GuestPhysical(0x1000),
    gdt_limit: 0x1f,
};

/// Encodings and values, spelled out: ES, CS, SS, DS, FS, GS of each property of segments.
fn segments(code: u64, data: u64, code_rights: u64) -> impl Iterator<Item = (u16, u64)> {
    const FLAT: u64 = 0xffff_ffff;
    const WRITABLE: u64 = 0xc093;
    let selectors = [data, code, data, data, data, data];
    let rights = [WRITABLE, code_rights, WRITABLE, WRITABLE, WRITABLE, WRITABLE];
    let rows = [(0x800, selectors), (0x4800, [FLAT; 6]), (0x4814, rights), (0x6806, [0; 6])];
    rows.into_iter().flat_map(|(first, values)| (first..).step_by(2).zip(values))
}

/// RIP, CR0 and what the guest sees of it: NE because VMX demands it.
fn protected_32() -> BTreeMap<u16, u64> {
    let mode = [(0x681e, 0x0123_4560), (0x6800, 0x31), (0x6004, 0x11)];
    mode.into_iter().chain(segments(0x8, 0x10, 0xc09b)).collect()
}

/// Linux, Documentation/arch/x86/boot.rst, "64-bit Boot Protocol": __BOOT_CS is 10H and __BOOT_DS 18H.
fn long_64() -> BTreeMap<u16, u64> {
    let mode = [
        (0x681e, 0x0123_4560),
        // CR0, CR3, CR4 and what the guest sees of them; EFER; GDTR; the entry control for 64-bit guests.
        (0x6800, 0x8000_0031),
        (0x6004, 0x8000_0011),
        (0x6802, 0x4000),
        (0x6804, 0x2060),
        (0x6006, 0x20),
        (0x2806, 0x500),
        (0x4810, 0x1f),
        (0x6816, 0x1000),
        (0x4012, 1 << 9),
    ];
    mode.into_iter().chain(segments(0x10, 0x18, 0xa09b)).collect()
}

/// After RESET, and with that entry state on top.
fn both(entry: EntryState) -> (Model, Model) {
    let (mut reset, mut entered) = (Model::poisoned(0, 0), Model::poisoned(0, 0));
    // Whose MSR bitmap the VMCS names.
    entered.machine = Arc::clone(&reset.machine);
    reset.guest().reset(0);
    entered.guest().reset(0);
    write(&mut entered.guest(), entry);
    (reset, entered)
}

#[test]
fn what_the_entry_state_names_is_set_and_all_else_is_as_after_reset() {
    for (entry, expected) in [(PROTECTED_32, protected_32()), (LONG_64, long_64())] {
        let (reset, entered) = both(entry);
        for field in FIELDS {
            let as_after_reset = || reset.raw(field.offset, field.size);
            let expected = expected.get(&field.encoding).copied().unwrap_or_else(as_after_reset);
            let value = entered.raw(field.offset, field.size);
            assert_eq!(value, expected, "{entry:?}: {:#x}", field.encoding);
        }
    }
}

/// SDM vol. 3, "Checks on Guest Segment Registers" and "Checks on Guest Descriptor-Table Registers".
#[test]
fn what_is_left_of_reset_can_be_entered_in_64_bit_mode() {
    let (_, mut entered) = both(LONG_64);
    assert_eq!(entered.read(field::GUEST_TR_ACCESS_RIGHTS), 0x8b, "a busy TSS");
    assert_eq!(entered.read(field::GUEST_LDTR_ACCESS_RIGHTS), 0x82, "an LDT");
    assert_eq!(entered.read(field::GUEST_TR_SELECTOR) & 4, 0, "of the GDT");
}

#[test]
fn the_registers_that_the_boot_protocols_name_are_set_and_the_others_are_as_after_reset() {
    for (entry, change) in [
        (
            PROTECTED_32,
            (|registers| {
                registers.rax = 0x2BAD_B002;
                registers.rbx = 0x9000;
            }) as fn(&mut Registers),
        ),
        (LONG_64, |registers| registers.rsi = 0x9000),
    ] {
        let (reset, entered) = both(entry);
        let mut expected = reset.frame.registers;
        change(&mut expected);
        assert_eq!(entered.frame.registers, expected);
    }
}
