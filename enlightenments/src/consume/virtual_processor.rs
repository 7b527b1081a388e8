// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each virtual processor has of its own: its index, and the assist page.

use super::Capabilities;
use super::Feature;
use super::Obstacle;
use super::SharedPage;
use super::SyntheticMsrs;
use super::leftovers;
use core::mem::offset_of;
use hyperv_bindings::PAGE_SIZE;
use hyperv_bindings::assist_page::VpAssistPage;
use hyperv_bindings::msr::OverlayPage;
use hyperv_bindings::msr::VP_ASSIST_PAGE;
use hyperv_bindings::msr::VP_INDEX;

/// Two words, for which there is one offset.
const NESTED_ENLIGHTENMENTS_CONTROL: usize = offset_of!(VpAssistPage, nested_enlightenments_control);
/// One byte.
const ENLIGHTEN_VM_ENTRY: usize = offset_of!(VpAssistPage, enlighten_vm_entry);
/// A GPA.
const CURRENT_NESTED_VMCS: usize = offset_of!(VpAssistPage, current_nested_vmcs);

/// The processor that we run on, as L0 knows it.
#[derive(Debug)]
#[must_use = "L0 keeps the assist page in use until the processor leaves"]
pub struct VirtualProcessor {
    vp_index: Result<u32, Obstacle>,
    assist_page_outcome: Result<(), Obstacle>,
    /// `None` where L0 accepted the page, then did not confirm it, and did not give it back.
    assist_page: Option<SharedPage>,
}

impl VirtualProcessor {
    /// Asks for the processor's index, and makes `assist_page` its assist page (TLFS, "Virtual Processor Assist Page"), as far as
    /// `capabilities` allow.
    ///
    /// On each CPU, after [`Partition::join`](super::Partition::join) on the first and before its first VM entry. What an earlier kernel
    /// left enabled is taken away, so it is to be called where nothing is to be used, too.
    pub fn join(msrs: &impl SyntheticMsrs, capabilities: &Capabilities, mut assist_page: SharedPage) -> Self {
        leftovers::clear_of_processor(msrs, capabilities);
        let vp_index = match capabilities.may_use(Feature::VpIndex) {
            true => index(msrs),
            false => Err(Obstacle::NotTried),
        };
        if !capabilities.may_use(Feature::VpAssistPage) {
            return Self {
                vp_index,
                assist_page_outcome: Err(Obstacle::NotTried),
                assist_page: Some(assist_page),
            };
        }
        let assist_page_outcome = enable(msrs, &mut assist_page);
        let is_ours = assist_page_outcome.is_ok() || disable(msrs).is_ok();
        Self { vp_index, assist_page_outcome, assist_page: is_ours.then_some(assist_page) }
    }

    /// The processor's number in masks and sets, and as the target of interrupts; or why it is not known.
    pub const fn vp_index(&self) -> Result<u32, Obstacle> {
        self.vp_index
    }

    /// Whether the assist page is in use; or why not. For
    /// [`settle_on_every_cpu`](super::Capabilities::settle_on_every_cpu).
    pub const fn assist_page_outcome(&self) -> Result<(), Obstacle> {
        self.assist_page_outcome
    }

    /// The assist page, where it is in use. Its fields for nested virtualization are zero, and whoever enters enlightened VMCSs
    /// writes them until this processor leaves.
    #[must_use]
    pub fn assist_page(&self) -> Option<&SharedPage> {
        self.assist_page_outcome.ok().and(self.assist_page.as_ref())
    }

    /// Takes the assist page away from L0, without anything in it that a later VM entry would go by. On the same CPU, after its
    /// last VM entry.
    ///
    /// The page comes back, unless L0 does not let go of it: then it is not to be used for anything else.
    pub fn leave(self, msrs: &impl SyntheticMsrs) -> Option<SharedPage> {
        let mut page = self.assist_page?;
        if self.assist_page_outcome.is_ok() {
            forget_enlightened_vmcs(&mut page);
            disable(msrs).ok()?;
        }
        Some(page)
    }
}

fn index(msrs: &impl SyntheticMsrs) -> Result<u32, Obstacle> {
    u32::try_from(msrs.read(VP_INDEX)?).map_err(|_| Obstacle::Other("the VP index has more than 32 bits"))
}

fn enable(msrs: &impl SyntheticMsrs, page: &mut SharedPage) -> Result<(), Obstacle> {
    let page_number = page.address() / PAGE_SIZE as u64;
    let found = OverlayPage::from_bits(msrs.read(VP_ASSIST_PAGE)?);
    // L0 may use our memory, or show another page in its place with what an earlier kernel left there.
    forget_enlightened_vmcs(page);
    msrs.write(VP_ASSIST_PAGE, found.with_enabled(true).with_page_number(page_number).into_bits())?;
    forget_enlightened_vmcs(page);
    let taken = OverlayPage::from_bits(msrs.read(VP_ASSIST_PAGE)?);
    match taken.enabled() && taken.page_number() == page_number {
        true => Ok(()),
        false => Err(Obstacle::NotTaken { msr: VP_ASSIST_PAGE }),
    }
}

fn disable(msrs: &impl SyntheticMsrs) -> Result<(), Obstacle> {
    let found = OverlayPage::from_bits(msrs.read(VP_ASSIST_PAGE).unwrap_or(0));
    msrs.write(VP_ASSIST_PAGE, found.with_enabled(false).with_page_number(0).into_bits())?;
    match OverlayPage::from_bits(msrs.read(VP_ASSIST_PAGE)?).enabled() {
        true => Err(Obstacle::NotTaken { msr: VP_ASSIST_PAGE }),
        false => Ok(()),
    }
}

/// As long as EnlightenVmEntry is set, VM entries take the enlightened VMCS that is named here, and no other: a kernel that does not
/// know of it would never enter its own.
fn forget_enlightened_vmcs(page: &mut SharedPage) {
    page.write(ENLIGHTEN_VM_ENTRY, 0_u8);
    page.write(CURRENT_NESTED_VMCS, 0_u64);
    page.write(NESTED_ENLIGHTENMENTS_CONTROL, 0_u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consume::MsrRefused;
    use crate::consume::model::ModelL0;

    const PAGE: u64 = 0x3000;
    const CPU: u32 = 5;

    /// How L0 is bent, and what is to come of it.
    type Refusal = (fn(&ModelL0), Obstacle);

    fn join(l0: &ModelL0) -> VirtualProcessor {
        VirtualProcessor::join(&l0.cpu(CPU), &l0.capabilities(), l0.page(PAGE))
    }

    #[test]
    fn index_is_what_l0_says_and_not_our_number() {
        assert_eq!(join(&ModelL0::everything()).vp_index(), Ok(0x40 + CPU));
    }

    #[test]
    fn assist_page_is_in_place_until_the_processor_leaves() {
        let l0 = ModelL0::everything();
        let processor = join(&l0);
        assert_eq!(processor.assist_page().map(SharedPage::address), Some(PAGE));
        assert_eq!(l0.msrs.value(CPU, VP_ASSIST_PAGE), PAGE | 1);
        assert_eq!(processor.leave(&l0.cpu(CPU)).map(|page| page.address()), Some(PAGE));
        assert_eq!(l0.msrs.value(CPU, VP_ASSIST_PAGE), 0);
    }

    /// L0's own page, where it has one, comes with the content that it had when it was last in place.
    #[test]
    fn enlightened_vmcs_of_an_earlier_kernel_is_forgotten() {
        let l0 = ModelL0::everything();
        let left = l0.page(0x9000);
        l0.leave(CPU, VP_ASSIST_PAGE, 0x9001);
        assert_eq!(l0.enlightened_vmcs(CPU), Some(0x7000));
        let processor = join(&l0);
        assert_eq!(l0.enlightened_vmcs(CPU), None);
        let page = processor.assist_page().unwrap();
        assert_eq!(page.read::<u64>(0x20), 0, "nested enlightenments control");
        assert_eq!(page.read::<u64>(0x30), 0, "current nested VMCS");
        assert_eq!(left.read::<u64>(0x30), 0, "our page below it is there again");
    }

    #[test]
    fn enlightened_vmcs_is_not_left_to_a_next_kernel() {
        let l0 = ModelL0::everything();
        let mut processor = join(&l0);
        let page = processor.assist_page.as_mut().unwrap();
        page.write(0x20, 1_u64);
        page.write(0x28, 1_u8);
        page.write(0x30, 0x8000_u64);
        assert_eq!(l0.enlightened_vmcs(CPU), Some(0x8000));
        let page = processor.leave(&l0.cpu(CPU)).unwrap();
        assert_eq!([0x20, 0x28, 0x30].map(|offset| page.read::<u64>(offset)), [0; 3]);
        // The next kernel enables its own page, and finds in it what L0 kept.
        let theirs = l0.page(0xB000);
        l0.cpu(CPU).write(VP_ASSIST_PAGE, 0xB001).unwrap();
        assert_eq!([0x20, 0x28, 0x30].map(|offset| theirs.read::<u64>(offset)), [0; 3]);
        assert_eq!(l0.enlightened_vmcs(CPU), None);
    }

    #[test]
    fn refusal_is_reported_and_the_page_not_in_use() {
        let refused = Obstacle::Refused(MsrRefused { msr: VP_ASSIST_PAGE });
        let not_taken = Obstacle::NotTaken { msr: VP_ASSIST_PAGE };
        let refusals: [Refusal; 3] = [
            (|l0| l0.msrs.refuse_writes(CPU, VP_ASSIST_PAGE), refused),
            (|l0| l0.msrs.refuse_reads(CPU, VP_ASSIST_PAGE), refused),
            (|l0| l0.msrs.forget_writes(CPU, VP_ASSIST_PAGE), not_taken),
        ];
        for (refuse, obstacle) in refusals {
            let l0 = ModelL0::everything();
            refuse(&l0);
            let processor = join(&l0);
            assert_eq!(processor.assist_page_outcome(), Err(obstacle));
            assert!(processor.assist_page().is_none());
            assert_eq!(processor.vp_index(), Ok(0x40 + CPU));
            assert_eq!(l0.msrs.enabled(), []);
        }
    }

    #[test]
    fn page_that_l0_does_not_give_back_stays_away() {
        let l0 = ModelL0::everything();
        let processor = join(&l0);
        l0.msrs.forget_writes(CPU, VP_ASSIST_PAGE);
        assert!(processor.leave(&l0.cpu(CPU)).is_none());
        assert_eq!(l0.enlightened_vmcs(CPU), None);
    }

    #[test]
    fn page_that_was_given_back_can_be_used_again() {
        let l0 = ModelL0::everything();
        let page = join(&l0).leave(&l0.cpu(CPU)).unwrap();
        let processor = VirtualProcessor::join(&l0.cpu(CPU), &l0.capabilities(), page);
        assert_eq!(processor.assist_page_outcome(), Ok(()));
        assert!(processor.leave(&l0.cpu(CPU)).is_some());
    }
}
