// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical memory below 4 GiB by its address: devices, tables of the loader, free RAM, holes. Everything but the image.
//!
//! The runtime maps each address to itself. No Rust object lies outside of the image, so reads and writes there are
//! no concern of the language; inside the image they are refused.

// UNSAFETY: an address from outside becomes a pointer.
#![expect(unsafe_code)]

use crate::verdict;
use core::arch::asm;
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
    unsafe { core::ptr::with_exposed_provenance::<W>(aligned::<W>(address)).read_volatile() }
}

/// Writes the word at `address`, which need not be RAM.
#[track_caller]
pub fn write<W: Word>(address: u64, value: W) {
    // SAFETY: as for `read`.
    unsafe { core::ptr::with_exposed_provenance_mut::<W>(aligned::<W>(address)).write_volatile(value) }
}

/// Adds to the eight bytes at `address`, whatever other vCPUs do with them.
#[track_caller]
pub fn add(address: u64, value: u64) {
    // SAFETY: `aligned` has refused what Rust knows of.
    unsafe { asm!("lock add [{}], {}", in(reg) aligned::<u64>(address), in(reg) value, options(nostack)) };
}

/// Reads the eight bytes at `address`, aligned or not, by one instruction.
#[must_use]
#[track_caller]
pub fn read_unaligned(address: u64) -> u64 {
    let value;
    // SAFETY: `outside` has refused what Rust knows of.
    unsafe {
        asm!("mov {}, [{}]", out(reg) value, in(reg) outside(address, 8), options(nostack, preserves_flags));
    }
    value
}

/// Writes the eight bytes at `address`, aligned or not, by one instruction.
#[track_caller]
pub fn write_unaligned(address: u64, value: u64) {
    // SAFETY: `outside` has refused what Rust knows of.
    unsafe {
        asm!("mov [{}], {}", in(reg) outside(address, 8), in(reg) value, options(nostack, preserves_flags));
    }
}

/// Copies so many bytes, all of them to other places than where any of them were.
#[track_caller]
pub fn copy(from: u64, to: u64, bytes: u64) {
    if from < to.saturating_add(bytes) && to < from.saturating_add(bytes) {
        refuse(to, bytes);
    }
    let (from, to) = (outside(from, bytes), outside(to, bytes));
    // SAFETY: `outside` has refused what Rust knows of. By words first: each counts as an instruction.
    unsafe {
        asm!(
            "rep movsq", "mov rcx, {rest}", "rep movsb",
            rest = in(reg) bytes % 8, inout("rcx") bytes / 8 => _, inout("rsi") from => _, inout("rdi") to => _,
            options(nostack, preserves_flags)
        );
    }
}

/// Makes so many bytes zero.
#[track_caller]
pub fn clear(address: u64, bytes: u64) {
    let at = outside(address, bytes);
    // SAFETY: as for `copy`.
    unsafe {
        asm!(
            "rep stosq", "mov rcx, {rest}", "rep stosb",
            rest = in(reg) bytes % 8, inout("rcx") bytes / 8 => _, inout("rdi") at => _, in("rax") 0_u64,
            options(nostack, preserves_flags)
        );
    }
}

/// Has `look` see the bytes of a part of memory, to which it must not write.
#[track_caller]
pub fn with_bytes<R>(range: &Range<u64>, look: impl FnOnce(&[u8]) -> R) -> R {
    let length = range.end.saturating_sub(range.start);
    let start = core::ptr::with_exposed_provenance::<u8>(outside(range.start, length));
    // SAFETY: `outside` has refused what Rust knows of, and nobody else writes there meanwhile.
    look(unsafe { core::slice::from_raw_parts(start, length as usize) })
}

/// The address as a pointer's value, if a `W` there is aligned, mapped and outside of the image.
#[track_caller]
fn aligned<W>(address: u64) -> usize {
    if !address.is_multiple_of(size_of::<W>() as u64) {
        refuse(address, size_of::<W>() as u64);
    }
    outside(address, size_of::<W>() as u64)
}

/// The address as a pointer's value, if `size` bytes there are mapped and outside of the image.
#[track_caller]
fn outside(address: u64, size: u64) -> usize {
    let image = image();
    let beside = address.saturating_add(size) <= image.start || address >= image.end;
    if address > (1 << 32) - size || !beside {
        refuse(address, size);
    }
    address as usize
}

#[track_caller]
fn refuse(address: u64, size: u64) -> ! {
    verdict::fail(format_args!("the program's own mistake: access of {size} bytes to physical {address:#x}"))
}
