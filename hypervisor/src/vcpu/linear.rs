// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest-linear memory, as an instruction of the guest would reach it.

use crate::memory::FRAME;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
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

/// Memory that an instruction will write to: checked, so that nothing is raised any more once a device has been touched.
#[derive(Clone, Copy, Debug)]
pub struct Destination {
    first: GuestPhysical,
    /// Where the next page begins, if a part lies there.
    second: GuestPhysical,
    /// Bytes in the first page.
    in_first: usize,
}

/// Checks that `len` bytes, which are in two pages at most, can be written: that there is memory, too.
pub fn destination(guest: &Guest<'_>, linear: u64, len: usize) -> Result<Destination, Exception> {
    let (paging, access, memory) = (paging(guest), access(guest, AccessKind::Write), &guest.machine.memory);
    let in_first = len.min((FRAME - linear % FRAME) as usize);
    let translate = |linear| {
        let address = paging.translate(memory, linear, access)?;
        memory.read(address, &mut [0])?;
        Ok(address)
    };
    let first = translate(linear).map_err(exception)?;
    let mut second = first;
    if in_first < len {
        second = translate(linear.wrapping_add(in_first as u64)).map_err(exception)?;
    }
    Ok(Destination { first, second, in_first })
}

impl Destination {
    /// Writes as many bytes as were asked for. Read-only memory forgets them, as it does when the processor writes to it; and so
    /// does what has been taken away meanwhile.
    pub fn write(self, guest: &Guest<'_>, bytes: &[u8]) {
        let (here, there) = bytes.split_at(self.in_first);
        for (address, bytes) in [(self.first, here), (self.second, there)] {
            let _ = guest.machine.memory.write(address, bytes);
        }
    }
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
