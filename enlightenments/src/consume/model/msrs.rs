// SPDX-License-Identifier: MIT OR Apache-2.0
//! The model L0's synthetic MSRs, and the overlay pages that some of them place.

use super::ModelL0;
use crate::consume::MsrRefused;
use crate::consume::SyntheticMsrs;
use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

const GUEST_OS_ID: u32 = 0x4000_0000;
const HYPERCALL: u32 = 0x4000_0001;
const VP_INDEX: u32 = 0x4000_0002;
const ASSIST_PAGE: u32 = 0x4000_0073;

/// The bits of a page MSR that are neither the page nor mean anything: to be written as they were read.
const PRESERVED: u64 = 0xFFE;
const LOCKED: u64 = 2;

/// Whose state a partition-wide MSR is kept with.
const PARTITION: u32 = u32::MAX;

/// What is in the MSRs, and how L0 departs from what it offers.
#[derive(Debug, Default)]
pub(in crate::consume) struct Msrs {
    values: RefCell<BTreeMap<(u32, u32), u64>>,
    overlays: RefCell<BTreeMap<(u32, u32), Overlay>>,
    written: RefCell<Vec<(u32, u64)>>,
    accesses: Cell<usize>,
    unreadable: RefCell<BTreeSet<(u32, u32)>>,
    unwritable: RefCell<BTreeSet<(u32, u32)>>,
    deaf: RefCell<BTreeSet<(u32, u32)>>,
}

/// L0's own page behind an MSR. While it is in place it has the content of our page, and our page has its.
struct Overlay([u8; 4096]);

impl std::fmt::Debug for Overlay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Overlay")
    }
}

impl Msrs {
    /// Has reads of an MSR on one CPU end with #GP.
    pub(in crate::consume) fn refuse_reads(&self, cpu: u32, msr: u32) {
        self.unreadable.borrow_mut().insert((owner(cpu, msr), msr));
    }

    /// Has writes of an MSR on one CPU end with #GP.
    pub(in crate::consume) fn refuse_writes(&self, cpu: u32, msr: u32) {
        self.unwritable.borrow_mut().insert((owner(cpu, msr), msr));
    }

    /// Has writes of an MSR on one CPU accepted and forgotten.
    pub(in crate::consume) fn forget_writes(&self, cpu: u32, msr: u32) {
        self.deaf.borrow_mut().insert((owner(cpu, msr), msr));
    }

    /// What an MSR holds, as nobody can refuse to tell.
    pub(in crate::consume) fn value(&self, cpu: u32, msr: u32) -> u64 {
        self.values.borrow().get(&(owner(cpu, msr), msr)).copied().unwrap_or(0)
    }

    /// Whether an MSR on one CPU is not answered as it should be.
    pub(in crate::consume) fn is_bent(&self, cpu: u32, msr: u32) -> bool {
        let bent = |set: &RefCell<BTreeSet<_>>| set.borrow().contains(&(owner(cpu, msr), msr));
        bent(&self.unreadable) || bent(&self.unwritable) || bent(&self.deaf)
    }

    /// The MSRs that have something enabled, with their CPUs, and the name of the guest if there is one.
    pub(in crate::consume) fn enabled(&self) -> Vec<(u32, u32)> {
        let values = self.values.borrow();
        let enabled = values.iter().filter(|((_, msr), value)| match *msr {
            GUEST_OS_ID => **value != 0,
            0x4000_0106 => **value & 1 << 16 != 0,
            _ => **value & 1 != 0,
        });
        enabled.map(|(key, _)| *key).collect()
    }

    /// Every write of ours that was accepted, in order.
    pub(in crate::consume) fn written(&self) -> Vec<(u32, u64)> {
        self.written.borrow().clone()
    }

    /// How often any was read or written, or it was tried.
    pub(in crate::consume) fn accesses(&self) -> usize {
        self.accesses.get()
    }

    fn count(&self) {
        self.accesses.set(self.accesses.get() + 1);
    }

    /// The page that an MSR has in place.
    pub(super) fn page(&self, cpu: u32, msr: u32) -> Option<u64> {
        let value = self.value(cpu, msr);
        (value & 1 != 0).then_some(value & !0xFFF)
    }

    fn set(&self, cpu: u32, msr: u32, value: u64) {
        self.values.borrow_mut().insert((owner(cpu, msr), msr), value);
    }
}

impl ModelL0 {
    /// Leaves a value in an MSR from an earlier time, and in its overlay page, if it places one, an enlightened VMCS.
    pub(in crate::consume) fn leave(&self, cpu: u32, msr: u32, value: u64) {
        self.toggle_overlay(cpu, msr);
        self.msrs.set(cpu, msr, value);
        if msr == ASSIST_PAGE {
            let mut content = [0; 4096];
            content[0x20] = 1;
            content[0x28] = 1;
            content[0x31] = 0x70;
            self.msrs.overlays.borrow_mut().insert((cpu, msr), Overlay(content));
        }
        self.toggle_overlay(cpu, msr);
    }

    /// Puts an MSR's overlay in place or takes it away, as they are their own opposite.
    fn toggle_overlay(&self, cpu: u32, msr: u32) {
        if ![HYPERCALL, ASSIST_PAGE].contains(&msr) {
            return;
        }
        if let Some(page) = self.msrs.page(cpu, msr) {
            let mut overlays = self.msrs.overlays.borrow_mut();
            let overlay = overlays.entry((owner(cpu, msr), msr)).or_insert(Overlay([0; 4096]));
            self.memory.exchange(page, &mut overlay.0);
        }
    }

    fn read_msr(&self, cpu: u32, msr: u32) -> Option<u64> {
        let refused = self.msrs.unreadable.borrow().contains(&(owner(cpu, msr), msr));
        match msr {
            _ if refused || !self.is_offered(msr) => None,
            // Not the number that we count it by.
            VP_INDEX => Some(u64::from(cpu) + 0x40),
            _ => Some(self.msrs.value(cpu, msr)),
        }
    }

    fn write_msr(&self, cpu: u32, msr: u32, value: u64) -> Option<()> {
        let old = self.msrs.value(cpu, msr);
        let refused = self.msrs.unwritable.borrow().contains(&(owner(cpu, msr), msr));
        if refused || !self.is_offered(msr) || msr == VP_INDEX {
            return None;
        }
        if [HYPERCALL, ASSIST_PAGE].contains(&msr) && !self.may_place(msr, old, value) {
            return None;
        }
        self.msrs.written.borrow_mut().push((msr, value));
        let unnamed = msr == HYPERCALL && self.msrs.value(cpu, GUEST_OS_ID) == 0;
        if unnamed || self.msrs.deaf.borrow().contains(&(owner(cpu, msr), msr)) {
            return Some(());
        }
        self.toggle_overlay(cpu, msr);
        self.msrs.set(cpu, msr, value);
        self.toggle_overlay(cpu, msr);
        if msr == GUEST_OS_ID && value == 0 {
            self.toggle_overlay(cpu, HYPERCALL);
            self.msrs.set(cpu, HYPERCALL, self.msrs.value(cpu, HYPERCALL) & !1);
        }
        Some(())
    }

    fn may_place(&self, msr: u32, old: u64, value: u64) -> bool {
        let locked = msr == HYPERCALL && old & LOCKED != 0;
        let in_memory = value & 1 == 0 || self.memory.has(value & !0xFFF);
        !locked && in_memory && old & PRESERVED == value & PRESERVED
    }

    fn is_offered(&self, msr: u32) -> bool {
        offered_by(msr).is_some_and(|privilege| self.offer.privileges() & 1 << privilege != 0)
    }
}

/// The bit of leaf 0x40000003's EAX that lets a partition use an MSR.
fn offered_by(msr: u32) -> Option<u32> {
    Some(match msr {
        GUEST_OS_ID | HYPERCALL => 5,
        VP_INDEX => 6,
        0x4000_0021 => 9,
        0x4000_0070..=ASSIST_PAGE => 4,
        0x4000_0080..=0x4000_009F => 2,
        0x4000_00B0..=0x4000_00B7 => 3,
        0x4000_0106..=0x4000_0108 => 13,
        _ => return None,
    })
}

fn owner(cpu: u32, msr: u32) -> u32 {
    match msr {
        GUEST_OS_ID | HYPERCALL | 0x4000_0021 | 0x4000_0106..=0x4000_0108 => PARTITION,
        _ => cpu,
    }
}

/// One CPU's view of the MSRs.
#[derive(Clone, Copy, Debug)]
pub(in crate::consume) struct ModelMsrs<'a> {
    l0: &'a ModelL0,
    cpu: u32,
}

impl<'a> ModelMsrs<'a> {
    pub(super) fn new(l0: &'a ModelL0, cpu: u32) -> Self {
        Self { l0, cpu }
    }
}

impl SyntheticMsrs for ModelMsrs<'_> {
    fn read(&self, msr: u32) -> Result<u64, MsrRefused> {
        self.l0.msrs.count();
        self.l0.read_msr(self.cpu, msr).ok_or(MsrRefused { msr })
    }

    fn write(&self, msr: u32, value: u64) -> Result<(), MsrRefused> {
        self.l0.msrs.count();
        self.l0.write_msr(self.cpu, msr, value).ok_or(MsrRefused { msr })
    }
}
