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
