// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tests run on: memory, a model processor and a model L0, both of which do the worst that they may.

// UNSAFETY: makes regions out of the heap, and plays the part of whoever else reads and writes them.
#![expect(unsafe_code)]

pub(crate) mod l0;
pub(crate) mod processor;

use crate::AssistPage;
use crate::VmcsRegion;
use crate::active::Active;
use crate::field::Field;
use crate::field::ReadOnly;
use crate::instructions::VmFail;
use crate::instructions::VmInstructionError;
use crate::instructions::VmcsInstructions;
use crate::place::size_of_field;
use core::ptr::NonNull;
use hyperv_bindings::enlightened_vmcs::EnlightenedField;
use hyperv_bindings::enlightened_vmcs::FIELDS;
use std::collections::HashMap;

/// How a VM entry ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The guest runs, and exits.
    Exit,
    /// The entry fails while it loads the guest's state, and exits.
    EntryFailure,
    /// The instruction fails.
    VmFail,
}

/// What an entry uses: the fields of the VMCS by their encoding, and the content of the MSR bitmap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) fields: HashMap<u16, u64>,
    pub(crate) msr_bitmap: u64,
}

/// What a model CPU does beyond the instructions: it enters the guest.
pub(crate) trait Entry: VmcsInstructions {
    /// VMRESUME or VMLAUNCH with this content of the MSR bitmap. Returns what the CPU entered with; `guest` makes what
    /// the guest leaves in a field of its state at an exit.
    fn enter(
        &mut self,
        resume: bool,
        msr_bitmap: u64,
        outcome: Outcome,
        guest: &dyn Fn(u16) -> u64,
    ) -> Result<View, VmFail>;
}

/// The launch state's part in an entry.
fn check_launch_state(launched: bool, resume: bool) -> Result<(), VmFail> {
    match (launched, resume) {
        (false, true) => Err(VmFail::Valid(VmInstructionError::VMRESUME_NON_LAUNCHED_VMCS)),
        (true, false) => Err(VmFail::Valid(VmInstructionError::VMLAUNCH_NON_CLEAR_VMCS)),
        _ => Ok(()),
    }
}

/// A page of memory whose physical address is its address. It is never freed, as the processor may still have it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page(NonNull<u8>);

#[repr(align(4096))]
struct Zeroed {
    _bytes: [u8; 4096],
}

impl Page {
    pub(crate) fn new() -> Self {
        Self(NonNull::from(Box::leak(Box::new(Zeroed { _bytes: [0; 4096] }))).cast())
    }

    /// The page at an address that the code under test has handed over.
    pub(crate) fn at(address: u64) -> Self {
        Self(NonNull::new(core::ptr::with_exposed_provenance_mut(address as usize)).unwrap())
    }

    fn address(self) -> u64 {
        self.0.as_ptr().expose_provenance() as u64
    }

    pub(crate) fn region(self) -> VmcsRegion {
        // SAFETY: the page is whole, never freed, and its physical address is what the models say it is.
        unsafe { VmcsRegion::new(self.0, self.address()) }
    }

    pub(crate) fn assist_page(self) -> AssistPage {
        // SAFETY: the page is whole, zeroed, never freed and the model L0 takes it for one.
        unsafe { AssistPage::new(self.0) }
    }

    /// Reads up to 8 bytes, as an integer.
    pub(crate) fn read(self, offset: usize, size: usize) -> u64 {
        let mut bytes = [0; 8];
        for (i, byte) in bytes[..size].iter_mut().enumerate() {
            // SAFETY: inside of a page that is never freed; the tests have one thread and no references to it.
            *byte = unsafe { self.0.add(offset + i).read_volatile() };
        }
        u64::from_le_bytes(bytes)
    }

    /// Writes the low bytes of an integer.
    pub(crate) fn write(self, offset: usize, size: usize, value: u64) {
        for (i, byte) in value.to_le_bytes()[..size].iter().enumerate() {
            // SAFETY: as for `read`.
            unsafe { self.0.add(offset + i).write_volatile(*byte) };
        }
    }
}

/// Cuts a value to the width of a field.
pub(crate) fn fit(encoding: u16, value: u64) -> u64 {
    value & (u64::MAX >> (64 - 8 * size_of_field(encoding)))
}

/// The fields that we write, of those that both backings have.
pub(crate) fn writable() -> impl Iterator<Item = &'static EnlightenedField> {
    FIELDS.iter().filter(|field| !is_exit_information(field.encoding))
}

/// Whether only the processor writes the field.
pub(crate) fn is_exit_information(encoding: u16) -> bool {
    (encoding >> 10) & 0b11 == 1
}

/// Whether the field is guest state, which an exit changes.
pub(crate) fn is_guest_state(encoding: u16) -> bool {
    (encoding >> 10) & 0b11 == 2
}

/// Writes a field that is known by its encoding only.
pub(crate) fn write<I: VmcsInstructions>(vmcs: &mut Active<'_, I>, encoding: u16, value: u64) {
    match size_of_field(encoding) {
        2 => vmcs.write(Field::<u16>::new("any", encoding), value as u16),
        4 => vmcs.write(Field::<u32>::new("any", encoding), value as u32),
        _ => vmcs.write(Field::<u64>::new("any", encoding), value),
    }
}

/// Reads a field that is known by its encoding only.
pub(crate) fn read<I: VmcsInstructions>(vmcs: &Active<'_, I>, encoding: u16) -> u64 {
    match (size_of_field(encoding), is_exit_information(encoding)) {
        (2, _) => vmcs.read(Field::<u16>::new("any", encoding)).into(),
        (4, false) => vmcs.read(Field::<u32>::new("any", encoding)).into(),
        (4, true) => vmcs.read(Field::<u32, ReadOnly>::new("any", encoding)).into(),
        (_, false) => vmcs.read(Field::<u64>::new("any", encoding)),
        (_, true) => vmcs.read(Field::<u64, ReadOnly>::new("any", encoding)),
    }
}
