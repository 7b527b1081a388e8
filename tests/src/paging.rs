// SPDX-License-Identifier: MIT OR Apache-2.0
//! A window of linear addresses above the identity map, whose page-table entries a program chooses.
//!
//! SDM volume 3, 5.5.4 (4-level paging) has the bits.

// UNSAFETY: page tables are changed under the program's feet. The window is no Rust object's address.
#![expect(unsafe_code)]

use crate::control;
use core::arch::asm;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// The window's first linear address: the 511th GiB, which the identity map does not reach.
pub const WINDOW: u64 = 511 << 30;

/// Bytes of the window.
pub const WINDOW_SIZE: u64 = 2 << 20;

/// Entry: present.
pub const PRESENT: u64 = 1 << 0;
/// Entry: writable.
pub const WRITABLE: u64 = 1 << 1;
/// Entry: the page is 2 MiB large.
pub const LARGE: u64 = 1 << 7;
/// Entry: execution is disabled.
pub const EXECUTE_DISABLE: u64 = 1 << 63;

/// The page directory of the window.
#[repr(C, align(4096))]
struct Directory([AtomicU64; 512]);

static DIRECTORY: Directory = Directory([const { AtomicU64::new(0) }; 512]);

/// Makes the first 2 MiB of [`WINDOW`] what `entry`, a page-directory entry, says.
pub fn map_window(entry: u64) {
    change_window(entry);
    // SAFETY: it only makes the CPU forget a translation.
    unsafe { asm!("invlpg [{}]", in(reg) WINDOW) };
}

/// The first eight bytes of the window, by whatever translation this CPU has.
#[must_use]
pub fn read_window() -> u64 {
    read_window_of(0)
}

/// As [`read_window`], of the window with this number: each begins 2 MiB behind the one before.
#[must_use]
pub fn read_window_of(number: usize) -> u64 {
    let value;
    let address = WINDOW + number as u64 * WINDOW_SIZE;
    // SAFETY: `change_window` has put memory there that no Rust object is in, or it faults.
    unsafe { asm!("mov {}, [{}]", out(reg) value, in(reg) address, options(nostack, preserves_flags)) };
    value
}

/// As [`map_window`], but leaves this CPU what it remembers.
pub fn change_window(entry: u64) {
    change_window_of(0, entry);
}

/// As [`change_window`], for the window with this number.
pub fn change_window_of(number: usize, entry: u64) {
    DIRECTORY.0[number].store(entry, Relaxed);
    let directory = (&raw const DIRECTORY).addr() as u64;
    let page_map_level_4 = control::cr3() & !0xfff;
    // SAFETY: the entry's table is the one of the runtime, identity-mapped; only the slot of the window is written,
    // which translates no address that Rust uses.
    unsafe {
        let pointers = entry_of(page_map_level_4, 0).read_volatile() & !0xfff;
        entry_of(pointers, 511).write_volatile(directory | PRESENT | WRITABLE);
    }
}

fn entry_of(table: u64, index: usize) -> *mut u64 {
    core::ptr::with_exposed_provenance_mut::<u64>(table as usize).wrapping_add(index)
}
