// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which machine the console is attached to: its bytes are shown as they come, and it gets what is typed.

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering;

/// Where the console is. Numbers are places in the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// At the one machine that runs, whichever that is: no two do.
    ToWhatRuns,
    /// At this one.
    To(usize),
    /// At Satori's prompt, or where it was before anything was typed.
    ToNone,
}

const TO_WHAT_RUNS: usize = usize::MAX;
const TO_NONE: usize = usize::MAX - 1;

/// It changes while machines print.
#[derive(Debug)]
pub struct Attachment(AtomicUsize);

impl Attachment {
    /// It begins there.
    #[must_use]
    pub const fn new(attached: Attached) -> Self {
        Self(AtomicUsize::new(number(attached)))
    }

    /// Where it is.
    #[inline]
    #[must_use]
    pub fn get(&self) -> Attached {
        match self.0.load(Ordering::Relaxed) {
            TO_WHAT_RUNS => Attached::ToWhatRuns,
            TO_NONE => Attached::ToNone,
            vm => Attached::To(vm),
        }
    }

    /// It is there from here on.
    pub fn set(&self, attached: Attached) {
        self.0.store(number(attached), Ordering::Relaxed);
    }
}

const fn number(attached: Attached) -> usize {
    match attached {
        Attached::ToWhatRuns => TO_WHAT_RUNS,
        Attached::ToNone => TO_NONE,
        Attached::To(vm) => vm,
    }
}
