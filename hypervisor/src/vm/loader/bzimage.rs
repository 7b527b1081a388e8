// SPDX-License-Identifier: MIT OR Apache-2.0
//! A bzImage, entered by Linux' 64-bit boot protocol (Linux: Documentation/arch/x86/boot.rst).

use super::BOOT_INFORMATION;
use super::COMMAND_LINE;
use super::EntryState;
use super::GDT;
use super::Handover;
use super::LONGEST_COMMAND_LINE;
use super::PAGE_TABLES;
use super::Reason;
use super::boot_params::BOOT_FLAG;
use super::boot_params::BootParams;
use super::boot_params::HEADER;
use super::boot_params::SetupHeader;
use super::boot_params::UNKNOWN_LOADER;
use super::boot_params::XLF_KERNEL_64;
use super::long_mode;
use super::placement::Placement;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::vm::memory_layout::HIGH_MEMORY;
use alloc::boxed::Box;
use zerocopy::IntoBytes;

/// The first protocol that tells by `xloadflags` whether there is a 64-bit entry.
const FIRST_PROTOCOL: u16 = 0x020C;

/// Distance of the 64-bit entry from where the protected-mode code is loaded.
const ENTRY: usize = 0x200;

/// Whether this is a bzImage, to go by the two marks that each has.
pub(super) fn is_bzimage(content: &[u8]) -> bool {
    SetupHeader::read(content).is_some_and(|h| h.boot_flag.get() == BOOT_FLAG && h.header == HEADER)
}

/// A bzImage with a sound setup header.
pub(super) struct BzImage<'a> {
    header: SetupHeader,
    /// The protected-mode code, and what was appended to it (a signature, for example).
    code: &'a [u8],
    /// Where it is to be loaded.
    address: u64,
}

impl<'a> BzImage<'a> {
    pub(super) fn parse(content: &'a [u8]) -> Result<Self, Reason> {
        let truncated = Reason::Truncated(content.len());
        let header = SetupHeader::read(content).ok_or(truncated.clone())?;
        if header.version.get() < FIRST_PROTOCOL {
            return Err(Reason::OldProtocol(header.version.get()));
        }
        if header.xloadflags.get() & XLF_KERNEL_64 == 0 {
            return Err(Reason::No64BitEntry);
        }
        let code = content.get(header.real_mode_bytes()..).ok_or(truncated.clone())?;
        if code.len() <= ENTRY || (code.len() as u64) < header.protected_mode_bytes() {
            return Err(truncated);
        }
        if code.len() as u64 > u64::from(header.init_size.get()) {
            return Err(Reason::InitSize { holds: code.len(), init_size: header.init_size.get() });
        }
        let address = load_address(&header)?;
        Ok(Self { header, code, address })
    }

    pub(super) fn place(&self, placement: &mut Placement) -> Result<(), Reason> {
        placement.claim("the kernel", self.address, self.header.init_size.get().into())
    }

    pub(super) fn longest_command_line(&self) -> usize {
        LONGEST_COMMAND_LINE.min(self.header.cmdline_size.get() as usize)
    }

    pub(super) fn initrd_limit(&self) -> u64 {
        self.header.initrd_addr_max.get().into()
    }

    pub(super) fn write(
        &self,
        memory: &impl GuestMemory,
        handover: &Handover<'_>,
    ) -> Result<EntryState, Reason> {
        memory.write(GuestPhysical(self.address), self.code)?;
        memory.write(BOOT_INFORMATION, self.boot_params(handover).as_bytes())?;
        long_mode::write(memory)?;
        Ok(EntryState::Long64 {
            rip: self.address + ENTRY as u64,
            rsi: BOOT_INFORMATION.0,
            cr3: PAGE_TABLES,
            gdt_base: GDT,
            gdt_limit: long_mode::GDT_LIMIT,
        })
    }

    fn boot_params(&self, handover: &Handover<'_>) -> Box<BootParams> {
        let mut params = Box::<BootParams>::default();
        params.hdr = self.header.clone();
        params.hdr.type_of_loader = UNKNOWN_LOADER;
        params.hdr.cmd_line_ptr = (COMMAND_LINE.0 as u32).into();
        if let [initrd] = handover.modules {
            params.hdr.ramdisk_image = initrd.address.into();
            params.hdr.ramdisk_size = (initrd.content.len() as u32).into();
        }
        params.acpi_rsdp_addr = handover.rsdp.0.into();
        params.set_map(&handover.layout.map());
        params
    }
}

/// The address at which the kernel will run, for it would move itself there from any other.
fn load_address(header: &SetupHeader) -> Result<u64, Reason> {
    let preferred = header.pref_address.get();
    if header.relocatable_kernel == 0 {
        return Ok(preferred);
    }
    let alignment = header.kernel_alignment.get();
    if !alignment.is_power_of_two() {
        return Err(Reason::Alignment(alignment));
    }
    // What overflows here is outside of all RAM, and so is this.
    Ok(preferred.max(HIGH_MEMORY).checked_next_multiple_of(alignment.into()).unwrap_or(u64::MAX))
}
