// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is written is what the next entry uses, on both backings, on models that take from their copies what they may.

#[cfg(feature = "mutations")]
mod mutations;

use super::*;
use crate::Enlightenments;
use crate::VmFail;
use crate::VmInstructionError;
use crate::Vmcs;
use crate::VmcsSlot;
use crate::field::EPT_POINTER;
use crate::field::GUEST_RIP;
use crate::model;
use crate::model::Entry;
use crate::model::Outcome;
use crate::model::Page;
use crate::model::View;
use crate::model::l0::L0;
use crate::model::processor::Memory;
use crate::model::processor::Processor;
use crate::model::processor::REVISION;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::sample::select;

/// What can happen. CPUs and virtual CPUs are two each.
#[derive(Clone, Debug)]
enum Step {
    Write { vcpu: usize, field: Index, value: u64 },
    ChangeMsrBitmap,
    Enter { vcpu: usize, outcome: Outcome },
    Move { vcpu: usize, cpu: usize },
}

fn any_step() -> impl Strategy<Value = Step> {
    let outcome = select(vec![Outcome::Exit, Outcome::Exit, Outcome::EntryFailure, Outcome::VmFail]);
    prop_oneof![
        4 => (0..2_usize, any::<Index>(), any::<u64>())
            .prop_map(|(vcpu, field, value)| Step::Write { vcpu, field, value }),
        1 => Just(Step::ChangeMsrBitmap),
        4 => (0..2_usize, outcome).prop_map(|(vcpu, outcome)| Step::Enter { vcpu, outcome }),
        1 => (0..2_usize, 0..2_usize).prop_map(|(vcpu, cpu)| Step::Move { vcpu, cpu }),
    ]
}

struct VirtualCpu {
    vmcs: Vmcs,
    cpu: usize,
    /// What L0 has to enter with.
    expected: View,
}

/// Two CPUs and two virtual CPUs of one VM, which share its MSR bitmap.
struct World<I> {
    slots: [VmcsSlot<I>; 2],
    vcpus: [VirtualCpu; 2],
    msr_bitmap: u64,
    exits: u64,
}

impl<I: Entry> World<I> {
    fn new(slots: [VmcsSlot<I>; 2], mut vmcs: impl FnMut() -> Vmcs) -> Self {
        let fields = model::writable().map(|field| (field.encoding, 0)).collect();
        let expected = View { fields, msr_bitmap: 0 };
        let vcpus = [0, 1].map(|cpu| VirtualCpu { vmcs: vmcs(), cpu, expected: expected.clone() });
        Self { slots, vcpus, msr_bitmap: 0, exits: 0 }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write { vcpu, field, value } => {
                let VirtualCpu { vmcs, cpu, expected } = &mut self.vcpus[vcpu];
                let fields: Vec<_> = model::writable().collect();
                let encoding = field.get(&fields).encoding;
                let value = model::fit(encoding, value);
                let mut vmcs = vmcs.activate(&mut self.slots[*cpu]).unwrap();
                model::write(&mut vmcs, encoding, value);
                assert_eq!(model::read(&vmcs, encoding), value);
                expected.fields.insert(encoding, value);
            }
            Step::ChangeMsrBitmap => self.msr_bitmap += 1,
            Step::Enter { vcpu, outcome } => self.enter(vcpu, outcome),
            Step::Move { vcpu, cpu } => {
                let vcpu = &mut self.vcpus[vcpu];
                vcpu.vmcs.release(&mut self.slots[vcpu.cpu]).unwrap();
                vcpu.cpu = cpu;
            }
        }
    }

    /// Enters a virtual CPU, and compares what the CPU entered with to what was written.
    fn enter(&mut self, vcpu: usize, outcome: Outcome) {
        let VirtualCpu { vmcs, cpu, expected } = &mut self.vcpus[vcpu];
        let slot = &mut self.slots[*cpu];
        let mut active = vmcs.activate(slot).unwrap();
        if expected.msr_bitmap != self.msr_bitmap {
            active.note_msr_bitmap_change();
            expected.msr_bitmap = self.msr_bitmap;
        }
        let resume = active.launched();
        self.exits += 1;
        let guest = |encoding| model::fit(encoding, (self.exits << 32 | self.exits) ^ u64::from(encoding));
        let entered = slot.instructions.enter(resume, self.msr_bitmap, outcome, &guest);
        match outcome {
            Outcome::VmFail => {
                assert_eq!(entered, Err(VmFail::Valid(VmInstructionError::INVALID_CONTROL_FIELDS)));
                return;
            }
            Outcome::Exit | Outcome::EntryFailure => {
                check(&entered.expect("it was made to succeed"), expected);
            }
        }
        let mut active = vmcs.activate(slot).unwrap();
        let reason = active.note_exit();
        assert_eq!(reason & VM_ENTRY_FAILURE != 0, outcome == Outcome::EntryFailure);
        assert_eq!(active.read(VM_EXIT_REASON), reason);
        if outcome == Outcome::Exit {
            for (&encoding, value) in
                expected.fields.iter_mut().filter(|field| model::is_guest_state(*field.0))
            {
                *value = guest(encoding);
                assert_eq!(model::read(&active, encoding), *value);
            }
        }
    }
}

/// What was entered must be what was written.
#[track_caller]
fn check(entered: &View, expected: &View) {
    for (encoding, value) in &expected.fields {
        assert_eq!(entered.fields.get(encoding), Some(value), "field {encoding:#x}");
    }
    assert_eq!(entered, expected);
}

fn enlightened_world() -> World<L0> {
    let slots = [0, 1].map(|cpu| {
        let assist_page = Page::new();
        VmcsSlot::enlightened(cpu, L0::new(assist_page), assist_page.assist_page())
    });
    World::new(slots, || Vmcs::enlightened(Page::new().region(), &Enlightenments::default()))
}

fn native_world() -> World<Processor> {
    let memory = Memory::default();
    let slots = [0, 1].map(|cpu| VmcsSlot::native(cpu, Processor::new(&memory)));
    World::new(slots, || Vmcs::native(Page::new().region(), REVISION))
}

proptest! {
    #[test]
    fn an_entry_uses_what_was_written_to_the_enlightened_page(steps in prop::collection::vec(any_step(), 1..60)) {
        let mut world = enlightened_world();
        steps.into_iter().for_each(|step| world.step(step));
    }

    #[test]
    fn an_entry_uses_what_was_written_by_vmwrite(steps in prop::collection::vec(any_step(), 1..60)) {
        let mut world = native_world();
        steps.into_iter().for_each(|step| world.step(step));
    }
}

/// What an enlightened VMCS is for: L0 reads a group only if something in it was written.
#[test]
fn only_the_groups_that_were_written_are_read_again() {
    for outcome in [Outcome::Exit, Outcome::EntryFailure] {
        let mut world = enlightened_world();
        world.enter(0, Outcome::VmFail);
        assert_eq!(world.slots[0].instructions.clean_fields(), CleanFields::NONE);
        world.enter(0, outcome);
        assert_eq!(world.slots[0].instructions.clean_fields(), CleanFields::ALL);
        let mut active = world.vcpus[0].vmcs.activate(&mut world.slots[0]).unwrap();
        active.write(GUEST_RIP, 1);
        active.write(EPT_POINTER, 2);
        active.note_msr_bitmap_change();
        let dirty = CleanFields::CONTROL_XLAT.into_bits() | CleanFields::MSR_BITMAP.into_bits();
        let clean = CleanFields::from_bits(CleanFields::ALL.into_bits() & !dirty);
        assert_eq!(world.slots[0].instructions.clean_fields(), clean);
        world.enter(0, Outcome::VmFail);
        assert_eq!(world.slots[0].instructions.clean_fields(), clean);
        world.enter(1, Outcome::Exit);
        world.vcpus[0].vmcs.activate(&mut world.slots[0]).unwrap();
        assert_eq!(world.slots[0].instructions.clean_fields(), clean);
    }
}

/// Each field for itself, as a random walk may miss the one whose group is wrong.
#[test]
fn a_write_to_any_field_reaches_l0_after_an_exit() {
    for (i, _) in model::writable().enumerate() {
        let mut world = enlightened_world();
        world.enter(0, Outcome::Exit);
        let VirtualCpu { vmcs, cpu, expected } = &mut world.vcpus[0];
        let encoding = model::writable().nth(i).unwrap().encoding;
        model::write(&mut vmcs.activate(&mut world.slots[*cpu]).unwrap(), encoding, 1);
        expected.fields.insert(encoding, 1);
        world.enter(0, Outcome::Exit);
    }
}
