// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who reaches the translations on other CPUs: we ourselves, or Hyper-V on our behalf.

use super::Pages;
use crate::mmu::GuestPhysical;
use alloc::boxed::Box;
use core::fmt;
use hyperv_bindings::hypercall::PageRanges;
use hyperv_bindings::hypercall::Status;

/// Flushes of what L0 derived from one of our roots, on all processors: hypercalls 0x00AF and 0x00B0.
///
/// A root goes by the address of its table, without the attributes of its EPT pointer. `Ok` means that no processor uses
/// anything any more that was read from the tables before the call; anything else may have done part of it.
pub trait GuestMappingFlush: fmt::Debug + Send + Sync {
    /// Everything derived from the root.
    fn flush_space(&self, root: u64) -> Result<(), Status>;

    /// What is derived from the root for these ranges, 1 to 510 of them.
    fn flush_list(&self, root: u64, ranges: PageRanges) -> Result<(), Status>;
}

/// How translations are flushed on all CPUs. Chosen once, by name: that something *can* be called does not choose it.
#[derive(Debug)]
pub enum Provider {
    /// CPUs that are in a guest are made to leave it; every CPU flushes for itself before it enters one.
    Native,
    /// Hyper-V does it, and where it fails, the native way.
    HyperV(Box<dyn GuestMappingFlush>),
}

impl Provider {
    /// Hyper-V's, if it accepts both calls for the root whose table is at `root`. There are L0s that offer them and then refuse: those
    /// are not to be asked again.
    pub fn probe(flush: Box<dyn GuestMappingFlush>, root: u64) -> Result<Self, FlushRefused> {
        let first_page = Pages::of_entry(GuestPhysical(0), 1).list().expect("one page is a list");
        flush
            .flush_space(root)
            .and_then(|()| flush.flush_list(root, first_page))
            .map(|()| Self::HyperV(flush))
            .map_err(|status| FlushRefused { status })
    }
}

/// L0 offers to flush guest mappings and refuses the call. Use [`Provider::Native`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushRefused {
    /// What it answered.
    pub status: Status,
}

impl fmt::Display for FlushRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "L0 refuses the flush of guest mappings that it offers ({}): flushing natively",
            self.status
        )
    }
}
