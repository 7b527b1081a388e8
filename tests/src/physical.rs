// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical memory below 4 GiB by its address: devices, tables of the loader, free RAM, holes. Everything but the image.
//!
//! The runtime maps each address to itself. No Rust object lies outside of the image, so reads and writes there are
//! no concern of the language; inside the image they are refused.

// UNSAFETY: an address from outside becomes a pointer.
#![expect(unsafe_code)]

use crate::verdict;
use core::ops::Range;

/// Where the program's own code, data and stack lie.
#[must_use]
pub fn image() -> Range<u64> {
    #[cfg(target_os = "none")]
    {
        unsafe extern "C" {
            static image_start: [u8; 0];
            static image_end: [u8; 0];
        }
        (&raw const image_start).addr() as u64..(&raw const image_end).addr() as u64
    }
    #[cfg(not(target_os = "none"))]
    {
        0..0
    }
}

/// An integer that one instruction reads or writes.
pub trait Word: Copy {}
impl Word for u8 {}
impl Word for u16 {}
impl Word for u32 {}
impl Word for u64 {}

/// Reads the word at `address`, which need not be RAM.
#[must_use]
#[track_caller]
pub fn read<W: Word>(address: u64) -> W {
    // SAFETY: `outside` has refused what Rust knows of, and a volatile read is one MOV.
    unsafe { core::ptr::with_exposed_provenance::<W>(outside::<W>(address)).read_volatile() }
}

/// Writes the word at `address`, which need not be RAM.
#[track_caller]
pub fn write<W: Word>(address: u64, value: W) {
    // SAFETY: as for `read`.
    unsafe { core::ptr::with_exposed_provenance_mut::<W>(outside::<W>(address)).write_volatile(value) }
}

/// The address as a pointer's value, if a `W` there is aligned, mapped and outside of the image.
#[track_caller]
fn outside<W>(address: u64) -> usize {
    let size = size_of::<W>() as u64;
    let image = image();
    let beside = address.saturating_add(size) <= image.start || address >= image.end;
    if !address.is_multiple_of(size) || address > (1 << 32) - size || !beside {
        verdict::fail(format_args!(
            "the program's own mistake: access of {size} bytes to physical {address:#x}"
        ));
    }
    address as usize
}
