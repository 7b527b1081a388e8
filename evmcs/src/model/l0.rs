// SPDX-License-Identifier: MIT OR Apache-2.0
//! A model of an L0 that takes enlightened VMCSs, and reads of them as little as it may.
//!
//! Each CPU keeps a copy of every enlightened VMCS that it has entered, forever, whatever happened to it since, and
//! takes a field from the copy whenever the clean bits permit it, on VMLAUNCH too.

use super::Entry;
use super::Outcome;
use super::Page;
use super::View;
use super::check_launch_state;
use super::is_guest_state;
use super::writable;
use crate::VM_ENTRY_FAILURE;
use crate::instructions::Failed;
use crate::instructions::VmFail;
use crate::instructions::VmInstructionError;
use crate::instructions::VmcsInstructions;
use crate::region::VmcsPointer;
use hyperv_bindings::enlightened_vmcs::CleanFields;
use hyperv_bindings::enlightened_vmcs::EnlightenedField;
use std::collections::HashMap;
use std::collections::HashSet;

const EXIT_REASON: usize = 0x2B4;
const CLEAN_FIELDS: usize = 0x338;
const NESTED_FEATURES: usize = 0x20;
const ENLIGHTEN_VM_ENTRY: usize = 0x28;
const CURRENT_NESTED_VMCS: usize = 0x30;

/// One CPU as L0 gives it to us. Of the VMCS instructions only VMCLEAR works.
#[derive(Debug)]
pub(crate) struct L0 {
    assist_page: Page,
    copies: HashMap<u64, View>,
    launched: HashSet<u64>,
    /// The one that was entered last, unless it was released since.
    entered: Option<u64>,
}

impl L0 {
    pub(crate) fn new(assist_page: Page) -> Self {
        Self { assist_page, copies: HashMap::new(), launched: HashSet::new(), entered: None }
    }

    /// The enlightened VMCS that the VP assist page names, if it names one.
    pub(crate) fn selected(&self) -> Option<u64> {
        let enabled = self.assist_page.read(ENLIGHTEN_VM_ENTRY, 1) == 1;
        enabled.then(|| self.assist_page.read(CURRENT_NESTED_VMCS, 8))
    }

    /// The enlightened VMCS that direct flushes reach on this CPU, if they reach any: one that was entered, is still selected and was
    /// not released, where the VP assist page allows it.
    pub(crate) fn flushed_directly(&self) -> Option<u64> {
        let allowed = self.assist_page.read(NESTED_FEATURES, 4) & 1 != 0;
        self.entered.filter(|&entered| allowed && self.selected() == Some(entered))
    }

    /// The clean bits of the selected VMCS.
    pub(crate) fn clean_fields(&self) -> CleanFields {
        let address = self.selected().expect("no enlightened VMCS is selected");
        CleanFields::from_bits(Page::at(address).read(CLEAN_FIELDS, 4) as u32)
    }

    fn take(&self, page: Page, copy: Option<&View>, msr_bitmap: u64) -> View {
        let clean = page.read(CLEAN_FIELDS, 4) as u32;
        let copy_for = |group: CleanFields| copy.filter(|_| clean & group.into_bits() != 0);
        let fields = writable().map(|field| {
            let value = match copy_for(field.group) {
                Some(copy) => copy.fields[&field.encoding],
                None => get(page, field),
            };
            (field.encoding, value)
        });
        View {
            fields: fields.collect(),
            msr_bitmap: copy_for(CleanFields::MSR_BITMAP).map_or(msr_bitmap, |copy| copy.msr_bitmap),
        }
    }
}

fn get(page: Page, field: &EnlightenedField) -> u64 {
    page.read(field.offset.into(), field.size.into())
}

fn put(page: Page, field: &EnlightenedField, value: u64) {
    page.write(field.offset.into(), field.size.into(), value);
}

impl Entry for L0 {
    fn enter(
        &mut self,
        resume: bool,
        msr_bitmap: u64,
        outcome: Outcome,
        guest: &dyn Fn(u16) -> u64,
    ) -> Result<View, VmFail> {
        let address = self.selected().expect("no enlightened VMCS is selected");
        check_launch_state(self.launched.contains(&address), resume)?;
        let page = Page::at(address);
        assert_eq!(page.read(0, 4), 1, "version");
        let reason = match outcome {
            // Nothing was read, whatever the clean bits say.
            Outcome::VmFail => return Err(VmFail::Valid(VmInstructionError::INVALID_CONTROL_FIELDS)),
            Outcome::EntryFailure => VM_ENTRY_FAILURE | 33,
            Outcome::Exit => 10,
        };
        let view = self.take(page, self.copies.get(&address), msr_bitmap);
        let mut copy = view.clone();
        if outcome == Outcome::Exit {
            self.launched.insert(address);
            for field in writable().filter(|field| is_guest_state(field.encoding)) {
                put(page, field, guest(field.encoding));
                copy.fields.insert(field.encoding, get(page, field));
            }
        }
        self.copies.insert(address, copy);
        self.entered = Some(address);
        page.write(EXIT_REASON, 4, reason.into());
        Ok(view)
    }
}

impl VmcsInstructions for L0 {
    fn vmread(&self, _encoding: u16) -> Result<u64, Failed> {
        panic!("VMREAD with an enlightened VMCS")
    }

    fn vmwrite(&mut self, _encoding: u16, _value: u64) -> Result<(), Failed> {
        panic!("VMWRITE with an enlightened VMCS")
    }

    fn failure(&self) -> VmFail {
        panic!("VMREAD with an enlightened VMCS")
    }

    /// Leaves the copy as it is. Without EnlightenVmEntry L0 takes any VMCS for an ordinary one of its own making,
    /// and writes a launch state into it.
    fn vmclear(&mut self, vmcs: VmcsPointer) -> Result<(), VmFail> {
        if self.selected().is_none() {
            Page::at(vmcs.address()).write(8, 4, 0);
        }
        self.launched.remove(&vmcs.address());
        self.entered = self.entered.filter(|&entered| entered != vmcs.address());
        Ok(())
    }

    fn vmptrld(&mut self, _vmcs: VmcsPointer) -> Result<(), VmFail> {
        panic!("VMPTRLD with an enlightened VMCS")
    }
}
