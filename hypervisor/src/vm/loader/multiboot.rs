// SPDX-License-Identifier: MIT OR Apache-2.0
//! A kernel with a multiboot header (Multiboot Specification, version 0.6.96): an ELF file, or anything whose header
//! says itself what goes where.

use super::BOOT_INFORMATION;
use super::EntryState;
use super::Handover;
use super::Reason;
use super::elf::ElfFile;
use super::elf::is_elf;
use super::image::Image;
use super::image::Segment;
use super::multiboot_information::InformationPage;
use crate::little_endian::u32_at;
use crate::mmu::GuestMemory;
use alloc::vec;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;
use zerocopy::byteorder::little_endian::U32;

/// The header ends within so many bytes of the file, and starts at a multiple of four.
const SEARCHED: usize = 8192;

/// `magic` of the header.
const HEADER_MAGIC: u32 = 0x1BAD_B002;

/// What EAX holds at the entry.
const LOADER_MAGIC: u32 = 0x2BAD_B002;

/// Flags that a loader must know, or refuse the kernel.
const REQUIREMENTS: u32 = 0xFFFF;

/// Those that we know. Modules are at page borders and the memory is told whether or not a kernel asks for it. A wish for a
/// video mode cannot be met by a machine without video; a kernel is told so, as other loaders do, and goes on.
const KNOWN: u32 = PAGE_ALIGN | MEMORY_INFORMATION | VIDEO_MODE;
const PAGE_ALIGN: u32 = 1 << 0;
const MEMORY_INFORMATION: u32 = 1 << 1;
const VIDEO_MODE: u32 = 1 << 2;

/// The header has addresses, which count, whatever else the file may be.
const ADDRESSES: u32 = 1 << 16;

/// A multiboot header that was found.
#[derive(Clone, Copy)]
pub(super) struct Header {
    /// Where it is in the file.
    offset: usize,
    flags: u32,
}

/// What follows magic, flags and checksum where [`ADDRESSES`] is set; all of it physical addresses.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Addresses {
    /// Where the header itself will be.
    header: U32,
    load: U32,
    /// 0: the rest of the file is loaded.
    load_end: U32,
    /// 0: nothing is cleared behind what is loaded.
    bss_end: U32,
    entry: U32,
}

impl Header {
    /// The first header in `content`, if it has one.
    pub(super) fn find(content: &[u8]) -> Option<Self> {
        let searched = &content[..content.len().min(SEARCHED)];
        (0..searched.len()).step_by(4).find_map(|offset| {
            let field = |at| u32_at(searched, offset + at);
            let (magic, flags, checksum) = (field(0)?, field(4)?, field(8)?);
            let sum = magic.wrapping_add(flags).wrapping_add(checksum);
            (magic == HEADER_MAGIC && sum == 0).then_some(Self { offset, flags })
        })
    }

    /// The kernel `content`, which has this header.
    pub(super) fn image<'a>(&self, content: &'a [u8]) -> Result<Image<'a>, Reason> {
        let unknown = self.flags & REQUIREMENTS & !KNOWN;
        if unknown != 0 {
            return Err(Reason::MultibootFlags(unknown));
        }
        if self.flags & ADDRESSES != 0 {
            return self.image_by_addresses(content);
        }
        if is_elf(content) {
            let file = ElfFile::parse(content)?;
            return file.image(file.own_entry()?);
        }
        Err(Reason::NoAddresses)
    }

    fn image_by_addresses<'a>(&self, content: &'a [u8]) -> Result<Image<'a>, Reason> {
        let truncated = Reason::Truncated(content.len());
        let behind_flags = content.get(self.offset + 12..).ok_or(truncated.clone())?;
        let (addresses, _) = Addresses::read_from_prefix(behind_flags).map_err(|_| truncated.clone())?;
        let Addresses { header, load, load_end, bss_end, entry } = addresses;
        let (load, load_end, bss_end) = (load.get(), load_end.get(), bss_end.get());
        let contradiction = Reason::MultibootAddresses { header: header.get(), load, load_end, bss_end };

        let before_header = header.get().checked_sub(load).ok_or(contradiction.clone())? as usize;
        let start = self.offset.checked_sub(before_header).ok_or(contradiction.clone())?;
        let mut loaded = &content[start..];
        if load_end != 0 {
            let bytes = load_end.checked_sub(load).ok_or(contradiction.clone())?;
            loaded = loaded.get(..bytes as usize).ok_or(truncated)?;
        }
        let mut bytes = loaded.len() as u64;
        if bss_end != 0 {
            bytes =
                bss_end.checked_sub(load).map(u64::from).filter(|&to| to >= bytes).ok_or(contradiction)?;
        }
        let segment = Segment { address: load.into(), content: loaded, bytes };
        Image::new(entry.get(), vec![segment])
    }
}

/// Writes the kernel and what it is told.
pub(super) fn write(
    image: &Image<'_>,
    memory: &impl GuestMemory,
    handover: &Handover<'_>,
) -> Result<EntryState, Reason> {
    image.write(memory)?;
    memory.write(BOOT_INFORMATION, InformationPage::new(handover).as_bytes())?;
    Ok(EntryState::Protected32 { eip: image.entry, eax: LOADER_MAGIC, ebx: BOOT_INFORMATION.0 as u32 })
}
