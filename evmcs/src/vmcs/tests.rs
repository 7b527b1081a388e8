// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life cycle of a VMCS, on both backings and on models that keep what they may.

mod direct_flush;

use super::*;
use crate::field::EXCEPTION_BITMAP;
use crate::field::GUEST_RIP;
use crate::field::HOST_ES_SELECTOR;
use crate::field::PML_ADDRESS;
use crate::model::Entry;
use crate::model::Outcome;
use crate::model::Page;
use crate::model::l0::L0;
use crate::model::processor::Memory;
use crate::model::processor::Processor;
use crate::model::processor::REVISION;
use crate::slot::StillResident;

fn native_slots() -> [VmcsSlot<Processor>; 2] {
    let memory = Memory::default();
    [0, 1].map(|cpu| VmcsSlot::native(cpu, Processor::new(&memory)))
}

fn native() -> Vmcs {
    Vmcs::native(Page::new().region(), REVISION)
}

fn enlightened_slot(cpu: u32) -> VmcsSlot<L0> {
    let assist_page = Page::new();
    VmcsSlot::enlightened(cpu, L0::new(assist_page), assist_page.assist_page())
}

fn enlightened() -> Vmcs {
    Vmcs::enlightened(Page::new().region(), &Enlightenments::default())
}

#[test]
fn activating_the_current_vmcs_executes_nothing() {
    let [mut slot, _] = native_slots();
    let mut vmcs = native();
    vmcs.activate(&mut slot).unwrap();
    let executed = slot.instructions.executed();
    vmcs.activate(&mut slot).unwrap();
    assert_eq!(slot.instructions.executed(), executed);
}

#[test]
fn a_resident_vmcs_is_refused_by_other_cpus_which_learn_where_it_is() {
    let [mut here, mut there] = native_slots();
    let mut vmcs = native();
    vmcs.activate(&mut there).unwrap().write(GUEST_RIP, 0x1000);
    let refused = VmcsError::ResidentElsewhere { cpu: 1, here: 0 };
    assert_eq!(vmcs.activate(&mut here).unwrap_err(), refused);
    assert_eq!(vmcs.release(&mut here), Err(refused));
    assert_eq!(here.instructions.executed(), 0);
    vmcs.release(&mut there).unwrap();
    assert_eq!(vmcs.activate(&mut here).unwrap().read(GUEST_RIP), 0x1000);
    assert_eq!(vmcs.resident_on(), Some(0));
}

#[test]
fn entries_launch_until_one_has_exited_and_again_after_a_release() {
    let [mut slot, _] = native_slots();
    let mut vmcs = native();
    let entry = |vmcs: &mut Vmcs, slot: &mut VmcsSlot<Processor>, outcome| {
        let resume = vmcs.activate(slot).unwrap().launched();
        if slot.instructions.enter(resume, 0, outcome, &|_| 0).is_ok() {
            vmcs.activate(slot).unwrap().note_exit();
        }
        resume
    };
    let outcomes =
        [Outcome::VmFail, Outcome::EntryFailure, Outcome::Exit, Outcome::EntryFailure, Outcome::VmFail];
    assert_eq!(
        outcomes.map(|outcome| entry(&mut vmcs, &mut slot, outcome)),
        [false, false, false, true, true]
    );
    vmcs.release(&mut slot).unwrap();
    assert_eq!([Outcome::Exit; 2].map(|outcome| entry(&mut vmcs, &mut slot, outcome)), [false, true]);
}

#[test]
fn two_on_a_cpu_take_turns_and_keep_their_launch_states() {
    let [mut slot, _] = native_slots();
    let mut vmcss = [native(), native()];
    vmcss[0].activate(&mut slot).unwrap().write(GUEST_RIP, 1);
    slot.instructions.enter(false, 0, Outcome::Exit, &|_| 7).unwrap();
    assert_eq!(vmcss[0].activate(&mut slot).unwrap().note_exit(), 10);
    vmcss[1].activate(&mut slot).unwrap().write(GUEST_RIP, 2);
    let first = vmcss[0].activate(&mut slot).unwrap();
    assert_eq!((first.launched(), first.read(GUEST_RIP)), (true, 7));
    let second = vmcss[1].activate(&mut slot).unwrap();
    assert_eq!((second.launched(), second.read(GUEST_RIP)), (false, 2));
}

#[test]
fn a_slot_takes_one_backing_only() {
    let [mut native_slot, _] = native_slots();
    let error = enlightened().activate(&mut native_slot).unwrap_err();
    assert_eq!(error, VmcsError::OtherBacking { vmcs: Backing::Enlightened, slot: Backing::Native });
    assert_eq!(native_slot.instructions.executed(), 0);
    let error = native().activate(&mut enlightened_slot(0)).unwrap_err();
    assert_eq!(error, VmcsError::OtherBacking { vmcs: Backing::Native, slot: Backing::Enlightened });
}

#[test]
fn a_wrong_revision_is_an_error_and_the_vmcs_stays_released() {
    let [mut slot, _] = native_slots();
    let mut vmcs = Vmcs::native(Page::new().region(), REVISION + 1);
    assert_eq!(vmcs.activate(&mut slot).unwrap_err(), VmcsError::Vmptrld(VmFail::Invalid));
    assert_eq!(vmcs.resident_on(), None);
    vmcs.into_region().unwrap();
}

#[test]
fn the_region_comes_back_only_after_release() {
    let mut slot = enlightened_slot(0);
    let mut vmcs = enlightened();
    vmcs.activate(&mut slot).unwrap();
    let mut vmcs = vmcs.into_region().unwrap_err();
    vmcs.release(&mut slot).unwrap();
    vmcs.into_region().unwrap();
}

#[test]
fn an_enlightened_slot_retires_when_the_last_resident_is_released() {
    let mut slot = enlightened_slot(3);
    let mut vmcss = [enlightened(), enlightened()];
    for vmcs in &mut vmcss {
        vmcs.activate(&mut slot).unwrap().write(EXCEPTION_BITMAP, 1);
    }
    // The current one goes first: that L0 must not take the other for an ordinary VMCS shows in its content below.
    vmcss[0].activate(&mut slot).unwrap().write(HOST_ES_SELECTOR, 8);
    vmcss[1].activate(&mut slot).unwrap();
    vmcss[1].release(&mut slot).unwrap();
    assert_eq!(slot.retire(), Err(StillResident { cpu: 3, residents: 1 }));
    assert!(slot.instructions.selected().is_some());
    vmcss[0].release(&mut slot).unwrap();
    slot.retire().unwrap();
    assert_eq!(slot.instructions.selected(), None);
    assert_eq!(vmcss[0].activate(&mut slot).unwrap().read(HOST_ES_SELECTOR), 8);
}

#[test]
fn an_enlightened_vmcs_starts_with_what_it_was_given_and_nothing_clean() {
    let page = Page::new();
    page.write(0x338, 4, 0xFFFF);
    let control = EnlightenmentsControl::new().with_msr_bitmap(true);
    let given = Enlightenments { control, vp_id: 3, vm_id: 4, partition_assist_page: 0x5000 };
    Vmcs::enlightened(page.region(), &given);
    let read = [(0, 4), (0x338, 4), (0x344, 4), (0x348, 4), (0x350, 8), (0x358, 8)]
        .map(|(at, size)| page.read(at, size));
    assert_eq!(read, [1, 0, 2, 3, 4, 0x5000]);
}

#[test]
#[should_panic(expected = "PML_ADDRESS is not in the enlightened VMCS")]
fn a_field_without_a_place_is_our_own_error() {
    enlightened().activate(&mut enlightened_slot(0)).unwrap().write(PML_ADDRESS, 0);
}

#[test]
fn the_current_one_is_the_one_that_was_activated_last_until_it_is_released() {
    let mut slot = enlightened_slot(0);
    let other_slot = enlightened_slot(1);
    let mut vmcss = [enlightened(), enlightened()];
    let current = |vmcss: &[Vmcs; 2], slot: &VmcsSlot<L0>| [0, 1].map(|i| vmcss[i].is_current(slot));
    assert_eq!(current(&vmcss, &slot), [false, false]);
    vmcss[0].activate(&mut slot).unwrap();
    assert_eq!(current(&vmcss, &slot), [true, false]);
    assert_eq!(current(&vmcss, &other_slot), [false, false]);
    vmcss[1].activate(&mut slot).unwrap();
    assert_eq!(current(&vmcss, &slot), [false, true], "resident, but not current");
    vmcss[0].release(&mut slot).unwrap();
    assert_eq!(current(&vmcss, &slot), [false, true]);
    vmcss[1].release(&mut slot).unwrap();
    assert_eq!(current(&vmcss, &slot), [false, false]);
}

#[test]
fn an_empty_native_slot_becomes_an_enlightened_one() {
    let assist_page = Page::new();
    let mut slot = VmcsSlot::native(2, L0::new(assist_page));
    slot.enlighten(assist_page.assist_page()).unwrap();
    assert_eq!(slot.backing(), Backing::Enlightened);
    let mut vmcs = enlightened();
    vmcs.activate(&mut slot).unwrap().write(GUEST_RIP, 1);
    slot.instructions.enter(false, 0, Outcome::Exit, &|_| 7).unwrap();
    assert_eq!(vmcs.activate(&mut slot).unwrap().read(GUEST_RIP), 7);
}

#[test]
fn a_slot_with_an_ordinary_vmcs_stays_native() {
    let [mut slot, _] = native_slots();
    let mut vmcs = native();
    vmcs.activate(&mut slot).unwrap();
    let refused = slot.enlighten(Page::new().assist_page());
    assert_eq!(refused, Err(StillResident { cpu: 0, residents: 1 }));
    assert_eq!(slot.backing(), Backing::Native);
    vmcs.release(&mut slot).unwrap();
    slot.enlighten(Page::new().assist_page()).unwrap();
}

#[test]
fn guests_call_l0_directly_until_it_is_switched_off_or_the_slot_retires() {
    // TLFS, HV_NESTED_ENLIGHTENMENTS_CONTROL: bit 0; what else is there stays.
    let features = |page: Page| page.read(0x20, 4);
    let page = Page::new();
    page.write(0x20, 4, 0b10);
    let mut assist_page = page.assist_page();
    assist_page.set_direct_hypercall(true);
    assert_eq!(features(page), 0b11);
    assist_page.set_direct_hypercall(false);
    assert_eq!(features(page), 0b10);
    assist_page.set_direct_hypercall(true);
    let mut slot = VmcsSlot::enlightened(0, L0::new(page), assist_page);
    let mut vmcs = enlightened();
    vmcs.activate(&mut slot).unwrap();
    vmcs.release(&mut slot).unwrap();
    assert_eq!(features(page), 0b11, "others may come");
    slot.retire().unwrap();
    assert_eq!(features(page), 0b10);
}
