// SPDX-License-Identifier: MIT OR Apache-2.0
//! A changed MSR bitmap is told to L0 once by each vCPU, before its next entry, whoever changed it and when.

use super::*;
use crate::cpu::CpuNumber;
use crate::vcpu::msr_policy::MsrAccess;
use crate::vcpu::msr_policy::MsrIndex;
use crate::vm::model::CPUS;
use crate::vm::model::cpu;

/// TLFS, "Enlightened VMCS": clean-field bit 1.
const MSR_BITMAP_CLEAN: u64 = 1 << 1;

const ALL_CLEAN: u64 = 0xffff;

/// Comes back from an exit.
fn exits(model: &mut Model) {
    model.guest().vmcs.note_exit();
}

fn intercept(model: &Model, exits: bool) {
    model.machine.intercept(MsrIndex::KERNEL_GS_BASE, MsrAccess::Read, exits);
}

/// What the vCPU tells L0 before it enters.
#[track_caller]
fn enters(model: &mut Model) -> u64 {
    model.takes_mail().expect("nobody stops it");
    model.guest().see_msr_bitmap();
    model.clean_fields()
}

#[test]
fn a_change_is_told_by_each_vcpu_once() {
    let mut vcpus: Vec<Model> = vec![Model::after_reset(0)];
    (1..3).for_each(|id| vcpus.push(vcpus[0].sibling(id)));
    for on in [true, false, true] {
        vcpus.iter_mut().for_each(exits);
        intercept(&vcpus[0], on);
        for vcpu in &mut vcpus {
            assert_eq!(enters(vcpu), ALL_CLEAN & !MSR_BITMAP_CLEAN);
            exits(vcpu);
            assert_eq!(enters(vcpu), ALL_CLEAN, "told already");
        }
    }
}

#[test]
fn every_vcpu_is_made_to_look_and_only_if_something_has_changed() {
    let model = Model::after_reset(0);
    intercept(&model, false);
    assert_eq!(model.neighbours.take().notified, [], "it is as it was");
    intercept(&model, true);
    let all: Vec<CpuNumber> = (0..CPUS).map(cpu).collect();
    assert_eq!(model.neighbours.take().notified, all);
    assert!((0..model.machine.posts.count()).all(|vcpu| !model.machine.posts.of(vcpu).mailbox.is_empty()));
}

#[test]
fn several_changes_between_two_entries_are_told_even_if_nothing_is_left_of_them() {
    let mut model = Model::after_reset(0);
    exits(&mut model);
    intercept(&model, true);
    intercept(&model, false);
    assert_eq!(enters(&mut model), ALL_CLEAN & !MSR_BITMAP_CLEAN);
}

/// It goes elsewhere, or its page was another's turn: what it has not told yet, it tells when it is back.
#[test]
fn a_change_while_a_vcpu_is_not_running_is_told_when_it_runs_again() {
    let mut model = Model::after_reset(0);
    exits(&mut model);
    intercept(&model, true);
    exits(&mut model);
    assert_eq!(model.clean_fields(), ALL_CLEAN);
    assert_eq!(enters(&mut model), ALL_CLEAN & !MSR_BITMAP_CLEAN);
}
