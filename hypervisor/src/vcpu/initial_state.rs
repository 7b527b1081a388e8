// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the first vCPU enters its kernel: what a loader asks for, on top of the state after RESET.

use crate::architecture::cr0;
use crate::architecture::cr4;
use crate::architecture::efer;
use crate::vcpu::guest::Guest;
use crate::vcpu::reset::Mode;
use crate::vcpu::reset::write_mode;
use crate::vcpu::segment;
use crate::vcpu::segment::Segment;
use crate::vm::loader::BOOT_CS;
use crate::vm::loader::BOOT_DS;
use crate::vm::loader::EntryState;
use evmcs::field;

const FLAT_CODE_32: Segment = Segment { selector: 0x8, base: 0, limit: u32::MAX, rights: 0xc09b };
const FLAT_DATA_32: Segment = Segment { selector: 0x10, base: 0, limit: u32::MAX, rights: 0xc093 };
const CODE_64: Segment = Segment { selector: BOOT_CS, base: 0, limit: u32::MAX, rights: 0xa09b };
const FLAT_DATA: Segment = Segment { selector: BOOT_DS, ..FLAT_DATA_32 };

const PROTECTED: u64 = cr0::ET | cr0::PE;
const LONG_MODE: u64 = efer::LME | efer::LMA;

/// Sets what the entry state names, and has the 8259As' interrupts pass through the local APIC, as firmware does. The rest is
/// left as [`Guest::reset`] has it.
pub fn write(guest: &mut Guest<'_>, entry: EntryState) {
    guest.state.apic.enter_virtual_wire_mode();
    guest.publish_address();
    match entry {
        EntryState::Protected32 { eip, ebx } => {
            write_mode(&mut guest.vmcs, Mode { cr0: PROTECTED, cr3: 0, cr4: 0, efer: 0 });
            write_segments(guest, FLAT_CODE_32, FLAT_DATA_32);
            guest.vmcs.write(field::GUEST_RIP, u64::from(eip));
            guest.frame.registers.rbx = u64::from(ebx);
        }
        EntryState::Long64 { rip, rsi, cr3, gdt_base, gdt_limit } => {
            let mode = Mode { cr0: PROTECTED | cr0::PG, cr3: cr3.0, cr4: cr4::PAE, efer: LONG_MODE };
            write_mode(&mut guest.vmcs, mode);
            write_segments(guest, CODE_64, FLAT_DATA);
            guest.vmcs.write(field::GUEST_GDTR_BASE, gdt_base.0);
            guest.vmcs.write(field::GUEST_GDTR_LIMIT, u32::from(gdt_limit));
            guest.vmcs.write(field::GUEST_RIP, rip);
            guest.frame.registers.rsi = rsi;
        }
    }
}

fn write_segments(guest: &mut Guest<'_>, code: Segment, data: Segment) {
    segment::CS.write(&mut guest.vmcs, code);
    for register in segment::DATA {
        register.write(&mut guest.vmcs, data);
    }
}

#[cfg(test)]
mod tests;
