// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical memory by its address: the direct map, and the seam through which parsers read it.
//!
//! On the bare machine all RAM is mapped at [`DIRECT_MAP`]. On the host, where tests run, frames come from the heap and
//! their "physical" address is the address that they have there; so everything above works on both unchanged.

use crate::memory::PAGE_1G;

/// Where physical address 0 is mapped.
#[cfg(target_os = "none")]
pub const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;
/// Where physical address 0 is mapped: on the host, an address is what it is.
#[cfg(not(target_os = "none"))]
pub const DIRECT_MAP: u64 = 0;

/// What is mapped in any case, so that firmware's tables can be read: the first 4 GiB.
pub const ALWAYS_MAPPED: u64 = 4 * PAGE_1G;

/// Read access to firmware's structures in physical memory.
pub trait PhysicalRead {
    /// `len` bytes from `address` on, or `None` where they are out of reach.
    fn bytes(&self, address: u64, len: usize) -> Option<&[u8]>;
}

/// The pointer through which physical address `address` is reached.
#[must_use]
pub fn pointer(address: u64) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut((DIRECT_MAP + address) as usize)
}

#[cfg(target_os = "none")]
pub use bare::DirectMap;

#[cfg(target_os = "none")]
mod bare {
    // UNSAFETY: memory that firmware and loader filled is known only by address.
    #![expect(unsafe_code)]

    use super::PhysicalRead;

    /// Physical memory below a limit, through the direct map.
    #[derive(Clone, Copy, Debug)]
    pub struct DirectMap {
        limit: u64,
    }

    impl DirectMap {
        /// # Safety
        /// The direct map covers everything below `limit`, and for as long as the value lives nothing writes to what is
        /// read through it: firmware's tables and the loader's modules, which no allocator holds.
        #[must_use]
        pub const unsafe fn new(limit: u64) -> Self {
            Self { limit }
        }

        /// As [`PhysicalRead::bytes`], for ever: nothing takes firmware's and the loader's memory back.
        #[must_use]
        pub fn forever(self, address: u64, len: usize) -> Option<&'static [u8]> {
            if address == 0 || address.checked_add(len as u64)? > self.limit {
                return None;
            }
            // SAFETY: mapped, by the check above, and not written to, as the constructor's caller promised.
            Some(unsafe { core::slice::from_raw_parts(super::pointer(address), len) })
        }
    }

    impl PhysicalRead for DirectMap {
        fn bytes(&self, address: u64, len: usize) -> Option<&[u8]> {
            self.forever(address, len)
        }
    }
}
