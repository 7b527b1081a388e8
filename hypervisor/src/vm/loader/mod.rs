// SPDX-License-Identifier: MIT OR Apache-2.0
//! Puts a kernel into a guest's memory, by the boot protocol that the kernel itself asks for.
//!
//! The protocol is chosen by content: an ELF file with the PVH note is entered as Xen's PVH interface says, a
//! bzImage by the 64-bit boot protocol of Linux. All that a kernel's headers say is hostile.

mod boot_params;
mod bzimage;
mod error;
mod long_mode;
mod placement;
mod pvh;
mod start_info;

pub use error::LoadError;
pub use error::Reason;
pub use long_mode::BOOT_CS;
pub use long_mode::BOOT_DS;

use super::memory_layout::HIGH_MEMORY;
use super::memory_layout::MemoryLayout;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use alloc::borrow::ToOwned;
use alloc::vec::Vec;
use placement::Placement;

/// What is to be started, all of it from the owner's hands.
#[derive(Clone, Copy, Debug)]
pub struct BootSource<'a> {
    /// The kernel.
    pub kernel: File<'a>,
    /// The initial RAM disk.
    pub initrd: Option<File<'a>>,
    /// The kernel's command line.
    pub command_line: &'a str,
}

/// A file, and what it is called in reports.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Its name.
    pub name: &'a str,
    /// All its bytes.
    pub content: &'a [u8],
}

/// The state in which the first vCPU enters the kernel. What is not told here is as after RESET, or free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryState {
    /// PVH: protected mode without paging. CS is a flat 32-bit code segment and DS, ES, SS flat data segments, the
    /// TSS is a busy 32-bit one; CR0 has PE and no PG, CR4 is 0, RFLAGS has IF and VM clear.
    Protected32 {
        /// Where it starts.
        eip: u32,
        /// Address of the start info.
        ebx: u32,
    },
    /// Linux: 64-bit mode with paging. CS is [`BOOT_CS`], and DS, ES, SS are [`BOOT_DS`]; RFLAGS has IF clear.
    Long64 {
        /// Where it starts.
        rip: u64,
        /// Address of the boot parameters.
        rsi: u64,
        /// The page tables; they map the first 4 GiB to themselves.
        cr3: GuestPhysical,
        /// The GDT that holds the two segments.
        gdt_base: GuestPhysical,
        /// Its size in bytes, less 1.
        gdt_limit: u16,
    },
}

// What the loaders themselves put into the guest's memory is below all kernels, one page each but for the last.

/// The GDT.
const GDT: GuestPhysical = GuestPhysical(0x1000);

/// PVH's start info, or Linux' boot parameters.
const BOOT_INFORMATION: GuestPhysical = GuestPhysical(0x2000);

/// The command line, which ends with a NUL.
const COMMAND_LINE: GuestPhysical = GuestPhysical(0x3000);

/// The page tables of the 64-bit entry.
const PAGE_TABLES: GuestPhysical = GuestPhysical(0x4000);

/// The longest command line that fits in its page, in bytes without the NUL.
const LONGEST_COMMAND_LINE: usize = 4095;

/// Loads `source` into the RAM that `layout` describes and tells how to enter it. `rsdp` is where the ACPI tables
/// start. After an error, what the memory holds is undefined.
pub fn load(
    memory: &impl GuestMemory,
    layout: MemoryLayout,
    rsdp: GuestPhysical,
    source: &BootSource<'_>,
) -> Result<EntryState, LoadError> {
    let blame_kernel = |reason| LoadError { file: source.kernel.name.to_owned(), reason };
    let kernel = Kernel::parse(source.kernel.content).map_err(blame_kernel)?;

    let mut placement = Placement::new(HIGH_MEMORY..layout.low_ram_end());
    kernel.place(&mut placement).map_err(blame_kernel)?;
    let command_line =
        terminated(source.command_line, kernel.longest_command_line()).map_err(blame_kernel)?;
    let initrd = source.initrd.map(|file| {
        place_initrd(&mut placement, file.content, &kernel)
            .map_err(|reason| LoadError { file: file.name.to_owned(), reason })
    });

    let handover = Handover { layout, rsdp, initrd: initrd.transpose()?, command_line: &command_line };
    kernel.write(memory, &handover).map_err(blame_kernel)
}

/// What a kernel is told at its entry.
struct Handover<'a> {
    layout: MemoryLayout,
    rsdp: GuestPhysical,
    initrd: Option<PlacedFile<'a>>,
    /// It ends with a NUL.
    command_line: &'a [u8],
}

/// A file, and the place that was found for it.
#[derive(Clone, Copy)]
struct PlacedFile<'a> {
    /// It and the length are below 4 GiB.
    address: u32,
    content: &'a [u8],
}

/// A kernel whose headers are sound.
enum Kernel<'a> {
    Pvh(pvh::PvhKernel<'a>),
    BzImage(bzimage::BzImage<'a>),
}

impl<'a> Kernel<'a> {
    fn parse(content: &'a [u8]) -> Result<Self, Reason> {
        if pvh::is_elf(content) {
            return pvh::PvhKernel::parse(content).map(Self::Pvh);
        }
        if bzimage::is_bzimage(content) {
            return bzimage::BzImage::parse(content).map(Self::BzImage);
        }
        Err(Reason::UnknownFormat)
    }

    /// Claims the RAM that the kernel needs.
    fn place(&self, placement: &mut Placement) -> Result<(), Reason> {
        match self {
            Self::Pvh(kernel) => kernel.place(placement),
            Self::BzImage(kernel) => kernel.place(placement),
        }
    }

    /// In bytes, without the NUL.
    fn longest_command_line(&self) -> usize {
        match self {
            Self::Pvh(_) => LONGEST_COMMAND_LINE,
            Self::BzImage(kernel) => kernel.longest_command_line(),
        }
    }

    /// The last address that a byte of the initrd may have.
    fn initrd_limit(&self) -> u64 {
        match self {
            Self::Pvh(_) => u64::MAX,
            Self::BzImage(kernel) => kernel.initrd_limit(),
        }
    }

    fn write(&self, memory: &impl GuestMemory, handover: &Handover<'_>) -> Result<EntryState, Reason> {
        memory.write(COMMAND_LINE, handover.command_line)?;
        if let Some(initrd) = handover.initrd {
            memory.write(GuestPhysical(initrd.address.into()), initrd.content)?;
        }
        match self {
            Self::Pvh(kernel) => kernel.write(memory, handover),
            Self::BzImage(kernel) => kernel.write(memory, handover),
        }
    }
}

/// As high as the kernel can reach it, so that it is out of the way of what the kernel unpacks itself to.
fn place_initrd<'a>(
    placement: &mut Placement,
    content: &'a [u8],
    kernel: &Kernel<'_>,
) -> Result<PlacedFile<'a>, Reason> {
    if content.is_empty() {
        return Err(Reason::EmptyInitrd);
    }
    let address = placement.claim_highest("the initrd", content.len() as u64, kernel.initrd_limit())?;
    Ok(PlacedFile { address, content })
}

/// The command line as a kernel gets it, which is as a string that ends with a NUL.
fn terminated(command_line: &str, longest: usize) -> Result<Vec<u8>, Reason> {
    if command_line.len() > longest {
        return Err(Reason::LongCommandLine { bytes: command_line.len(), longest });
    }
    if command_line.contains('\0') {
        return Err(Reason::NulInCommandLine);
    }
    let mut bytes = command_line.as_bytes().to_owned();
    bytes.push(0);
    Ok(bytes)
}

#[cfg(test)]
mod tests;
