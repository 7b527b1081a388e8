// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest-linear addresses: translated by the guest's own tables, as its processor does (SDM Vol. 3A, "Paging").
//!
//! For the instruction that touched a device, and for the other operand of a string instruction. Pages that are
//! written are marked dirty, by an exchange that fails where the guest has changed the entry meanwhile. Entries are
//! not marked accessed: the processor has just done so for the instruction, and a lost mark on an operand only
//! makes its page look older. Protection keys and shadow stacks are not offered to guests and not looked at.

mod fault;
mod format;

use crate::architecture::cr0;
use crate::architecture::cr4;
use crate::architecture::efer;
use crate::architecture::rflags;

use super::GuestMemory;
use super::GuestPhysical;

pub use self::fault::PageFault;
pub use self::fault::WalkFault;

use self::format::Format;

/// The longest instruction in bytes (SDM Vol. 2A, "AVX Instruction Length").
pub const MAX_INSTRUCTION: usize = 15;

const PAGE: usize = 4096;

/// Walks for one write before an entry that another vCPU keeps changing is given up.
const ATTEMPTS: u32 = 64;

/// What an access is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKind {
    /// An instruction is fetched.
    Fetch,
    /// Data is read.
    Read,
    /// Data is written.
    Write,
}

/// An access, to be checked against what the tables permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// What it is for.
    pub kind: AccessKind,
    /// Whether it is made at CPL 3.
    pub user: bool,
}

/// The registers of a vCPU that say how its linear addresses are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// CR0, of which PG and WP matter.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4, of which PSE, PAE, LA57, SMEP and SMAP matter.
    pub cr4: u64,
    /// IA32_EFER, of which LMA and NXE matter.
    pub efer: u64,
    /// RFLAGS, of which AC matters.
    pub rflags: u64,
    /// The width of a guest-physical address in bits, 32 to 52.
    pub physical_bits: u8,
}

impl Paging {
    /// The guest-physical address behind `linear`. Outside of IA-32e mode only its low 32 bits count.
    pub fn translate(
        &self,
        memory: &impl GuestMemory,
        linear: u64,
        access: Access,
    ) -> Result<GuestPhysical, WalkFault> {
        let linear = if self.efer & efer::LMA != 0 { linear } else { linear & u64::from(u32::MAX) };
        if self.cr0 & cr0::PG == 0 {
            return Ok(GuestPhysical(linear));
        }
        for _ in 0..ATTEMPTS {
            let leaf = self.walk(memory, linear, access)?;
            if !self.permits(access, &leaf) {
                return Err(self.page_fault(linear, access, PageFault::PRESENT));
            }
            if access.kind != AccessKind::Write || leaf.entry.mark_dirty(memory)? {
                return Ok(leaf.address);
            }
        }
        Err(WalkFault::Changing(linear))
    }

    /// Fills `buffer`, of at most a page, from `linear` on.
    pub fn read_linear(
        &self,
        memory: &impl GuestMemory,
        linear: u64,
        access: Access,
        buffer: &mut [u8],
    ) -> Result<(), WalkFault> {
        let (here, there) = buffer.split_at_mut(bytes_in_page(linear, buffer.len()));
        memory.read(self.translate(memory, linear, access)?, here)?;
        if !there.is_empty() {
            let next_page = linear.wrapping_add(here.len() as u64);
            memory.read(self.translate(memory, next_page, access)?, there)?;
        }
        Ok(())
    }

    /// Writes `bytes`, at most a page, from `linear` on. Where the guest's tables do not permit all of it, none.
    pub fn write_linear(
        &self,
        memory: &impl GuestMemory,
        linear: u64,
        access: Access,
        bytes: &[u8],
    ) -> Result<(), WalkFault> {
        let (here, there) = bytes.split_at(bytes_in_page(linear, bytes.len()));
        let first = self.translate(memory, linear, access)?;
        if !there.is_empty() {
            let next_page = linear.wrapping_add(here.len() as u64);
            memory.write(self.translate(memory, next_page, access)?, there)?;
        }
        Ok(memory.write(first, here)?)
    }

    /// Reads the instruction at `linear` into `buffer`, and says how many bytes it got.
    ///
    /// They are fewer than the buffer has where the next page cannot be fetched from: most instructions end
    /// before it.
    pub fn fetch_instruction(
        &self,
        memory: &impl GuestMemory,
        linear: u64,
        user: bool,
        buffer: &mut [u8; MAX_INSTRUCTION],
    ) -> Result<usize, WalkFault> {
        let access = Access { kind: AccessKind::Fetch, user };
        let (here, there) = buffer.split_at_mut(bytes_in_page(linear, MAX_INSTRUCTION));
        self.read_linear(memory, linear, access, here)?;
        if there.is_empty() {
            return Ok(MAX_INSTRUCTION);
        }
        let next_page = linear.wrapping_add(here.len() as u64);
        let whole = self.read_linear(memory, next_page, access, there).is_ok();
        Ok(if whole { MAX_INSTRUCTION } else { here.len() })
    }

    /// Goes down the tables. Each turn is one level lower, so there are at most five.
    fn walk(&self, memory: &impl GuestMemory, linear: u64, access: Access) -> Result<Leaf, WalkFault> {
        let format = Format::of(self);
        if !format.is_canonical(linear) {
            return Err(WalkFault::NonCanonical(linear));
        }
        let mut leaf = Leaf::unrestricted();
        let mut table = format.root(self.cr3);
        let mut level = format.levels();
        loop {
            let place = Entry::read(memory, format, table, format.index(level, linear))?;
            let entry = place.value;
            if entry & format::PRESENT == 0 {
                return Err(self.page_fault(linear, access, 0));
            }
            if entry & format.reserved(level, entry) != 0 {
                return Err(self.page_fault(linear, access, PageFault::PRESENT | PageFault::RESERVED));
            }
            if format.carries_rights(level) {
                leaf.narrow(entry);
            }
            if level == 1 || format.is_large(level, entry) {
                let offset = linear & ((1 << format.shift(level)) - 1);
                leaf.address = GuestPhysical(format.page(level, entry) | offset);
                leaf.entry = place;
                return Ok(leaf);
            }
            table = format.table(entry);
            level -= 1;
        }
    }

    /// Whether the rights of the page permit the access (SDM Vol. 3A, "Determination of Access Rights").
    fn permits(&self, access: Access, page: &Leaf) -> bool {
        if access.user {
            return match access.kind {
                AccessKind::Fetch => page.user && page.executable,
                AccessKind::Read => page.user,
                AccessKind::Write => page.user && page.writable,
            };
        }
        let kept_from_data = page.user && self.cr4 & cr4::SMAP != 0 && self.rflags & rflags::AC == 0;
        let kept_from_code = page.user && self.cr4 & cr4::SMEP != 0;
        match access.kind {
            AccessKind::Fetch => page.executable && !kept_from_code,
            AccessKind::Read => !kept_from_data,
            AccessKind::Write => (page.writable || self.cr0 & cr0::WP == 0) && !kept_from_data,
        }
    }

    fn page_fault(&self, address: u64, access: Access, cause: u32) -> WalkFault {
        let tells_fetches = self.cr4 & cr4::SMEP != 0 || Format::of(self).no_execute;
        let kind = match access.kind {
            AccessKind::Fetch if tells_fetches => PageFault::FETCH,
            AccessKind::Fetch | AccessKind::Read => 0,
            AccessKind::Write => PageFault::WRITE,
        };
        let user = if access.user { PageFault::USER } else { 0 };
        WalkFault::Page(PageFault { address, error_code: cause | kind | user })
    }
}

/// What all levels together say of a page.
#[derive(Clone, Copy, Debug)]
struct Leaf {
    address: GuestPhysical,
    writable: bool,
    user: bool,
    executable: bool,
    entry: Entry,
}

impl Leaf {
    fn unrestricted() -> Self {
        let entry = Entry { word: GuestPhysical(0), content: 0, shift: 0, value: 0 };
        Self { address: GuestPhysical(0), writable: true, user: true, executable: true, entry }
    }

    /// A right is had only if every level grants it.
    fn narrow(&mut self, entry: u64) {
        self.writable &= entry & format::WRITABLE != 0;
        self.user &= entry & format::USER != 0;
        self.executable &= entry & format::NO_EXECUTE == 0;
    }
}

/// A table entry as it was read: the word that holds it, and where in that word it is.
#[derive(Clone, Copy, Debug)]
struct Entry {
    word: GuestPhysical,
    content: u64,
    shift: u32,
    value: u64,
}

impl Entry {
    fn read(memory: &impl GuestMemory, format: Format, table: u64, index: u64) -> Result<Self, WalkFault> {
        let address = table + index * if format.is_wide() { 8 } else { 4 };
        let word = GuestPhysical(address & !7);
        let mut bytes = [0; 8];
        memory.read(word, &mut bytes)?;
        let content = u64::from_le_bytes(bytes);
        let shift = (address & 7) as u32 * 8;
        let value = if format.is_wide() { content } else { content >> shift & u64::from(u32::MAX) };
        Ok(Self { word, content, shift, value })
    }

    /// Sets the dirty bit unless it is set; `false` if the entry has changed since it was read.
    fn mark_dirty(self, memory: &impl GuestMemory) -> Result<bool, WalkFault> {
        if self.value & format::DIRTY != 0 {
            return Ok(true);
        }
        let marked = self.content | format::DIRTY << self.shift;
        Ok(memory.compare_exchange(self.word, self.content, marked)?)
    }
}

/// How many of `length` bytes from `linear` on are in its page. More than a page is never asked for, so the rest
/// is in the next.
fn bytes_in_page(linear: u64, length: usize) -> usize {
    assert!(length <= PAGE, "a read or write of guest-linear memory is at most a page");
    length.min(PAGE - linear as usize % PAGE)
}

#[cfg(test)]
mod tests;
