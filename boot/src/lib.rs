// SPDX-License-Identifier: MIT OR Apache-2.0
//! How we get in: what each loader left in memory becomes one [`BootInfo`](hypervisor::boot_info::BootInfo).
//!
//! Pure parsing, tested on the host; the assembly and the image are in the binary.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod multiboot2;
pub mod pvh;

use hypervisor::boot_info::StartError;

/// Physical memory as the parsers see it: `len` bytes from `address` on, or `None` where they are not reachable.
pub type Physical<'a> = &'a dyn Fn(u64, usize) -> Option<&'a [u8]>;

/// What was wrong with what the loader left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A structure lies outside of reachable memory or ends early.
    Truncated(&'static str),
    /// The magic number or the version of the start information is not one that we know.
    Unknown(&'static str),
    /// More ranges of memory than we keep.
    LongMemoryMap,
    /// The loader told no memory map.
    NoMemoryMap,
}

impl Error {
    /// What was found and what to do about it: one line, made before there is a heap.
    #[must_use]
    pub fn reason(self) -> StartError {
        match self {
            Self::Truncated(what) => {
                StartError { what, why: "is cut off or out of reach: use another loader" }
            }
            Self::Unknown(what) => {
                StartError { what, why: "is of an unknown kind: boot by multiboot2 or PVH" }
            }
            Self::LongMemoryMap => {
                StartError { what: "memory map", why: "has too many ranges: report this machine's firmware" }
            }
            Self::NoMemoryMap => {
                StartError { what: "memory map", why: "is missing: boot by multiboot2 or PVH" }
            }
        }
    }
}

/// The text up to the first NUL, as far as it is UTF-8.
fn text(bytes: &[u8]) -> &str {
    let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => core::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}
