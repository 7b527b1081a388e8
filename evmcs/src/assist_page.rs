// SPDX-License-Identifier: MIT OR Apache-2.0
//! The part of a VP assist page that tells L0 which enlightened VMCS the next entry uses.

// UNSAFETY: writes a page that L0 reads.
#![expect(unsafe_code)]

use crate::region::VmcsPointer;
use core::mem::offset_of;
use core::ptr::NonNull;
use hyperv_bindings::assist_page::NestedFeatures;
use hyperv_bindings::assist_page::VpAssistPage;

/// The first half of NestedEnlightenmentsControl, a `u32`.
const NESTED_FEATURES: usize = offset_of!(VpAssistPage, nested_enlightenments_control.features);

/// One byte.
const ENLIGHTEN_VM_ENTRY: usize = offset_of!(VpAssistPage, enlighten_vm_entry);

/// A GPA.
const CURRENT_NESTED_VMCS: usize = offset_of!(VpAssistPage, current_nested_vmcs);

/// NestedEnlightenmentsControl, EnlightenVmEntry and CurrentNestedVmcs of one CPU's VP assist page.
///
/// As with [`VmcsRegion`](crate::VmcsRegion) there is no reference to the page, which L0 reads and in other places
/// writes, but a pointer through which three fields are accessed as volatile.
#[derive(Debug)]
pub struct AssistPage {
    page: NonNull<u8>,
}

// SAFETY: the three fields belong to this value alone, and the page is mapped on every CPU.
unsafe impl Send for AssistPage {}

impl AssistPage {
    /// The VP assist page at `page`.
    ///
    /// # Safety
    /// `page` is this CPU's VP assist page, 4096 bytes, aligned, zeroed before it was enabled in HV_X64_MSR_VP_ASSIST_PAGE,
    /// and stays mapped and enabled for as long as the value exists. Nobody else writes the three fields.
    pub unsafe fn new(page: NonNull<u8>) -> Self {
        assert!(page.addr().get().is_multiple_of(4096), "a VP assist page is a whole page");
        Self { page }
    }

    /// Whether L0 handles the flush hypercalls of this CPU's guests itself (TLFS, *Direct Virtual Flush*), of those whose
    /// enlightened VMCS says so too. [`VmcsSlot::retire`](crate::VmcsSlot::retire) ends it.
    pub fn set_direct_hypercall(&mut self, on: bool) {
        // SAFETY: `new` vouches for the page; the offset is inside of it and aligned.
        unsafe {
            let features = self.page.add(NESTED_FEATURES).cast::<u32>();
            let before = NestedFeatures::from_bits(features.read_volatile());
            features.write_volatile(before.with_direct_hypercall(on).into_bits());
        }
    }

    /// Makes L0 take `vmcs` at the next entry.
    pub(crate) fn select(&mut self, vmcs: VmcsPointer) {
        self.set(vmcs.address(), true);
    }

    /// Makes L0 take the VMCS that VMPTRLD loaded, as on a CPU that never had an enlightened one.
    pub(crate) fn withdraw(&mut self) {
        self.set_direct_hypercall(false);
        self.set(0, false);
    }

    fn set(&mut self, current_nested_vmcs: u64, enlighten_vm_entry: bool) {
        // SAFETY: `new` vouches for the page; both offsets are inside of it and aligned.
        unsafe {
            self.page.add(CURRENT_NESTED_VMCS).cast::<u64>().write_volatile(current_nested_vmcs);
            self.page.add(ENLIGHTEN_VM_ENTRY).write_volatile(enlighten_vm_entry.into());
        }
    }
}
