// SPDX-License-Identifier: MIT OR Apache-2.0
//! A panic of ours, told to L0 with its text (TLFS, "Guest Crash Enlightenment").

use super::msrs;
use crate::console::crash_text;
use core::fmt;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering;
use enlightenments::consume::crash;

/// L0 takes reports, and may be sent one.
static WANTED: AtomicBool = AtomicBool::new(false);

/// From here on a panic is reported.
pub(super) fn arm() {
    WANTED.store(true, Ordering::Relaxed);
}

/// Tells L0 of a crash, if it wants to know: `parameters` of our own choice, and `text`, of which a page is kept. The machine may end
/// with it. By the one CPU that reports the panic. Takes no lock and allocates nothing.
pub fn report(parameters: [u64; 3], text: fmt::Arguments<'_>) {
    if WANTED.load(Ordering::Relaxed) {
        // There is nobody left to tell of a refusal: the console has the same text.
        let _ = crash::report(&msrs::HERE, parameters, crash_text::write(text));
    }
}
