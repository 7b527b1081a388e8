// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where on the bus a function is, while it is accessed.

use crate::devices::pci::Upstream;
use crate::devices::pci::intx::IntxLines;
use core::fmt;

/// Where a function is: what it reaches, and its interrupt line.
#[derive(Clone, Copy)]
pub struct Slot<'a> {
    /// Memory and processors.
    pub upstream: &'a dyn Upstream,
    /// The lines of all functions.
    pub lines: &'a IntxLines,
}

impl fmt::Debug for Slot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("lines", &self.lines).finish_non_exhaustive()
    }
}
