// SPDX-License-Identifier: MIT OR Apache-2.0
//! How each CPU joins Hyper-V's interface, and what came of it.

// UNSAFETY: gives pages to L0.
#![expect(unsafe_code)]

use super::msrs;
use crate::cpu::CpuNumber;
use crate::cpu::PerCpu;
use crate::memory::Frames;
use crate::memory::OutOfFrames;
use crate::memory::physical;
use core::mem;
use core::ptr::NonNull;
use enlightenments::consume::Capabilities;
use enlightenments::consume::Obstacle;
use enlightenments::consume::SharedPage;
use enlightenments::consume::VirtualProcessor;
use evmcs::AssistPage;
use evmcs::StillResident;
use evmcs::VmcsSlot;
use log::warn;
use spin::Once;

/// What CPUs go by, and what they tell.
#[derive(Debug)]
pub struct Processors {
    capabilities: Capabilities,
    outcomes: PerCpu<Once<Outcome>>,
}

/// How it went on one CPU.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    vp_index: Result<u32, Obstacle>,
    assist_page: Result<(), Obstacle>,
}

/// A CPU that has joined.
#[derive(Debug)]
pub struct Joined {
    virtual_processor: VirtualProcessor,
}

impl Processors {
    pub(super) fn new(capabilities: Capabilities) -> Self {
        Self { capabilities, outcomes: PerCpu::default() }
    }

    /// This CPU, of that number, tells L0 of its pages, as far as it is allowed to. Whoever joins stays: the number is its own.
    pub fn join(&self, cpu: CpuNumber) -> Result<Joined, OutOfFrames> {
        let virtual_processor = VirtualProcessor::join(&msrs::HERE, &self.capabilities, shared_page()?);
        let outcome = Outcome {
            vp_index: virtual_processor.vp_index(),
            assist_page: virtual_processor.assist_page_outcome(),
        };
        self.outcomes[cpu].call_once(|| outcome);
        Ok(Joined { virtual_processor })
    }

    /// The VP index of the boot CPU.
    pub(super) fn boot_vp(&self) -> Result<u32, Obstacle> {
        self.outcome(CpuNumber::BOOT).vp_index
    }

    /// Whether a CPU knows its VP index, for the settlement.
    pub(super) fn vp_index(&self, cpu: CpuNumber) -> (u32, Result<(), Obstacle>) {
        (cpu.index() as u32, self.outcome(cpu).vp_index.map(|_| ()))
    }

    /// Whether a CPU has an assist page, for the settlement.
    pub(super) fn assist_page(&self, cpu: CpuNumber) -> (u32, Result<(), Obstacle>) {
        (cpu.index() as u32, self.outcome(cpu).assist_page)
    }

    fn outcome(&self, cpu: CpuNumber) -> Outcome {
        let never = Outcome { vp_index: Err(Obstacle::NotTried), assist_page: Err(Obstacle::NotTried) };
        self.outcomes[cpu].get().copied().unwrap_or(never)
    }
}

impl Joined {
    /// Makes this CPU's slot one for enlightened VMCSs, whose guests may call L0 for a flush or not.
    ///
    /// # Panics
    /// Without an assist page: the settlement says that there is one.
    pub fn enlighten(&self, slot: &mut VmcsSlot, direct_flush: bool) -> Result<(), StillResident> {
        let page = self.virtual_processor.assist_page().expect("every CPU has its assist page");
        // SAFETY: this CPU's assist page, which stays enabled until `leave`, when the slot has retired. The two fields are the slot's
        // alone.
        let mut page = unsafe { AssistPage::new(page.pointer()) };
        page.set_direct_hypercall(direct_flush);
        slot.enlighten(page)
    }

    /// Takes the pages back. After the CPU's last VM entry.
    pub fn leave(self) {
        if self.virtual_processor.leave(&msrs::HERE).is_none() {
            warn!("L0 does not let go of an assist page");
        }
    }
}

/// A page to be shared with L0, for ever ours: it is needed until the end.
pub(super) fn shared_page() -> Result<SharedPage, OutOfFrames> {
    let frames = Frames::one()?;
    let address = frames.address();
    mem::forget(frames);
    let page = NonNull::new(physical::pointer(address)).expect("no frame is at address zero");
    // SAFETY: a frame that nobody else has, in the direct map, write-back, for ever.
    Ok(unsafe { SharedPage::new(page, address) })
}
