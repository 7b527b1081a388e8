// SPDX-License-Identifier: MIT OR Apache-2.0
//! MOV to and from control registers: what of CR0 and CR4 is not the guest's alone, and CR8.

use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::vcpu::end::End;
use crate::vcpu::exception::Exception;
use crate::vcpu::guest::Guest;
use crate::vmx::exit::ControlRegisterQualification;
use crate::vmx::exit::ExitReason;
use evmcs::controls::EntryControls;
use evmcs::field;

/// CR0.PE.
const PROTECTION: u64 = 1 << 0;
/// CR0.ET, which is always 1.
const EXTENSION_TYPE: u64 = 1 << 4;
/// CR0.NE, which VMX demands.
const NUMERIC_ERROR: u64 = 1 << 5;
/// CR0.NW.
const NOT_WRITE_THROUGH: u64 = 1 << 29;
/// CR0.CD.
const CACHE_DISABLE: u64 = 1 << 30;
/// CR0.PG.
const PAGING: u64 = 1 << 31;
/// CR0 bits that a processor has.
const CR0_DEFINED: u64 = 0xe005_003f;
/// CR4.PAE.
const PAE: u64 = 1 << 5;
/// CR4.VMXE, which VMX demands and the guest does not see.
pub const VMXE: u64 = 1 << 13;
/// CR4.PCIDE.
const PCIDE: u64 = 1 << 17;
/// CR4 bits that a guest may set: VME to OSXMMEXCPT, UMIP, FSGSBASE, PCIDE, OSXSAVE, SMEP, SMAP; those among them that CPUID
/// does not offer are refused by the processor, which offers no more.
const CR4_ALLOWED: u64 = 0x7ff | 1 << 11 | 1 << 16 | PCIDE | 1 << 18 | 1 << 20 | 1 << 21;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// Reserved bits of a PAE directory pointer, apart from the address's (SDM vol. 3, table 4-8).
const PDPTE_RESERVED: u64 = 0x1e6;

/// CR0 bits that exit when the guest changes them. NE because VMX wants it set; the cache bits because with CD set the
/// guest would run uncached for the sake of caches that are coherent anyway.
pub const CR0_OWNED: u64 = NUMERIC_ERROR | NOT_WRITE_THROUGH | CACHE_DISABLE;
/// CR4 bits that exit when the guest changes them: all that it may not.
pub const CR4_OWNED: u64 = !CR4_ALLOWED;

/// CR0 as the processor is to have it while the guest wants `value`.
#[must_use]
pub fn effective_cr0(value: u64) -> u64 {
    value & !(NOT_WRITE_THROUGH | CACHE_DISABLE) | NUMERIC_ERROR | EXTENSION_TYPE
}

/// A control register access that exits (SDM vol. 3, 26.1.3).
pub fn handle(guest: &mut Guest<'_>) -> Result<(), End> {
    let raw = guest.vmcs.read(field::EXIT_QUALIFICATION);
    let qualification = ControlRegisterQualification::from(raw);
    let number = qualification.general_register();
    let result = match (qualification.register(), qualification.access()) {
        (0, 0) => set_cr0(guest, operand(guest, number)),
        // A bit was to be set that the guest may not set; all the others it sets without an exit.
        (4, 0) => Err(Exception::GeneralProtection),
        (8, 0) => set_cr8(guest, guest.register(number)),
        (8, 1) => {
            let value = guest.state.apic.cr8();
            guest.set_register(number, value);
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
    guest.state.attention = true;
    Ok(())
}

/// MOV to CR0, all of it: with one of our bits the guest may change any other (SDM vol. 2B, MOV—Move to/from Control
/// Registers; vol. 3, 10.8.5).
fn set_cr0(guest: &mut Guest<'_>, value: u64) -> Result<(), Exception> {
    let old = guest.vmcs.read(field::GUEST_CR0);
    let efer = guest.vmcs.read(field::GUEST_IA32_EFER);
    let cr4 = guest.vmcs.read(field::GUEST_CR4);
    let in_64_bit_mode = guest.in_64_bit_mode();
    let has = |bits: u64| value & bits != 0;
    let turns_on = |bit: u64| value & !old & bit != 0;
    let turns_off = |bit: u64| old & !value & bit != 0;
    let impossible = value >> 32 != 0
        || has(PAGING) && !has(PROTECTION)
        || has(NOT_WRITE_THROUGH) && !has(CACHE_DISABLE)
        || turns_off(PAGING) && (in_64_bit_mode || cr4 & PCIDE != 0)
        || turns_on(PAGING) && efer & EFER_LME != 0 && (cr4 & PAE == 0 || long_code_segment(guest));
    if impossible {
        return Err(Exception::GeneralProtection);
    }
    let pae_paging = has(PAGING) && efer & EFER_LME == 0 && cr4 & PAE != 0;
    let shown = old & !CR0_OWNED | guest.vmcs.read(field::CR0_READ_SHADOW) & CR0_OWNED;
    if pae_paging && (value ^ shown) & (PAGING | CACHE_DISABLE | NOT_WRITE_THROUGH) != 0 {
        load_directory_pointers(guest)?;
    }
    if turns_on(PAGING) && efer & EFER_LME != 0 {
        set_long_mode(guest, efer | EFER_LMA);
    } else if turns_off(PAGING) && efer & EFER_LMA != 0 {
        set_long_mode(guest, efer & !EFER_LMA);
    }
    let value = value & CR0_DEFINED | EXTENSION_TYPE;
    guest.vmcs.write(field::CR0_READ_SHADOW, value);
    guest.vmcs.write(field::GUEST_CR0, effective_cr0(value));
    Ok(())
}

fn long_code_segment(guest: &Guest<'_>) -> bool {
    guest.vmcs.read(field::GUEST_CS_ACCESS_RIGHTS) >> 13 & 1 != 0
}

/// LMA, and the VM-entry control that has to agree with it.
fn set_long_mode(guest: &mut Guest<'_>, efer: u64) {
    guest.vmcs.write(field::GUEST_IA32_EFER, efer);
    let controls = EntryControls::from_bits(guest.vmcs.read(field::VM_ENTRY_CONTROLS));
    let controls = controls.with_ia32e_mode_guest(efer & EFER_LMA != 0);
    guest.vmcs.write(field::VM_ENTRY_CONTROLS, controls.into_bits());
}

/// With PAE paging the processor keeps the four directory pointers, and VM entry takes them from the VMCS (SDM vol. 3,
/// 4.4.1 and 27.3.1.6).
fn load_directory_pointers(guest: &mut Guest<'_>) -> Result<(), Exception> {
    let table = GuestPhysical(guest.vmcs.read(field::GUEST_CR3) & 0xffff_ffe0);
    let mut bytes = [0; 32];
    guest.machine.ram.read(table, &mut bytes).map_err(|_| Exception::GeneralProtection)?;
    let beyond_address = u64::MAX << guest.machine.cpuid.physical_bits();
    let mut pointers = [0; 4];
    for (pointer, bytes) in pointers.iter_mut().zip(bytes.chunks_exact(8)) {
        *pointer = bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
        if *pointer & 1 != 0 && *pointer & (PDPTE_RESERVED | beyond_address) != 0 {
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
