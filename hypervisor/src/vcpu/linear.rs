// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest-linear memory, as an instruction of the guest would reach it.

use crate::mmu::GuestMemory;
use crate::mmu::guest_walk::Access;
use crate::mmu::guest_walk::AccessKind;
use crate::mmu::guest_walk::MAX_INSTRUCTION;
use crate::mmu::guest_walk::Paging;
use crate::mmu::guest_walk::WalkFault;
use crate::vcpu::exception::Exception;
use crate::vcpu::guest::Guest;
use evmcs::field;

/// Lowest privilege.
const USER: u8 = 3;

/// The address of `offset` in a segment. Outside of 64-bit mode it wraps at 4 GiB (SDM vol. 1, "Canonical Addressing").
pub fn address(guest: &Guest<'_>, base: u64, offset: u64) -> u64 {
    let linear = base.wrapping_add(offset);
    if guest.in_64_bit_mode() { linear } else { linear & 0xffff_ffff }
}

/// Fetches the bytes at RIP; gives how many could be fetched.
pub fn fetch(guest: &Guest<'_>, buffer: &mut [u8; MAX_INSTRUCTION]) -> Result<usize, Exception> {
    let base = if guest.in_64_bit_mode() { 0 } else { guest.vmcs.read(field::GUEST_CS_BASE) };
    let linear = address(guest, base, guest.vmcs.read(field::GUEST_RIP));
    let user = guest.privilege_level() == USER;
    paging(guest).fetch_instruction(&guest.machine.memory, linear, user, buffer).map_err(exception)
}

/// Reads memory.
pub fn read(guest: &Guest<'_>, linear: u64, buffer: &mut [u8]) -> Result<(), Exception> {
    paging(guest)
        .read_linear(&guest.machine.memory, linear, access(guest, AccessKind::Read), buffer)
        .map_err(exception)
}

/// Writes memory.
pub fn write(guest: &Guest<'_>, linear: u64, bytes: &[u8]) -> Result<(), Exception> {
    paging(guest)
        .write_linear(&guest.machine.memory, linear, access(guest, AccessKind::Write), bytes)
        .map_err(exception)
}

/// Whether `len` bytes, which are in two pages at most, could be written: whether there is RAM, too.
pub fn check_write(guest: &Guest<'_>, linear: u64, len: usize) -> Result<(), Exception> {
    let (paging, access, ram) = (paging(guest), access(guest, AccessKind::Write), &guest.machine.memory);
    let last = linear.wrapping_add(len as u64 - 1);
    for byte in [linear, last] {
        let address = paging.translate(ram, byte, access).map_err(exception)?;
        ram.read(address, &mut [0]).map_err(|unbacked| exception(unbacked.into()))?;
    }
    Ok(())
}

fn access(guest: &Guest<'_>, kind: AccessKind) -> Access {
    Access { kind, user: guest.privilege_level() == USER }
}

fn paging(guest: &Guest<'_>) -> Paging {
    Paging {
        cr0: guest.vmcs.read(field::GUEST_CR0),
        cr3: guest.vmcs.read(field::GUEST_CR3),
        cr4: guest.vmcs.read(field::GUEST_CR4),
        efer: guest.vmcs.read(field::GUEST_IA32_EFER),
        rflags: guest.vmcs.read(field::GUEST_RFLAGS),
        physical_bits: guest.machine.cpuid.physical_bits(),
    }
}

/// What the guest gets where its own tables lead nowhere: what a processor gives for them, or #GP(0) where that would
/// be a machine check.
fn exception(fault: WalkFault) -> Exception {
    match fault {
        WalkFault::Page(fault) => {
            Exception::PageFault { address: fault.address, error_code: fault.error_code }
        }
        WalkFault::NonCanonical(_) | WalkFault::Unbacked(_) | WalkFault::Changing(_) => {
            Exception::GeneralProtection
        }
    }
}
