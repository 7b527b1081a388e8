// SPDX-License-Identifier: MIT OR Apache-2.0
//! The 4-KiB page that a VMCS lives in, ordinary or enlightened, and access to the enlightened one.

// UNSAFETY: reads and writes a page that the processor, or L0, reads and writes too.
#![expect(unsafe_code)]

use crate::field::Width;
use core::marker::PhantomData;
use core::ptr::NonNull;
use hyperv_bindings::enlightened_vmcs::EnlightenedVmcs;

/// Size of a VMCS region in bytes, and its alignment.
pub const REGION_SIZE: usize = 4096;

/// Physical address of a VMCS region: what VMCLEAR, VMPTRLD and the VP assist page take.
///
/// Only a [`VmcsRegion`] makes one, so that no other memory is ever given to the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VmcsPointer(u64);

impl VmcsPointer {
    /// The address, a multiple of 4096.
    pub const fn address(self) -> u64 {
        self.0
    }
}

/// A page of memory for one VMCS.
///
/// # Why its accesses are sound
/// In an enlightened VMCS, L0 writes fields between our accesses. It does so only while this CPU is out of our hands:
/// after VMLAUNCH or VMRESUME, which the compiler sees as assembly that may change memory. So L0 is never a second
/// thread that races with us, but the compiler must neither keep a field in a register across an entry nor assume that
/// a reference to the page keeps its content. Therefore nobody ever holds a reference to the page; this module alone
/// has the pointer, and reads and writes single aligned fields as volatile.
#[derive(Debug)]
pub struct VmcsRegion {
    page: NonNull<u8>,
    pointer: VmcsPointer,
}

// SAFETY: the page belongs to the region alone, and any CPU can reach it. That two CPUs do not use a VMCS at once
// is what the life cycle of `Vmcs` keeps.
unsafe impl Send for VmcsRegion {}

// SAFETY: a shared region gives out its address and nothing else. What reads the page needs the `Vmcs` exclusively.
unsafe impl Sync for VmcsRegion {}

impl VmcsRegion {
    /// Takes the page at `page`, whose physical address (for a nested hypervisor its GPA) is `physical_address`.
    ///
    /// # Safety
    /// Both name the same page of write-back memory, aligned to 4096 bytes, mapped readable and writable at `page` on
    /// every CPU that uses the VMCS. From now on the page belongs to the region and to the processor, even if the
    /// region or its VMCS is dropped or leaked; it comes back with [`Vmcs::into_region`](crate::Vmcs::into_region)
    /// and [`into_page`](Self::into_page).
    pub unsafe fn new(page: NonNull<u8>, physical_address: u64) -> Self {
        let aligned = |address: u64| address.is_multiple_of(REGION_SIZE as u64);
        assert!(
            aligned(physical_address) && aligned(page.addr().get() as u64),
            "a VMCS region is a whole page"
        );
        Self { page, pointer: VmcsPointer(physical_address) }
    }

    /// Gives the page back.
    pub fn into_page(self) -> NonNull<u8> {
        self.page
    }

    /// The page's physical address.
    pub const fn pointer(&self) -> VmcsPointer {
        self.pointer
    }

    /// Fills the page with zeros but for its first word: the VMCS revision identifier, or the eVMCS version.
    pub(crate) fn erase(&mut self, first_word: u32) {
        // SAFETY: the page is ours (see `new`), REGION_SIZE long and aligned; no reference to it exists.
        unsafe {
            self.page.write_bytes(0, REGION_SIZE);
            self.page.cast::<u32>().write_volatile(first_word);
        }
    }

    /// Access to the page as an enlightened VMCS.
    #[inline(always)]
    pub(crate) fn enlightened(&self) -> EnlightenedPage<'_> {
        EnlightenedPage { page: self.page, region: PhantomData }
    }
}

/// The fields of an enlightened VMCS by their offset. Whoever holds one has the `Vmcs` exclusively.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EnlightenedPage<'a> {
    page: NonNull<u8>,
    region: PhantomData<&'a VmcsRegion>,
}

impl EnlightenedPage<'_> {
    #[inline(always)]
    pub(crate) fn read<W: Width>(self, offset: u16) -> W {
        // SAFETY: inside of the page and aligned, see `at`; `Width` is sealed and of integers, of which any bits are valid.
        unsafe { self.at::<W>(offset).read_volatile() }
    }

    #[inline(always)]
    pub(crate) fn write<W: Width>(self, offset: u16, value: W) {
        // SAFETY: inside of the page and aligned, see `at`; the page is ours to write.
        unsafe { self.at::<W>(offset).write_volatile(value) }
    }

    /// Pointer to a field. With a constant offset the assertion is gone from the code.
    #[inline(always)]
    fn at<W>(self, offset: u16) -> NonNull<W> {
        let offset = usize::from(offset);
        assert!(
            offset + size_of::<W>() <= size_of::<EnlightenedVmcs>() && offset.is_multiple_of(align_of::<W>()),
            "no field of an enlightened VMCS is there"
        );
        // SAFETY: the offset was just checked to stay within the page.
        unsafe { self.page.add(offset).cast() }
    }
}
