// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flushes of what L0 derived from our EPT roots, by hypercall: each CPU has a page for the input of its own.

// UNSAFETY: makes hypercalls.
#![expect(unsafe_code)]

use super::hypercall_page::NativeHypercalls;
use super::processors::shared_page;
use crate::cpu::number::current;
use crate::memory::OutOfFrames;
use crate::mmu::flush::GuestMappingFlush;
use alloc::vec::Vec;
use core::fmt;
use enlightenments::consume::SharedPage;
use enlightenments::consume::guest_mapping;
use hyperv_bindings::hypercall::PageRanges;
use hyperv_bindings::hypercall::Status;
use spin::Mutex;
use x86_64::instructions::interrupts;

/// Hyper-V, asked to flush.
pub(super) struct HypercallFlush {
    calls: NativeHypercalls,
    /// By number of CPU. Nobody ever waits for one: each CPU takes its own, with interrupts off.
    inputs: Vec<Mutex<SharedPage>>,
}

impl HypercallFlush {
    /// For so many CPUs. The hypercall page is in place, until the machine has no guests any more.
    pub(super) fn new(cpus: usize) -> Result<Self, OutOfFrames> {
        let inputs = (0..cpus).map(|_| Ok(Mutex::new(shared_page()?))).collect::<Result<_, _>>()?;
        // SAFETY: the page is in place; inputs are in pages of this value's own, and to flush changes no memory.
        Ok(Self { calls: unsafe { NativeHypercalls::new() }, inputs })
    }

    fn with_input(&self, call: impl FnOnce(&mut SharedPage) -> Result<(), Status>) -> Result<(), Status> {
        // A handler that also flushed would write over the input.
        assert!(!interrupts::are_enabled(), "a hypercall's input is in use with interrupts off");
        call(&mut self.inputs[current().index()].lock())
    }
}

impl GuestMappingFlush for HypercallFlush {
    fn flush_space(&self, root: u64) -> Result<(), Status> {
        self.with_input(|input| guest_mapping::flush_space(&self.calls, input, root))
    }

    fn flush_list(&self, root: u64, ranges: PageRanges) -> Result<(), Status> {
        self.with_input(|input| guest_mapping::flush_list(&self.calls, input, root, ranges))
    }
}

impl fmt::Debug for HypercallFlush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HypercallFlush").field("cpus", &self.inputs.len()).finish_non_exhaustive()
    }
}
