// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page tables that we run on: nothing writable is executable, and under each stack lies a page that is not there.
#![cfg(target_os = "none")]
// UNSAFETY: builds the tables that every other pointer goes through, and loads them.
#![expect(unsafe_code)]

use crate::boot_info::ImageLayout;
use crate::memory::FRAME;
use crate::memory::Frames;
use crate::memory::OutOfFrames;
use crate::memory::PAGE_1G;
use crate::memory::PAGE_2M;
use crate::memory::physical;
use core::mem;
use core::ops::Range;
use spin::Mutex;
use x86_64::PhysAddr;
use x86_64::VirtAddr;
use x86_64::instructions::tlb;
use x86_64::registers::control::Cr3;
use x86_64::registers::control::Cr3Flags;
use x86_64::structures::paging::FrameAllocator;
use x86_64::structures::paging::Mapper;
use x86_64::structures::paging::OffsetPageTable;
use x86_64::structures::paging::Page;
use x86_64::structures::paging::PageSize;
use x86_64::structures::paging::PageTable;
use x86_64::structures::paging::PageTableFlags as Flags;
use x86_64::structures::paging::PhysFrame;
use x86_64::structures::paging::Size1GiB;
use x86_64::structures::paging::Size2MiB;
use x86_64::structures::paging::Size4KiB;
use x86_64::structures::paging::mapper::MapToError;

/// Where stacks are mapped, one after the other, each above a page that stays unmapped.
const STACKS: u64 = 0xffff_ff00_0000_0000;
/// Where registers of devices are mapped.
const DEVICES: u64 = 0xffff_fe00_0000_0000;

const READ: Flags = Flags::PRESENT.union(Flags::NO_EXECUTE);
const READ_WRITE: Flags = READ.union(Flags::WRITABLE);

/// The one address space: all CPUs share it.
static SPACE: Mutex<Option<AddressSpace>> = Mutex::new(None);

struct AddressSpace {
    tables: OffsetPageTable<'static>,
    frames: TableFrames,
    next_stack: u64,
    /// Bytes of stacks, the pages under them not counted.
    stacks: u64,
    next_device: u64,
}

/// Frames for page tables: counted, never given back.
struct TableFrames {
    taken: u64,
}

// SAFETY: each frame is fresh, zeroed and forgotten, so that nobody else has it.
unsafe impl FrameAllocator<Size4KiB> for TableFrames {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let frame = Frames::one().ok()?;
        let address = PhysAddr::new(frame.address());
        mem::forget(frame);
        self.taken += FRAME;
        Some(PhysFrame::containing_address(address))
    }
}

/// A stack of our own. It is not given back: a CPU keeps its stacks for ever.
#[derive(Clone, Copy, Debug)]
pub struct Stack {
    /// The first address above it, where the stack pointer starts.
    pub top: VirtAddr,
}

/// Builds the tables and runs on them from here on: all RAM below `memory_end` in the direct map, the image part by part.
///
/// # Safety
/// Called once, on the boot tables, which map the image and the first 4 GiB alike.
pub unsafe fn enter(image: &ImageLayout, memory_end: u64) -> Result<(), OutOfFrames> {
    let root = Frames::one()?;
    let root_address = PhysAddr::new(root.address());
    mem::forget(root);
    // SAFETY: a zeroed frame of our own is an empty table.
    let table = unsafe { &mut *physical::pointer(root_address.as_u64()).cast::<PageTable>() };
    // SAFETY: the direct map is where the tables say, both now and after the switch.
    let tables = unsafe { OffsetPageTable::new(table, VirtAddr::new(physical::DIRECT_MAP)) };
    let mut space = AddressSpace {
        tables,
        frames: TableFrames { taken: FRAME },
        next_stack: STACKS,
        stacks: 0,
        next_device: DEVICES,
    };
    space.map_direct(memory_end.max(physical::ALWAYS_MAPPED))?;
    space.map_image(&image.text, Flags::PRESENT)?;
    space.map_image(&image.rodata, READ)?;
    space.map_image(&image.data, READ_WRITE)?;
    // SAFETY: the new tables map all that is in use: image, first stack (part of its data) and the direct map.
    unsafe { Cr3::write(PhysFrame::containing_address(root_address), Cr3Flags::empty()) };
    *SPACE.lock() = Some(space);
    Ok(())
}

/// Maps a fresh stack of `bytes` with an unmapped page under it.
pub fn new_stack(bytes: u64) -> Result<Stack, OutOfFrames> {
    with_space(|space| {
        let frames = Frames::zeroed(bytes, FRAME)?;
        let (bottom, address) = (space.next_stack + FRAME, frames.address());
        // Kept even if the mapping fails half-way, as is its place.
        mem::forget(frames);
        space.next_stack = bottom + bytes;
        space.stacks += bytes;
        space.map_range::<Size4KiB>(bottom..bottom + bytes, address, READ_WRITE)?;
        Ok(Stack { top: VirtAddr::new(bottom + bytes) })
    })
}

/// Maps registers of a device, uncached; gives the address of the first.
pub fn map_device(address: u64, bytes: u64) -> Result<VirtAddr, OutOfFrames> {
    let (first, end) = (address & !(FRAME - 1), (address + bytes).next_multiple_of(FRAME));
    with_space(|space| {
        let start = space.next_device;
        space.next_device = start + (end - first);
        let flags = READ_WRITE | Flags::NO_CACHE | Flags::WRITE_THROUGH;
        space.map_range::<Size4KiB>(start..start + (end - first), first, flags)?;
        Ok(VirtAddr::new(start + (address - first)))
    })
}

/// Maps a page of code where it lies in physical memory, for CPUs that turn paging on there. Not writable.
pub fn map_identity(page: u64) -> Result<(), OutOfFrames> {
    with_space(|space| space.map_range::<Size4KiB>(page..page + FRAME, page, Flags::PRESENT))
}

/// Takes back what [`map_identity`] did. Each CPU that has used it still has to drop what it has cached.
pub fn unmap_identity(page: u64) {
    let page = Page::<Size4KiB>::containing_address(VirtAddr::new(page));
    let unmapped = with_space(|space| space.tables.unmap(page));
    let (_, flush) = unmapped.expect("what is taken back was mapped");
    flush.flush();
}

/// Drops what this CPU has cached of translations.
pub fn flush_own() {
    tlb::flush_all();
}

/// Physical address of the tables, below 4 GiB, so that CPUs that start can load it in 32-bit mode.
#[must_use]
pub fn root() -> u32 {
    let (frame, _) = Cr3::read();
    u32::try_from(frame.start_address().as_u64()).expect("`enter` ran where only the first 4 GiB were mapped")
}

/// Bytes that page tables and stacks take.
#[must_use]
pub fn held_bytes() -> (u64, u64) {
    with_space(|space| (space.frames.taken, space.stacks))
}

fn with_space<R>(act: impl FnOnce(&mut AddressSpace) -> R) -> R {
    act(SPACE.lock().as_mut().expect("the address space is entered before it is used"))
}

impl AddressSpace {
    fn map_direct(&mut self, end: u64) -> Result<(), OutOfFrames> {
        let at = |address| physical::DIRECT_MAP + address;
        if has_1g_pages() {
            self.map_range::<Size1GiB>(at(0)..at(end.next_multiple_of(PAGE_1G)), 0, READ_WRITE)
        } else {
            self.map_range::<Size2MiB>(at(0)..at(end.next_multiple_of(PAGE_2M)), 0, READ_WRITE)
        }
    }

    fn map_image(&mut self, part: &Range<u64>, flags: Flags) -> Result<(), OutOfFrames> {
        self.map_range::<Size4KiB>(part.clone(), part.start - ImageLayout::VIRTUAL_BASE, flags)
    }

    fn map_range<S>(&mut self, range: Range<u64>, physical: u64, flags: Flags) -> Result<(), OutOfFrames>
    where
        S: PageSize,
        OffsetPageTable<'static>: Mapper<S>,
    {
        for (address, target) in range.step_by(S::SIZE as usize).zip((physical..).step_by(S::SIZE as usize)) {
            let page = Page::<S>::containing_address(VirtAddr::new(address));
            let frame = PhysFrame::<S>::containing_address(PhysAddr::new(target));
            // SAFETY: every range is new, so nothing that is in use changes its meaning.
            match unsafe { self.tables.map_to(page, frame, flags, &mut self.frames) } {
                Ok(flush) => flush.ignore(),
                Err(MapToError::FrameAllocationFailed) => return Err(OutOfFrames { bytes: FRAME }),
                Err(_) => unreachable!("{address:#x} is mapped twice"),
            }
        }
        Ok(())
    }
}

fn has_1g_pages() -> bool {
    const PAGE1GB: u32 = 1 << 26;
    core::arch::x86_64::__cpuid(0x8000_0001).edx & PAGE1GB != 0
}
