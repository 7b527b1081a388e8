// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest-state area of a vCPU that is about to enter its kernel.

use crate::architecture::cr0;
use crate::architecture::cr4;
use crate::architecture::efer;
use crate::architecture::rflags;
use crate::vcpu::exits::control_register::CR0_OWNED;
use crate::vcpu::exits::control_register::CR4_OWNED;
use crate::vcpu::exits::control_register::effective_cr0;
use crate::vcpu::exits::control_register::effective_cr4;
use crate::vcpu::msr_policy::PAT_AT_RESET;
use crate::vm::loader::BOOT_CS;
use crate::vm::loader::BOOT_DS;
use crate::vm::loader::EntryState;
use crate::vmx::entry::Registers;
use evmcs::Active;
use evmcs::Field;
use evmcs::controls::EntryControls;
use evmcs::field;

// Access rights (SDM vol. 3, "Format of Access Rights"): type, S, P, and AVL, L, D/B, G from bit 12 on.
const FLAT_CODE_32: u32 = 0xc09b;
const CODE_64: u32 = 0xa09b;
const FLAT_DATA: u32 = 0xc093;
const BUSY_TSS: u32 = 0x8b;
const UNUSABLE: u32 = 1 << 16;

const PROTECTED: u64 = cr0::ET | cr0::PE;
const LONG_MODE: u64 = efer::LME | efer::LMA;
/// DR7 after RESET.
const DR7: u64 = 0x400;

/// A segment register as the VMCS holds it.
#[derive(Clone, Copy)]
struct Segment {
    selector: u16,
    limit: u32,
    rights: u32,
}

type SegmentFields = (Field<u16>, Field<u64>, Field<u32>, Field<u32>);

const DATA_SEGMENTS: [SegmentFields; 5] = [
    (field::GUEST_ES_SELECTOR, field::GUEST_ES_BASE, field::GUEST_ES_LIMIT, field::GUEST_ES_ACCESS_RIGHTS),
    (field::GUEST_SS_SELECTOR, field::GUEST_SS_BASE, field::GUEST_SS_LIMIT, field::GUEST_SS_ACCESS_RIGHTS),
    (field::GUEST_DS_SELECTOR, field::GUEST_DS_BASE, field::GUEST_DS_LIMIT, field::GUEST_DS_ACCESS_RIGHTS),
    (field::GUEST_FS_SELECTOR, field::GUEST_FS_BASE, field::GUEST_FS_LIMIT, field::GUEST_FS_ACCESS_RIGHTS),
    (field::GUEST_GS_SELECTOR, field::GUEST_GS_BASE, field::GUEST_GS_LIMIT, field::GUEST_GS_ACCESS_RIGHTS),
];
const CS: SegmentFields =
    (field::GUEST_CS_SELECTOR, field::GUEST_CS_BASE, field::GUEST_CS_LIMIT, field::GUEST_CS_ACCESS_RIGHTS);
const TR: SegmentFields =
    (field::GUEST_TR_SELECTOR, field::GUEST_TR_BASE, field::GUEST_TR_LIMIT, field::GUEST_TR_ACCESS_RIGHTS);
const LDTR: SegmentFields = (
    field::GUEST_LDTR_SELECTOR,
    field::GUEST_LDTR_BASE,
    field::GUEST_LDTR_LIMIT,
    field::GUEST_LDTR_ACCESS_RIGHTS,
);

/// Writes all guest state, and gives the general registers that go with it.
pub fn write(vmcs: &mut Active<'_>, entry: EntryState) -> Registers {
    write_common(vmcs);
    match entry {
        EntryState::Protected32 { eip, ebx } => {
            write_mode(vmcs, PROTECTED, 0, 0, 0);
            write_segment(vmcs, CS, Segment { selector: 0x8, limit: u32::MAX, rights: FLAT_CODE_32 });
            for fields in DATA_SEGMENTS {
                write_segment(vmcs, fields, Segment { selector: 0x10, limit: u32::MAX, rights: FLAT_DATA });
            }
            write_descriptor_table(vmcs, 0, 0);
            vmcs.write(field::GUEST_RIP, u64::from(eip));
            Registers { rbx: u64::from(ebx), ..Registers::default() }
        }
        EntryState::Long64 { rip, rsi, cr3, gdt_base, gdt_limit } => {
            write_mode(vmcs, PROTECTED | cr0::PG, cr3.0, cr4::PAE, LONG_MODE);
            write_segment(vmcs, CS, Segment { selector: BOOT_CS, limit: u32::MAX, rights: CODE_64 });
            for fields in DATA_SEGMENTS {
                write_segment(
                    vmcs,
                    fields,
                    Segment { selector: BOOT_DS, limit: u32::MAX, rights: FLAT_DATA },
                );
            }
            write_descriptor_table(vmcs, gdt_base.0, gdt_limit);
            vmcs.write(field::GUEST_RIP, rip);
            Registers { rsi, ..Registers::default() }
        }
    }
}

/// What both ways of entry have alike: as after RESET (SDM vol. 3, "Processor States Following Power-up, Reset, or INIT").
fn write_common(vmcs: &mut Active<'_>) {
    write_segment(vmcs, TR, Segment { selector: 0, limit: 0x67, rights: BUSY_TSS });
    write_segment(vmcs, LDTR, Segment { selector: 0, limit: 0, rights: UNUSABLE });
    vmcs.write(field::GUEST_IDTR_BASE, 0);
    vmcs.write(field::GUEST_IDTR_LIMIT, 0);
    vmcs.write(field::GUEST_RSP, 0);
    vmcs.write(field::GUEST_RFLAGS, rflags::FIXED);
    vmcs.write(field::GUEST_DR7, DR7);
    vmcs.write(field::GUEST_IA32_DEBUGCTL, 0);
    vmcs.write(field::GUEST_IA32_PAT, PAT_AT_RESET);
    vmcs.write(field::GUEST_IA32_SYSENTER_CS, 0);
    vmcs.write(field::GUEST_IA32_SYSENTER_ESP, 0);
    vmcs.write(field::GUEST_IA32_SYSENTER_EIP, 0);
    vmcs.write(field::GUEST_INTERRUPTIBILITY_STATE, 0);
    vmcs.write(field::GUEST_ACTIVITY_STATE, 0);
    vmcs.write(field::GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
    vmcs.write(field::GUEST_PDPTE0, 0);
    vmcs.write(field::GUEST_PDPTE1, 0);
    vmcs.write(field::GUEST_PDPTE2, 0);
    vmcs.write(field::GUEST_PDPTE3, 0);
    // No shadow VMCS (SDM vol. 3, "Guest Non-Register State").
    vmcs.write(field::VMCS_LINK_POINTER, u64::MAX);
    vmcs.write(field::VM_ENTRY_INTERRUPTION_INFORMATION, 0);
}

fn write_mode(vmcs: &mut Active<'_>, cr0: u64, cr3: u64, cr4: u64, efer: u64) {
    vmcs.write(field::GUEST_CR0, effective_cr0(cr0));
    vmcs.write(field::CR0_READ_SHADOW, cr0);
    vmcs.write(field::CR0_GUEST_HOST_MASK, CR0_OWNED);
    vmcs.write(field::GUEST_CR3, cr3);
    vmcs.write(field::GUEST_CR4, effective_cr4(cr4));
    vmcs.write(field::CR4_READ_SHADOW, cr4);
    vmcs.write(field::CR4_GUEST_HOST_MASK, CR4_OWNED);
    vmcs.write(field::GUEST_IA32_EFER, efer);
    let controls = EntryControls::from_bits(vmcs.read(field::VM_ENTRY_CONTROLS));
    vmcs.write(field::VM_ENTRY_CONTROLS, controls.with_ia32e_mode_guest(efer == LONG_MODE).into_bits());
}

fn write_segment(vmcs: &mut Active<'_>, fields: SegmentFields, segment: Segment) {
    let (selector, base, limit, rights) = fields;
    vmcs.write(selector, segment.selector);
    vmcs.write(base, 0);
    vmcs.write(limit, segment.limit);
    vmcs.write(rights, segment.rights);
}

fn write_descriptor_table(vmcs: &mut Active<'_>, base: u64, limit: u16) {
    vmcs.write(field::GUEST_GDTR_BASE, base);
    vmcs.write(field::GUEST_GDTR_LIMIT, u32::from(limit));
}

#[cfg(test)]
mod tests;
