// SPDX-License-Identifier: MIT OR Apache-2.0
//! A page of ours that L0 reads and writes.

// UNSAFETY: reads and writes a page that L0 reads and writes too.
#![expect(unsafe_code)]

use core::ptr::NonNull;
use hyperv_bindings::PAGE_SIZE;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

/// A page that L0 knows by its guest-physical address: a hypercall's input, an assist page, the reference TSC.
///
/// There is never a reference to the page, since L0 may write to it while this CPU is out of our hands; single aligned values are
/// read and written as volatile.
#[derive(Debug)]
pub struct SharedPage {
    page: NonNull<u8>,
    address: u64,
}

// SAFETY: the page belongs to the value alone, and is mapped on every CPU.
unsafe impl Send for SharedPage {}
// SAFETY: what L0 writes, any CPU may read, by accesses that cannot tear; writing takes the page exclusively.
unsafe impl Sync for SharedPage {}

impl SharedPage {
    /// The page at `page`, whose guest-physical address is `address`. It is filled with zeros.
    ///
    /// # Safety
    /// Both name the same page of write-back memory, aligned to 4096 bytes and mapped on every CPU for as long as the value exists and
    /// L0 has been told of it. Nobody else of ours uses it.
    pub unsafe fn new(page: NonNull<u8>, address: u64) -> Self {
        let aligned = |address: u64| address.is_multiple_of(PAGE_SIZE as u64);
        assert!(aligned(address) && aligned(page.addr().get() as u64), "a shared page is a whole page");
        // SAFETY: as the caller promised.
        unsafe { page.write_bytes(0, PAGE_SIZE) };
        Self { page, address }
    }

    /// Its guest-physical address.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Where it is mapped, for an owner of some of its fields.
    #[must_use]
    pub fn pointer(&self) -> NonNull<u8> {
        self.page
    }

    /// The value at `offset`, of at most eight bytes.
    ///
    /// # Panics
    /// If it is not inside of the page, or not aligned.
    #[must_use]
    pub fn read<T: FromBytes + Copy>(&self, offset: usize) -> T {
        // SAFETY: inside of the page and aligned; any bytes are such a value.
        unsafe { self.at::<T>(offset).read_volatile() }
    }

    /// Writes a value of at most eight bytes at `offset`.
    ///
    /// # Panics
    /// As [`read`](Self::read).
    pub fn write<T: IntoBytes + Copy>(&mut self, offset: usize, value: T) {
        // SAFETY: inside of the page and aligned; the page is ours to write.
        unsafe { self.at::<T>(offset).write_volatile(value) }
    }

    fn at<T>(&self, offset: usize) -> NonNull<T> {
        let whole = size_of::<T>() <= 8 && offset.is_multiple_of(align_of::<T>());
        assert!(whole && offset <= PAGE_SIZE - size_of::<T>(), "no such value in a page");
        // SAFETY: the offset was just checked to stay within the page.
        unsafe { self.page.add(offset).cast() }
    }
}
