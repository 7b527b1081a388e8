// SPDX-License-Identifier: MIT OR Apache-2.0
//! An ELF kernel that is entered by PVH: in 32-bit protected mode, where its Xen note says.

use super::BOOT_INFORMATION;
use super::EntryState;
use super::Handover;
use super::Reason;
use super::placement::Placement;
use super::start_info::StartInfoPage;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::mmu::Unbacked;
use alloc::vec;
use alloc::vec::Vec;
use elf::ElfBytes;
use elf::abi::ELFMAGIC;
use elf::abi::EM_386;
use elf::abi::EM_X86_64;
use elf::abi::PT_LOAD;
use elf::abi::PT_NOTE;
use elf::endian::LittleEndian;
use elf::note::Note;
use elf::segment::ProgramHeader;
use zerocopy::IntoBytes;

type Elf<'a> = ElfBytes<'a, LittleEndian>;

/// `XEN_ELFNOTE_PHYS32_ENTRY`: the type of the note whose content is the entry's physical address.
const PHYS32_ENTRY: u64 = 18;

/// The name of Xen's notes, NUL included.
const XEN: &[u8] = b"Xen\0";

/// More program headers than this are refused, which bounds all work that is done for them.
const MOST_HEADERS: usize = 64;

/// Memory beyond a segment's content is cleared in pieces of at most so many bytes.
const CLEARED_AT_ONCE: u64 = 64 << 10;

/// Whether this is an ELF file, to go by its first bytes.
pub(super) fn is_elf(content: &[u8]) -> bool {
    content.starts_with(&ELFMAGIC)
}

/// A PVH kernel with sound headers.
pub(super) struct PvhKernel<'a> {
    entry: u32,
    segments: Vec<Segment<'a>>,
}

/// A part of the kernel with a place in physical memory.
struct Segment<'a> {
    address: u64,
    content: &'a [u8],
    /// Its size in memory, at least that of its content; the rest is zero.
    bytes: u64,
}

impl<'a> PvhKernel<'a> {
    pub(super) fn parse(content: &'a [u8]) -> Result<Self, Reason> {
        let elf = Elf::minimal_parse(content)?;
        if ![EM_X86_64, EM_386].contains(&elf.ehdr.e_machine) {
            return Err(Reason::Machine(elf.ehdr.e_machine));
        }
        let headers = elf.segments().map(|table| table.len()).unwrap_or(0);
        if headers > MOST_HEADERS {
            return Err(Reason::ManySegments(headers));
        }
        let headers: Vec<_> = elf.segments().into_iter().flatten().collect();
        let entry = entry(&elf, &headers)?;
        let segments = headers
            .iter()
            .filter(|header| header.p_type == PT_LOAD && header.p_memsz > 0)
            .map(|header| Segment::parse(&elf, header))
            .collect::<Result<Vec<_>, _>>()?;
        if !segments.iter().any(|segment| segment.holds(entry)) {
            return Err(Reason::EntryOutside(entry));
        }
        Ok(Self { entry, segments })
    }

    pub(super) fn place(&self, placement: &mut Placement) -> Result<(), Reason> {
        self.segments
            .iter()
            .try_for_each(|segment| placement.claim("a segment", segment.address, segment.bytes))
    }

    pub(super) fn write(
        &self,
        memory: &impl GuestMemory,
        handover: &Handover<'_>,
    ) -> Result<EntryState, Reason> {
        for segment in &self.segments {
            segment.write(memory)?;
        }
        memory.write(BOOT_INFORMATION, StartInfoPage::new(handover).as_bytes())?;
        Ok(EntryState::Protected32 { eip: self.entry, ebx: BOOT_INFORMATION.0 as u32 })
    }
}

impl<'a> Segment<'a> {
    fn parse(elf: &Elf<'a>, header: &ProgramHeader) -> Result<Self, Reason> {
        if header.p_filesz > header.p_memsz {
            return Err(Reason::SegmentSize { file: header.p_filesz, memory: header.p_memsz });
        }
        Ok(Self { address: header.p_paddr, content: elf.segment_data(header)?, bytes: header.p_memsz })
    }

    /// Whether the byte at `address` comes from the file.
    fn holds(&self, address: u32) -> bool {
        u64::from(address).checked_sub(self.address).is_some_and(|offset| offset < self.content.len() as u64)
    }

    fn write(&self, memory: &impl GuestMemory) -> Result<(), Unbacked> {
        memory.write(GuestPhysical(self.address), self.content)?;
        let zeroes = vec![0; self.bytes.min(CLEARED_AT_ONCE) as usize];
        let mut done = self.content.len() as u64;
        while done < self.bytes {
            let now = (self.bytes - done).min(CLEARED_AT_ONCE);
            memory.write(GuestPhysical(self.address + done), &zeroes[..now as usize])?;
            done += now;
        }
        Ok(())
    }
}

/// Where the kernel's PVH note says that it is entered.
fn entry(elf: &Elf<'_>, headers: &[ProgramHeader]) -> Result<u32, Reason> {
    for header in headers.iter().filter(|header| header.p_type == PT_NOTE) {
        for note in elf.segment_data_as_notes(header)? {
            let Note::Unknown(note) = note else { continue };
            if note.n_type == PHYS32_ENTRY && note.name == XEN {
                return address(note.desc).ok_or(Reason::BadPvhNote(note.desc.len()));
            }
        }
    }
    Err(Reason::NoPvhNote)
}

/// The note's content is as wide as the kernel's words, but the entry is 32-bit code.
fn address(content: &[u8]) -> Option<u32> {
    if let Ok(bytes) = content.try_into() {
        return Some(u32::from_le_bytes(bytes));
    }
    u32::try_from(u64::from_le_bytes(content.try_into().ok()?)).ok()
}
