// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the vCPUs of a machine share of Hyper-V's interface: registers, and the pages that these lay over the guest's memory.

use crate::cpu::number::current;
use crate::memory::OutOfFrames;
use crate::memory::with_heap;
use crate::mmu::space::GuestSpace;
use crate::mmu::space::OverlayPage;
use alloc::boxed::Box;
use enlightenments::offer;
use enlightenments::offer::Offering;
use enlightenments::offer::registers;
use enlightenments::offer::registers::Refused;
use enlightenments::offer::registers::VirtualProcessor;
use spin::Mutex;

/// A machine whose guest sees the interface.
#[derive(Debug)]
pub struct Partition {
    /// Locked while a page is placed, too: who waits for it is out of its guest, as is who has it.
    registers: Mutex<registers::Partition>,
    hypercall_page: OverlayPage,
    /// One for each vCPU.
    assist_pages: Box<[OverlayPage]>,
}

impl Partition {
    /// After RESET, for so many vCPUs.
    pub fn new(offering: Offering, vcpus: u32) -> Result<Self, OutOfFrames> {
        Ok(Self {
            registers: Mutex::new(registers::Partition::new(offering)),
            hypercall_page: OverlayPage::read_only(&offer::hypercall_page())?,
            assist_pages: (0..vcpus).map(|_| OverlayPage::writable()).collect::<Result<_, _>>()?,
        })
    }

    /// Whether the guest has said who it is; before that it makes no hypercalls.
    #[must_use]
    pub fn is_identified(&self) -> bool {
        self.registers.lock().is_identified()
    }

    /// RDMSR by the vCPU whose own registers are `own`.
    pub fn read(&self, own: &VirtualProcessor, register: u32) -> Result<u64, Refused> {
        if VirtualProcessor::has(register) {
            own.read(register)
        } else {
            self.registers.lock().read(register)
        }
    }

    /// WRMSR by the vCPU of that index. It may wait until other CPUs have left their guests.
    pub fn write(
        &self,
        memory: &GuestSpace,
        vcpu: usize,
        own: &mut VirtualProcessor,
        register: u32,
        value: u64,
    ) -> Result<(), Refused> {
        if VirtualProcessor::has(register) {
            let after = own.write(register, value)?;
            place(memory, &self.assist_pages[vcpu], own.assist_page(), after.assist_page())?;
            *own = after;
        } else {
            let mut registers = self.registers.lock();
            let after = registers.write(register, value)?;
            place(memory, &self.hypercall_page, registers.hypercall_page(), after.hypercall_page())?;
            *registers = after;
        }
        Ok(())
    }
}

/// Has a page that lies over the guest frame `before` lie over `after`. Where it cannot, the register is as if there were no such
/// address.
fn place(
    memory: &GuestSpace,
    page: &OverlayPage,
    before: Option<u64>,
    after: Option<u64>,
) -> Result<(), Refused> {
    if before == after {
        return Ok(());
    }
    // Slots are written down anew. A guest does this when it starts, and a page at a time.
    with_heap(|| memory.overlay(current(), page, after)).map_err(|_| Refused)
}

#[cfg(test)]
mod tests;
