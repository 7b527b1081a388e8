// SPDX-License-Identifier: MIT OR Apache-2.0
//! MOV to and from control registers: what of CR0 and CR4 is not the guest's alone, and CR8.

use crate::architecture::cr0;
use crate::architecture::cr4;
use crate::architecture::efer;
use crate::irqchip::local_apic::Effect;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::vcpu::end::End;
use crate::vcpu::exception::Exception;
use crate::vcpu::guest::Guest;
use crate::vmx::exit::ControlRegisterQualification;
use crate::vmx::exit::ExitReason;
use evmcs::controls::EntryControls;
use evmcs::field;

/// CR0 bits that exit when the guest changes them. NE because VMX wants it set; the cache bits because with CD set the
/// guest would run uncached for the sake of caches that are coherent anyway.
pub const CR0_OWNED: u64 = cr0::NE | cr0::NW | cr0::CD;
/// CR4 bits that a guest may set, as far as the processor has them.
pub const CR4_OFFERED: u64 =
    cr4::BASIC | cr4::UMIP | cr4::FSGSBASE | cr4::PCIDE | cr4::OSXSAVE | cr4::SMEP | cr4::SMAP;
/// CR4 bits that exit when the guest changes them: those that it may not set, and MCE, which is ours, so that a machine
/// check in a guest comes to us and does not shut the machine down.
pub const CR4_OWNED: u64 = !CR4_OFFERED | cr4::MCE;
/// CR4 bits that are set whatever the guest wants.
const CR4_FORCED: u64 = cr4::VMXE | cr4::MCE;
/// CR4 bits whose change makes the processor drop linear mappings (SDM vol. 3, "Operations that Invalidate TLBs").
const CR4_FLUSHING: u64 = cr4::PSE | cr4::PAE | cr4::PGE | cr4::PCIDE | cr4::SMEP;
/// Reserved bits of a PAE directory pointer, apart from the address's (SDM vol. 3, "PDPTE Registers").
const DIRECTORY_POINTER_RESERVED: u64 = 0x1e6;

/// CR0 as the processor is to have it while the guest wants `value`.
#[must_use]
pub fn effective_cr0(value: u64) -> u64 {
    value & !(cr0::NW | cr0::CD) | cr0::NE | cr0::ET
}

/// CR4 as the processor is to have it while the guest wants `value`.
#[must_use]
pub fn effective_cr4(value: u64) -> u64 {
    value | CR4_FORCED
}

/// A control register access that exits (SDM vol. 3, "Instructions That Cause VM Exits Conditionally").
pub fn handle(guest: &mut Guest<'_>) -> Result<(), End> {
    let raw = guest.vmcs.read(field::EXIT_QUALIFICATION);
    let qualification = ControlRegisterQualification::from(raw);
    let number = qualification.general_register();
    let result = match (qualification.register(), qualification.access()) {
        (0, 0) => set_cr0(guest, operand(guest, number)),
        (4, 0) => set_cr4(guest, operand(guest, number)),
        (8, 0) => set_cr8(guest, guest.register(number)),
        (8, 1) => {
            let value = guest.state.apic.cr8();
            guest.set_register(number, value);
            guest.note_cr8_exit();
            Ok(())
        }
        _ => {
            let rip = guest.vmcs.read(field::GUEST_RIP);
            return Err(End::Unhandled { reason: ExitReason::CONTROL_REGISTER, qualification: raw, rip });
        }
    };
    guest.advance_or_raise(result);
    Ok(())
}

/// What is moved: outside of 64-bit mode, 32 bits (SDM vol. 2B, MOV—Move to/from Control Registers).
fn operand(guest: &Guest<'_>, number: u8) -> u64 {
    let value = guest.register(number);
    if guest.in_64_bit_mode() { value } else { value & 0xffff_ffff }
}

fn set_cr8(guest: &mut Guest<'_>, value: u64) -> Result<(), Exception> {
    guest.state.apic.set_cr8(value)?;
    guest.note_cr8_exit();
    guest.carry_out(Effect::None);
    Ok(())
}

/// MOV to CR0, all of it: with one of our bits the guest may change any other (SDM vol. 2B, "MOV—Move to/from Control
/// Registers").
fn set_cr0(guest: &mut Guest<'_>, value: u64) -> Result<(), Exception> {
    let old = guest.vmcs.read(field::GUEST_CR0);
    let (efer, cr4) = (guest.vmcs.read(field::GUEST_IA32_EFER), guest.vmcs.read(field::GUEST_CR4));
    let has = |bits: u64| value & bits != 0;
    let paging_on = value & !old & cr0::PG != 0;
    let paging_off = old & !value & cr0::PG != 0;
    let long_mode = efer & efer::LME != 0;
    let impossible = value >> 32 != 0
        || has(cr0::PG) && !has(cr0::PE)
        || has(cr0::NW) && !has(cr0::CD)
        || paging_off && (guest.in_64_bit_mode() || cr4 & cr4::PCIDE != 0)
        || paging_on
            && long_mode
            && (cr4 & cr4::PAE == 0 || guest.long_code_segment() || old_task_state(guest));
    if impossible {
        return Err(Exception::GeneralProtection);
    }
    let pae_paging = has(cr0::PG) && !long_mode && cr4 & cr4::PAE != 0;
    let shown = old & !CR0_OWNED | guest.vmcs.read(field::CR0_READ_SHADOW) & CR0_OWNED;
    if pae_paging && (value ^ shown) & (cr0::PG | cr0::CD | cr0::NW) != 0 {
        load_directory_pointers(guest)?;
    }
    if paging_on && long_mode {
        set_long_mode(guest, efer | efer::LMA);
    } else if paging_off {
        set_long_mode(guest, efer & !efer::LMA);
        guest.state.flush_linear();
    }
    let value = value & cr0::DEFINED | cr0::ET;
    guest.vmcs.write(field::CR0_READ_SHADOW, value);
    guest.vmcs.write(field::GUEST_CR0, effective_cr0(value));
    Ok(())
}

/// Whether TR holds a 16-bit TSS, with which there is no long mode.
fn old_task_state(guest: &Guest<'_>) -> bool {
    const BUSY_TSS_16: u32 = 3;
    guest.vmcs.read(field::GUEST_TR_ACCESS_RIGHTS) & 0xf == BUSY_TSS_16
}

/// MOV to CR4 with a bit that the guest may not set, or with a change of MCE, and perhaps others with it.
fn set_cr4(guest: &mut Guest<'_>, value: u64) -> Result<(), Exception> {
    let old = guest.vmcs.read(field::GUEST_CR4);
    let lma = guest.vmcs.read(field::GUEST_IA32_EFER) & efer::LMA != 0;
    let changed = (old ^ value) & !CR4_FORCED;
    let turns_on = |bit: u64| changed & value & bit != 0;
    let impossible = value & !(CR4_OFFERED & guest.machine.cr4_has) != 0
        || lma && value & cr4::PAE == 0
        || turns_on(cr4::PCIDE) && (!lma || guest.vmcs.read(field::GUEST_CR3) & 0xfff != 0);
    if impossible {
        return Err(Exception::GeneralProtection);
    }
    if guest.paging() && !lma && value & cr4::PAE != 0 && changed & CR4_FLUSHING != 0 {
        load_directory_pointers(guest)?;
    }
    if changed & CR4_FLUSHING != 0 {
        guest.state.flush_linear();
    }
    guest.vmcs.write(field::CR4_READ_SHADOW, value);
    guest.vmcs.write(field::GUEST_CR4, effective_cr4(value));
    Ok(())
}

/// LMA, and the VM-entry control that has to agree with it.
fn set_long_mode(guest: &mut Guest<'_>, efer: u64) {
    guest.vmcs.write(field::GUEST_IA32_EFER, efer);
    let controls = EntryControls::from_bits(guest.vmcs.read(field::VM_ENTRY_CONTROLS));
    let controls = controls.with_ia32e_mode_guest(efer & efer::LMA != 0);
    guest.vmcs.write(field::VM_ENTRY_CONTROLS, controls.into_bits());
}

/// With PAE paging the processor keeps the four directory pointers, and VM entry takes them from the VMCS (SDM vol. 3,
/// "PDPTE Registers", "Loading Page-Directory-Pointer-Table Entries").
fn load_directory_pointers(guest: &mut Guest<'_>) -> Result<(), Exception> {
    let table = GuestPhysical(guest.vmcs.read(field::GUEST_CR3) & 0xffff_ffe0);
    let mut bytes = [0; 32];
    guest.machine.memory.read(table, &mut bytes).map_err(|_| Exception::GeneralProtection)?;
    let beyond_address = u64::MAX << guest.machine.cpuid.physical_bits();
    let mut pointers = [0; 4];
    for (pointer, bytes) in pointers.iter_mut().zip(bytes.chunks_exact(8)) {
        *pointer = bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
        if *pointer & 1 != 0 && *pointer & (DIRECTORY_POINTER_RESERVED | beyond_address) != 0 {
            return Err(Exception::GeneralProtection);
        }
    }
    guest.vmcs.write(field::GUEST_PDPTE0, pointers[0]);
    guest.vmcs.write(field::GUEST_PDPTE1, pointers[1]);
    guest.vmcs.write(field::GUEST_PDPTE2, pointers[2]);
    guest.vmcs.write(field::GUEST_PDPTE3, pointers[3]);
    Ok(())
}

#[cfg(test)]
mod tests;
