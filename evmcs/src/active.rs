// SPDX-License-Identifier: MIT OR Apache-2.0
//! The current VMCS of a CPU: the one that can be read, written and entered.

use crate::field::Access;
use crate::field::Field;
use crate::field::ReadWrite;
use crate::field::VM_EXIT_REASON;
use crate::field::Width;
use crate::instructions::Failed;
use crate::instructions::VmcsInstructions;
use crate::mutation::Mutation;
use crate::mutation::cleared_by_write;
use crate::native::NativeInstructions;
use crate::place::Place;
use crate::region::EnlightenedPage;
use crate::vmcs::CLEAN_FIELDS;
use hyperv_bindings::enlightened_vmcs::CleanFields;

/// Bit 31 of the exit reason: the entry failed while it loaded the guest's state (SDM Vol. 3C, *VM-Entry Failures During
/// or After Loading Guest State*).
pub const VM_ENTRY_FAILURE: u32 = 1 << 31;

/// The current VMCS of a CPU, made so by [`Vmcs::activate`](crate::Vmcs::activate).
#[derive(Debug)]
pub struct Active<'a, I = NativeInstructions> {
    /// The one branch that each access takes: with a page, the fields are there.
    page: Option<EnlightenedPage<'a>>,
    launched: &'a mut bool,
    instructions: &'a mut I,
}

impl<'a, I: VmcsInstructions> Active<'a, I> {
    pub(crate) fn new(
        page: Option<EnlightenedPage<'a>>,
        launched: &'a mut bool,
        instructions: &'a mut I,
    ) -> Self {
        Self { page, launched, instructions }
    }

    /// Reads a field.
    ///
    /// # Panics
    /// The field is not in the enlightened VMCS, or this processor does not have it: controls that need such a field
    /// are dropped when [negotiated](crate::controls::negotiate), so it was our own mistake to use it.
    #[inline(always)]
    #[track_caller]
    pub fn read<W: Width, A: Access>(&self, field: Field<W, A>) -> W {
        match self.page {
            Some(page) => page.read(place_in_page(field).offset()),
            None => match self.instructions.vmread(field.encoding()) {
                Ok(value) => W::from_u64(value),
                Err(Failed) => read_failed(self.instructions, field.name()),
            },
        }
    }

    /// Writes a field.
    ///
    /// # Panics
    /// As [`read`](Self::read).
    #[inline(always)]
    #[track_caller]
    pub fn write<W: Width>(&mut self, field: Field<W, ReadWrite>, value: W) {
        match self.page {
            Some(page) => {
                let place = place_in_page(field);
                // Before the value: there is no moment at which L0 could find the new value and take the old one.
                mark_dirty(page, cleared_by_write(field.encoding(), place.group()));
                page.write(place.offset(), value);
            }
            None => {
                if let Err(Failed) = self.instructions.vmwrite(field.encoding(), value.into_u64()) {
                    write_failed(self.instructions, field.name())
                }
            }
        }
    }

    /// Whether the next entry is a VMRESUME; if not, it is a VMLAUNCH.
    ///
    /// While it is `false` this CPU has not run the VMCS since it came here. So the per-CPU host fields have to be
    /// written, and INVVPID single-context done for its VPID.
    #[inline(always)]
    pub fn launched(&self) -> bool {
        *self.launched
    }

    /// Notes a VM exit, and returns its reason, [`VM_EXIT_REASON`].
    ///
    /// To be called once after each VM exit, before anything is written, a failed entry that exits (the reason has
    /// [`VM_ENTRY_FAILURE`] set) included. Never after VMfail: L0 need not have read anything then.
    #[inline(always)]
    pub fn note_exit(&mut self) -> u32 {
        if let Some(page) = self.page {
            page.write(CLEAN_FIELDS, CleanFields::ALL.into_bits());
        }
        let reason = self.read(VM_EXIT_REASON);
        if !*self.launched {
            self.note_launch(reason);
        }
        reason
    }

    /// An entry that fails leaves the launch state as it was.
    #[cold]
    fn note_launch(&mut self, reason: u32) {
        *self.launched = reason & VM_ENTRY_FAILURE == 0;
    }

    /// Notes a change in the page of the MSR bitmap, which L0 reads anew at the next entry.
    ///
    /// Each VMCS that shares the bitmap has to be told before it is entered. Those that are not active are told
    /// later: let the bitmap's owner count its changes, and let each virtual CPU keep the count that it has seen;
    /// where they differ before an entry, call this.
    #[inline]
    pub fn note_msr_bitmap_change(&mut self) {
        if let Some(page) = self.page
            && !Mutation::MsrBitmap.is_made()
        {
            mark_dirty(page, CleanFields::MSR_BITMAP);
        }
    }
}

#[inline(always)]
fn mark_dirty(page: EnlightenedPage<'_>, group: CleanFields) {
    if group != CleanFields::NONE {
        page.write(CLEAN_FIELDS, page.read::<u32>(CLEAN_FIELDS) & !group.into_bits());
    }
}

#[inline(always)]
#[track_caller]
fn place_in_page<W, A>(field: Field<W, A>) -> Place {
    match field.place() {
        Some(place) => place,
        None => no_place(field.name()),
    }
}

#[cold]
#[inline(never)]
#[track_caller]
fn no_place(field: &str) -> ! {
    panic!("{field} is not in the enlightened VMCS: the control that needs it should have been dropped")
}

#[cold]
#[inline(never)]
#[track_caller]
fn read_failed<I: VmcsInstructions>(instructions: &I, field: &str) -> ! {
    panic!("VMREAD of {field}: {}", instructions.failure())
}

#[cold]
#[inline(never)]
#[track_caller]
fn write_failed<I: VmcsInstructions>(instructions: &I, field: &str) -> ! {
    panic!("VMWRITE of {field}: {}", instructions.failure())
}

#[cfg(test)]
mod tests;
