// SPDX-License-Identifier: MIT OR Apache-2.0
//! Puts a kernel into a guest's memory, by the boot protocol that the kernel itself asks for.
//!
//! The protocol is chosen by content, the first that fits:
//! 1. an ELF file with the PVH note is entered as Xen's PVH interface says, even if it has a multiboot header, too;
//! 2. a bzImage by the 64-bit boot protocol of Linux;
//! 3. what has a multiboot header in its first 8192 bytes by multiboot 1, be it an ELF file or not.
//!
//! All that a kernel's headers say is hostile.

mod boot_params;
mod bzimage;
mod elf;
mod error;
mod image;
mod long_mode;
mod modules;
mod multiboot;
mod multiboot_information;
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
use alloc::string::String;
use alloc::vec::Vec;
use modules::PlacedModule;
use modules::PlacedModules;
use placement::Placement;

/// What is to be started, all of it from the owner's hands.
#[derive(Clone, Debug)]
pub struct BootSource<'a> {
    /// The kernel.
    pub kernel: File<'a>,
    /// The initial RAM disk. To kernels that take modules it is the first one.
    pub initrd: Option<File<'a>>,
    /// The modules, which only PVH and multiboot kernels take.
    pub modules: Vec<Module<'a>>,
    /// The kernel's command line.
    pub command_line: &'a str,
}

/// A module for the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Module<'a> {
    /// What is loaded.
    pub file: File<'a>,
    /// Its own command line.
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
    /// PVH and multiboot: protected mode without paging. CS is a flat 32-bit code segment and DS, ES, SS flat data segments, the
    /// TSS is a busy 32-bit one; CR0 has PE and no PG, CR4 is 0, RFLAGS has IF and VM clear.
    Protected32 {
        /// Where it starts.
        eip: u32,
        /// By multiboot, the mark of a multiboot loader.
        eax: u32,
        /// Address of the start info, or of the multiboot information.
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

// What the loaders themselves put into the guest's memory is below all kernels, one page each but for the last two.

/// The GDT.
const GDT: GuestPhysical = GuestPhysical(0x1000);

/// PVH's start info, Linux' boot parameters, or the multiboot information.
const BOOT_INFORMATION: GuestPhysical = GuestPhysical(0x2000);

/// The command line, which ends with a NUL.
const COMMAND_LINE: GuestPhysical = GuestPhysical(0x3000);

/// The page tables of the 64-bit entry.
const PAGE_TABLES: GuestPhysical = GuestPhysical(0x4000);

/// The modules' strings, each of which ends with a NUL.
const MODULE_STRINGS: GuestPhysical = GuestPhysical(0xA000);

/// Room for the modules' strings.
const MODULE_STRINGS_BYTES: usize = 0x4000;

/// The most modules that a kernel can be given, the initrd among them; their list fits in a page with the rest.
pub const MOST_MODULES: usize = 64;

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
    let words = kernel.words_of(source.kernel.name, source.command_line);
    let command_line = terminated(words, kernel.longest_command_line()).map_err(blame_kernel)?;
    let modules = PlacedModules::place(source, &kernel, &mut placement)?;

    let handover = Handover { layout, rsdp, modules: &modules.list, command_line: &command_line };
    modules.write(memory).map_err(|unbacked| blame_kernel(unbacked.into()))?;
    kernel.write(memory, &handover).map_err(blame_kernel)
}

/// What a kernel is told at its entry.
struct Handover<'a> {
    layout: MemoryLayout,
    rsdp: GuestPhysical,
    /// The initrd first, if there is one.
    modules: &'a [PlacedModule<'a>],
    /// It ends with a NUL.
    command_line: &'a [u8],
}

/// A kernel whose headers are sound.
enum Kernel<'a> {
    Pvh(image::Image<'a>),
    Multiboot(image::Image<'a>),
    BzImage(bzimage::BzImage<'a>),
}

impl<'a> Kernel<'a> {
    fn parse(content: &'a [u8]) -> Result<Self, Reason> {
        if elf::is_elf(content) {
            let file = elf::ElfFile::parse(content)?;
            if let Some(entry) = file.pvh_entry()? {
                return file.image(entry).map(Self::Pvh);
            }
        } else if bzimage::is_bzimage(content) {
            return bzimage::BzImage::parse(content).map(Self::BzImage);
        }
        let none = if elf::is_elf(content) { Reason::NoEntry } else { Reason::UnknownFormat };
        multiboot::Header::find(content).ok_or(none)?.image(content).map(Self::Multiboot)
    }

    fn is_linux(&self) -> bool {
        matches!(self, Self::BzImage(_))
    }

    /// Claims the RAM that the kernel needs.
    fn place(&self, placement: &mut Placement) -> Result<(), Reason> {
        match self {
            Self::Pvh(image) | Self::Multiboot(image) => image.place(placement),
            Self::BzImage(kernel) => kernel.place(placement),
        }
    }

    /// In bytes, without the NUL.
    fn longest_command_line(&self) -> usize {
        match self {
            Self::Pvh(_) | Self::Multiboot(_) => LONGEST_COMMAND_LINE,
            Self::BzImage(kernel) => kernel.longest_command_line(),
        }
    }

    /// The string that goes with a file: by multiboot its name comes first, as from QEMU and GRUB Legacy; kernels take the
    /// first word for a program's name.
    fn words_of(&self, name: &str, command_line: &str) -> String {
        match self {
            Self::Multiboot(_) if command_line.is_empty() => name.to_owned(),
            Self::Multiboot(_) => alloc::format!("{name} {command_line}"),
            Self::Pvh(_) | Self::BzImage(_) => command_line.to_owned(),
        }
    }

    /// Finds a place for a module. Linux wants its initrd high, out of the way of what it unpacks itself to. Small kernels may
    /// have mapped no more than what is close to them.
    fn place_module(&self, placement: &mut Placement, bytes: u64) -> Result<u32, Reason> {
        const BY: &str = "a module";
        match self {
            Self::Pvh(_) => placement.claim_highest(BY, bytes, u64::MAX),
            Self::BzImage(kernel) => placement.claim_highest(BY, bytes, kernel.initrd_limit()),
            Self::Multiboot(_) => placement.claim_behind(BY, bytes),
        }
    }

    fn write(&self, memory: &impl GuestMemory, handover: &Handover<'_>) -> Result<EntryState, Reason> {
        memory.write(COMMAND_LINE, handover.command_line)?;
        match self {
            Self::Pvh(image) => pvh::write(image, memory, handover),
            Self::Multiboot(image) => multiboot::write(image, memory, handover),
            Self::BzImage(kernel) => kernel.write(memory, handover),
        }
    }
}

/// The command line as a kernel gets it, which is as a string that ends with a NUL.
fn terminated(command_line: String, longest: usize) -> Result<Vec<u8>, Reason> {
    if command_line.len() > longest {
        return Err(Reason::LongCommandLine { bytes: command_line.len(), longest });
    }
    if command_line.contains('\0') {
        return Err(Reason::NulInCommandLine);
    }
    let mut bytes = command_line.into_bytes();
    bytes.push(0);
    Ok(bytes)
}

#[cfg(test)]
mod tests;
