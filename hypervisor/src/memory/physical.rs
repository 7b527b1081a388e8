// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical memory by its address: the direct map, and the seam through which parsers read it.
//!
//! On the bare machine all RAM is mapped at [`DIRECT_MAP`]. On the host, where tests run, frames come from the heap and
//! their "physical" address is the address that they have there; so everything above works on both unchanged.

use crate::memory::PAGE_1G;
use alloc::vec::Vec;

/// Where physical address 0 is mapped.
#[cfg(target_os = "none")]
pub const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;
/// Where physical address 0 is mapped: on the host, an address is what it is.
#[cfg(not(target_os = "none"))]
pub const DIRECT_MAP: u64 = 0;

/// What is mapped in any case, so that firmware's tables can be read: the first 4 GiB.
pub const ALWAYS_MAPPED: u64 = 4 * PAGE_1G;

/// Read access to firmware's structures in physical memory, by copies: nobody vouches for who else has that memory.
pub trait PhysicalRead {
    /// Fills `buffer` from `address` on; `false` where that is out of reach.
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool;

    /// `len` bytes from `address` on, or `None` where they are out of reach.
    fn bytes(&self, address: u64, len: usize) -> Option<Vec<u8>> {
        let mut bytes = alloc::vec![0; len];
        self.read(address, &mut bytes).then_some(bytes)
    }
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
    use crate::boot_info::Module;
    use crate::memory::frames;

    /// Physical memory below a limit, through the direct map.
    #[derive(Clone, Copy, Debug)]
    pub struct DirectMap {
        limit: u64,
    }

    impl DirectMap {
        /// # Safety
        /// The direct map covers everything below `limit`, and nobody holds or writes the memory of the loader's
        /// modules that are asked for.
        #[must_use]
        pub const unsafe fn new(limit: u64) -> Self {
            Self { limit }
        }

        /// The contents of a module, for ever: nothing takes the loader's memory back.
        #[must_use]
        pub fn module(self, module: &Module) -> Option<&'static [u8]> {
            let len = usize::try_from(module.size).ok()?;
            if !self.covers(module.start, len) {
                return None;
            }
            // SAFETY: mapped, by the check above, and nobody's but ours to read, as the constructor's caller promised.
            Some(unsafe { core::slice::from_raw_parts(super::pointer(module.start), len) })
        }

        fn covers(self, address: u64, len: usize) -> bool {
            address != 0 && address.checked_add(len as u64).is_some_and(|end| end <= self.limit)
        }
    }

    impl PhysicalRead for DirectMap {
        fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
            let covered = self.covers(address, buffer.len());
            if covered {
                // SAFETY: mapped, by the check above; a copy in assembly, whoever writes there meanwhile.
                unsafe { frames::copy(super::pointer(address), buffer.as_mut_ptr(), buffer.len()) };
            }
            covered
        }
    }
}
