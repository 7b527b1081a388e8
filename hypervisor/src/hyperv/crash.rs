// SPDX-License-Identifier: MIT OR Apache-2.0
//! A panic of ours, told to L0 with its text (TLFS, "Guest Crash Enlightenment").

// UNSAFETY: the text is written to a page that L0 reads.
#![expect(unsafe_code)]

use super::msrs;
use crate::boot_info::ImageLayout;
use core::cell::UnsafeCell;
use core::fmt;
use core::fmt::Write;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering;
use enlightenments::consume::crash;
use enlightenments::consume::crash::CrashText;
use hyperv_bindings::PAGE_SIZE;

/// L0 takes reports, and may be sent one.
static WANTED: AtomicBool = AtomicBool::new(false);

/// The text, in a page of its own: L0 reads no further than to the end of one.
static TEXT: Page = Page(UnsafeCell::new([0; PAGE_SIZE]));

#[repr(align(4096))]
struct Page(UnsafeCell<[u8; PAGE_SIZE]>);

// SAFETY: `report` alone touches it, on the one CPU that reports.
unsafe impl Sync for Page {}

/// From here on a panic is reported.
pub(super) fn arm() {
    WANTED.store(true, Ordering::Relaxed);
}

/// Tells L0 of a crash, if it wants to know: `parameters` of our own choice, and `text`, of which a page is kept. The machine may end
/// with it. Takes no lock and allocates nothing.
///
/// # Safety
/// Called by one CPU, once.
pub unsafe fn report(parameters: [u64; 3], text: fmt::Arguments<'_>) {
    if !WANTED.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: as the caller promised, nobody else has it.
    let mut rest = Rest { page: unsafe { &mut *TEXT.0.get() }, used: 0 };
    // What does not fit is left out.
    let _ = rest.write_fmt(text);
    let length = rest.used;
    let address = (&raw const TEXT).addr() as u64 - ImageLayout::VIRTUAL_BASE;
    // There is nobody left to tell of a refusal: the console has the same text.
    let _ = crash::report(&msrs::HERE, parameters, CrashText { address, length });
}

/// What is written goes to the page, as far as there is room.
struct Rest<'a> {
    page: &'a mut [u8; PAGE_SIZE],
    used: usize,
}

impl Write for Rest<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.page[self.used..];
        let taken = text.len().min(room.len());
        room[..taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.used += taken;
        if taken == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}
