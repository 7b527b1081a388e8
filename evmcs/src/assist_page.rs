// SPDX-License-Identifier: MIT OR Apache-2.0
//! The part of a VP assist page that tells L0 which enlightened VMCS the next entry uses.

// UNSAFETY: writes a page that L0 reads.
#![expect(unsafe_code)]

use crate::region::VmcsPointer;
use core::mem::offset_of;
use core::ptr::NonNull;
use hyperv_bindings::assist_page::VpAssistPage;

/// One byte.
const ENLIGHTEN_VM_ENTRY: usize = offset_of!(VpAssistPage, enlighten_vm_entry);

/// A GPA.
const CURRENT_NESTED_VMCS: usize = offset_of!(VpAssistPage, current_nested_vmcs);

/// EnlightenVmEntry and CurrentNestedVmcs of one CPU's VP assist page.
///
/// As with [`VmcsRegion`](crate::VmcsRegion) there is no reference to the page, which L0 reads and in other places
/// writes, but a pointer through which two fields are written as volatile.
#[derive(Debug)]
pub struct AssistPage {
    page: NonNull<u8>,
}

// SAFETY: the two fields belong to this value alone, and the page is mapped on every CPU.
unsafe impl Send for AssistPage {}

impl AssistPage {
    /// The VP assist page at `page`.
    ///
    /// # Safety
    /// `page` is this CPU's VP assist page, 4096 bytes, aligned, zeroed before it was enabled in HV_X64_MSR_VP_ASSIST_PAGE,
    /// and stays mapped and enabled for as long as the value exists. Nobody else writes the two fields.
    pub unsafe fn new(page: NonNull<u8>) -> Self {
        assert!(page.addr().get().is_multiple_of(4096), "a VP assist page is a whole page");
        Self { page }
    }

    /// Makes L0 take `vmcs` at the next entry.
    pub(crate) fn select(&mut self, vmcs: VmcsPointer) {
        self.set(vmcs.address(), true);
    }

    /// Makes L0 take the VMCS that VMPTRLD loaded, as on a CPU that never had an enlightened one.
    pub(crate) fn withdraw(&mut self) {
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
