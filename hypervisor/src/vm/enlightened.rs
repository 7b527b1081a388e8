// SPDX-License-Identifier: MIT OR Apache-2.0
//! What L0 is told of a virtual machine whose vCPUs have enlightened VMCSs (TLFS, "Enlightened VMCS", "Direct Virtual Flush").

use crate::memory::Frames;
use crate::memory::OutOfFrames;
use evmcs::Enlightenments;
use evmcs::Vmcs;
use evmcs::VmcsRegion;
use hyperv_bindings::enlightened_vmcs::EnlightenmentsControl;

/// What L0 does for vCPUs with enlightened VMCSs by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NestedOffer {
    /// It reads an MSR bitmap again only when it is told to.
    pub msr_bitmap: bool,
    /// It carries out the flush hypercalls of guests that have Hyper-V's interface.
    pub direct_flush: bool,
}

/// What of that one virtual machine uses.
#[derive(Debug)]
pub struct Enlightened {
    msr_bitmap: bool,
    direct_flush: Option<DirectFlush>,
}

/// By what L0 knows the machine in a flush.
#[derive(Debug)]
struct DirectFlush {
    /// No other machine has the same.
    vm_id: u64,
    /// A count of ours in it would have L0 tell us of each flush. We want none: it stays zero.
    partition_assist_page: Frames,
}

impl Enlightened {
    /// For the machine of that id, whose guest has Hyper-V's interface or not.
    pub fn new(offer: NestedOffer, vm_id: u64, hyperv_guest: bool) -> Result<Self, OutOfFrames> {
        let wanted = offer.direct_flush && hyperv_guest;
        let direct_flush =
            if wanted { Some(DirectFlush { vm_id, partition_assist_page: Frames::one()? }) } else { None };
        Ok(Self { msr_bitmap: offer.msr_bitmap, direct_flush })
    }

    /// Whether L0 flushes for the guest. It reaches those vCPUs alone whose VMCS is the current one of a CPU: the others owe
    /// an INVVPID when theirs becomes that.
    #[must_use]
    pub fn flushes_directly(&self) -> bool {
        self.direct_flush.is_some()
    }

    /// The VMCS of one of its vCPUs, which is the VP of that index to its guest.
    #[must_use]
    pub fn vmcs(&self, region: VmcsRegion, vp_index: u32) -> Vmcs {
        let control = EnlightenmentsControl::new()
            .with_msr_bitmap(self.msr_bitmap)
            .with_nested_flush_virtual_hypercall(self.flushes_directly());
        let flush = self.direct_flush.as_ref();
        let enlightenments = Enlightenments {
            control,
            vp_id: vp_index,
            vm_id: flush.map_or(0, |flush| flush.vm_id),
            partition_assist_page: flush.map_or(0, |flush| flush.partition_assist_page.address()),
        };
        Vmcs::enlightened(region, &enlightenments)
    }
}
