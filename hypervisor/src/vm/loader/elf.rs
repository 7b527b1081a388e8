// SPDX-License-Identifier: MIT OR Apache-2.0
//! A kernel in an ELF file, of 32 or 64 bits: which parts of the file go where in physical memory.

use super::Reason;
use super::image::Image;
use super::image::Segment;
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

type Elf<'a> = ElfBytes<'a, LittleEndian>;

/// `XEN_ELFNOTE_PHYS32_ENTRY`: the type of the note whose content is the entry's physical address.
const PHYS32_ENTRY: u64 = 18;

/// The name of Xen's notes, NUL included.
const XEN: &[u8] = b"Xen\0";

/// More program headers than this are refused, which bounds all work that is done for them.
const MOST_HEADERS: usize = 64;

/// Whether this is an ELF file, to go by its first bytes.
pub(super) fn is_elf(content: &[u8]) -> bool {
    content.starts_with(&ELFMAGIC)
}

/// An ELF file with sound headers.
pub(super) struct ElfFile<'a> {
    elf: Elf<'a>,
    headers: Vec<ProgramHeader>,
}

impl<'a> ElfFile<'a> {
    pub(super) fn parse(content: &'a [u8]) -> Result<Self, Reason> {
        let elf = Elf::minimal_parse(content)?;
        if ![EM_X86_64, EM_386].contains(&elf.ehdr.e_machine) {
            return Err(Reason::Machine(elf.ehdr.e_machine));
        }
        let headers = elf.segments().map(|table| table.len()).unwrap_or(0);
        if headers > MOST_HEADERS {
            return Err(Reason::ManySegments(headers));
        }
        let headers = elf.segments().into_iter().flatten().collect();
        Ok(Self { elf, headers })
    }

    /// The physical address at which the kernel's PVH note has it entered, if it has such a note.
    pub(super) fn pvh_entry(&self) -> Result<Option<u32>, Reason> {
        for header in self.headers.iter().filter(|header| header.p_type == PT_NOTE) {
            for note in self.elf.segment_data_as_notes(header)? {
                let Note::Unknown(note) = note else { continue };
                if note.n_type == PHYS32_ENTRY && note.name == XEN {
                    return address(note.desc).map(Some).ok_or(Reason::BadPvhNote(note.desc.len()));
                }
            }
        }
        Ok(None)
    }

    /// The physical address of the file's own entry, which is a virtual one where the kernel's addresses differ.
    pub(super) fn own_entry(&self) -> Result<u32, Reason> {
        let entry = self.elf.ehdr.e_entry;
        let physical = self.loaded().find_map(|header| {
            let offset = entry.checked_sub(header.p_vaddr)?;
            if offset < header.p_memsz { header.p_paddr.checked_add(offset) } else { None }
        });
        let physical = physical.unwrap_or(entry);
        u32::try_from(physical).map_err(|_| Reason::EntryOutside(physical))
    }

    /// What of the file goes to memory; the kernel is entered at `entry`, which must be in it.
    pub(super) fn image(&self, entry: u32) -> Result<Image<'a>, Reason> {
        let segments = self.loaded().map(|header| self.segment(header)).collect::<Result<Vec<_>, _>>()?;
        Image::new(entry, segments)
    }

    fn loaded(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.headers.iter().filter(|header| header.p_type == PT_LOAD && header.p_memsz > 0)
    }

    fn segment(&self, header: &ProgramHeader) -> Result<Segment<'a>, Reason> {
        if header.p_filesz > header.p_memsz {
            return Err(Reason::SegmentSize { file: header.p_filesz, memory: header.p_memsz });
        }
        let content = self.elf.segment_data(header)?;
        Ok(Segment { address: header.p_paddr, content, bytes: header.p_memsz })
    }
}

/// The note's content is as wide as the kernel's words, but the entry is 32-bit code.
fn address(content: &[u8]) -> Option<u32> {
    if let Ok(bytes) = content.try_into() {
        return Some(u32::from_le_bytes(bytes));
    }
    u32::try_from(u64::from_le_bytes(content.try_into().ok()?)).ok()
}
