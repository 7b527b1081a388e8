// SPDX-License-Identifier: MIT OR Apache-2.0
//! Another kernel in this program's place, by the PVH boot protocol: where its file says that its parts go, what it is told, and
//! the jump to it.
//!
//! Layout of what it is told: Xen's public header `arch-x86/hvm/start_info.h`, version 1.

// UNSAFETY: the jump is assembly.
#![cfg_attr(target_os = "none", expect(unsafe_code))]

use crate::physical;
use crate::start_info::MAGIC;
use crate::start_info::Region;
use crate::verdict::expect;
use crate::verdict::fail;
use core::fmt;
use core::ops::Range;
use elf::ElfBytes;
use elf::abi::PT_LOAD;
use elf::abi::PT_NOTE;
use elf::endian::LittleEndian;
use elf::note::Note;
use elf::segment::ProgramHeader;

/// `XEN_ELFNOTE_PHYS32_ENTRY`.
const PHYS32_ENTRY: u64 = 18;

/// Bytes of all that a kernel is told.
pub const START_INFO_BYTES: u64 = 8192;

// Where its parts are in that.
const MODULE: u64 = 64;
const MEMORY_MAP: u64 = 128;
const COMMAND_LINE: u64 = 4096;

/// Memory regions that fit.
const MOST_REGIONS: u64 = (COMMAND_LINE - MEMORY_MAP) / REGION;
const REGION: u64 = 24;

type Elf<'a> = ElfBytes<'a, LittleEndian>;

/// The file of a kernel, somewhere in memory.
#[derive(Clone, Debug)]
pub struct File(pub Range<u64>);

impl File {
    /// What the kernel takes when it is loaded.
    #[must_use]
    pub fn footprint(&self) -> Range<u64> {
        self.look(|elf| {
            let start = loaded(elf).map(|segment| segment.p_paddr).min();
            let end = loaded(elf).map(|segment| segment.p_paddr.saturating_add(segment.p_memsz)).max();
            start.unwrap_or_default()..end.unwrap_or_default()
        })
    }

    /// Puts all parts of the kernel where they belong, none of which may be where the file itself is.
    pub fn load(&self) {
        self.look(|elf| {
            for segment in loaded(elf) {
                let ProgramHeader { p_offset, p_paddr, p_filesz, p_memsz, .. } = segment;
                let in_file = self.0.end - self.0.start;
                let whole = p_offset.checked_add(p_filesz).is_some_and(|end| end <= in_file);
                expect("a part of the kernel is in its file", whole && p_filesz <= p_memsz);
                physical::copy(self.0.start + p_offset, p_paddr, p_filesz);
                physical::clear(p_paddr + p_filesz, p_memsz - p_filesz);
            }
        });
    }

    /// Where the kernel is entered.
    #[must_use]
    pub fn entry(&self) -> u32 {
        self.look(|elf| {
            let notes = elf.segments().into_iter().flatten().filter(|segment| segment.p_type == PT_NOTE);
            let entry =
                notes.flat_map(|segment| elf.segment_data_as_notes(&segment)).flatten().find_map(|note| {
                    let Note::Unknown(note) = note else { return None };
                    let found = note.n_type == PHYS32_ENTRY && note.name == b"Xen\0";
                    found.then(|| note.desc.first_chunk().copied().map(u32::from_le_bytes)).flatten()
                });
            entry.unwrap_or_else(|| fail("the kernel has no note that says where PVH enters it"))
        })
    }

    fn look<R>(&self, look: impl FnOnce(&Elf<'_>) -> R) -> R {
        physical::with_bytes(&self.0, |bytes| match Elf::minimal_parse(bytes) {
            Ok(elf) => look(&elf),
            Err(error) => fail(format_args!("the kernel is no ELF file: {error}")),
        })
    }
}

fn loaded<'a>(elf: &Elf<'a>) -> impl Iterator<Item = ProgramHeader> + 'a {
    elf.segments().into_iter().flatten().filter(|segment| segment.p_type == PT_LOAD)
}

/// What a kernel is told, at its place in memory.
#[derive(Clone, Copy, Debug)]
pub struct StartInfo {
    at: u64,
    /// Where the next byte of the command line goes.
    words_end: u64,
}

impl StartInfo {
    /// Of [`START_INFO_BYTES`] at a page border: a module, the RSDP's address, and a memory map.
    #[must_use]
    pub fn new(at: u64, module: &Range<u64>, rsdp: u64, map: impl Iterator<Item = Region>) -> Self {
        physical::clear(at, START_INFO_BYTES);
        let mut regions = 0;
        for region in map {
            expect("the memory map has room", regions < MOST_REGIONS);
            let entry = at + MEMORY_MAP + REGION * regions;
            physical::write(entry, region.range.start);
            physical::write(entry + 8, region.range.end - region.range.start);
            physical::write(entry + 16, region.kind);
            regions += 1;
        }
        physical::write(at + MODULE, module.start);
        physical::write(at + MODULE + 8, module.end - module.start);
        physical::write(at, MAGIC);
        let version_1 = 1_u32;
        physical::write(at + 4, version_1);
        let modules = 1_u32;
        physical::write(at + 12, modules);
        physical::write(at + 16, at + MODULE);
        physical::write(at + 24, at + COMMAND_LINE);
        physical::write(at + 32, rsdp);
        physical::write(at + 40, at + MEMORY_MAP);
        physical::write(at + 48, regions as u32);
        Self { at, words_end: at + COMMAND_LINE }
    }

    /// Adds a byte to the command line.
    pub fn add(&mut self, byte: u8) {
        // The last one stays 0.
        expect("the command line has room", self.words_end + 1 < self.at + START_INFO_BYTES);
        physical::write(self.words_end, byte);
        self.words_end += 1;
    }

    /// Leaves long mode for the state in which a kernel is entered: 32-bit protected mode without paging.
    pub fn enter(self, entry: u32) -> ! {
        #[cfg(target_os = "none")]
        // SAFETY: nothing of this program is needed any more.
        unsafe {
            leave(entry, self.at as u32)
        }
        #[cfg(not(target_os = "none"))]
        unreachable!("{entry:#x} is no kernel of this system")
    }
}

impl fmt::Write for StartInfo {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.add(byte));
        Ok(())
    }
}

#[cfg(target_os = "none")]
unsafe extern "C" {
    fn leave(entry: u32, start_info: u32) -> !;
}

// The selectors are those of the runtime's GDT, which the kernel replaces by its own.
#[cfg(target_os = "none")]
core::arch::global_asm!(
    r#"
    .global leave
leave:
    cli
    mov ebx, esi
    push 0x18
    lea rax, [rip + 1f]
    push rax
    retfq
    .code32
1:  mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    mov eax, 0x11                           # CR0: ET, PE
    mov cr0, eax
    mov ecx, 0xc0000080                     # IA32_EFER
    xor eax, eax
    xor edx, edx
    wrmsr
    mov cr4, eax
    jmp edi
    .code64
"#
);
