// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever is forgotten about an enlightened VMCS, the model L0 finds it: for each field, and on each path to an entry.

use super::*;
use crate::mutation::Mutation;
use hyperv_bindings::enlightened_vmcs::EnlightenedField;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

/// What L0 has seen of the field, and what it must see.
const OLD: u64 = 1;
const NEW: u64 = 2;

/// What happens to vCPU 0 on CPU 0, where L0 has a copy of its VMCS with [`OLD`] in the field. At the end it is entered.
type Path = fn(&mut World<L0>, &'static EnlightenedField);

/// What happens to the machine, the MSR bitmap's change included.
type Change = fn(&mut World<L0>);

/// Ways from a write to the entry that must use it.
const WRITE_PATHS: [(&str, Path); 7] = [
    ("after an exit", |world, field| {
        write(world, 0, field, NEW);
        world.enter(0, Outcome::Exit);
    }),
    ("after a failed entry that exits", |world, field| {
        world.enter(0, Outcome::EntryFailure);
        write(world, 0, field, NEW);
        world.enter(0, Outcome::Exit);
    }),
    ("with a VMfail in between", |world, field| {
        write(world, 0, field, NEW);
        world.enter(0, Outcome::VmFail);
        world.enter(0, Outcome::Exit);
    }),
    ("after another had the CPU", |world, field| {
        bring(world, 1, 0);
        world.enter(1, Outcome::Exit);
        write(world, 0, field, NEW);
        world.enter(0, Outcome::Exit);
    }),
    ("before another has the CPU", |world, field| {
        bring(world, 1, 0);
        write(world, 0, field, NEW);
        world.enter(1, Outcome::Exit);
        world.enter(0, Outcome::EntryFailure);
    }),
    ("on another CPU", |world, field| {
        bring(world, 0, 1);
        world.enter(0, Outcome::Exit);
        write(world, 0, field, NEW);
        world.enter(0, Outcome::Exit);
    }),
    ("back from another CPU", |world, field| {
        bring(world, 0, 1);
        world.enter(0, Outcome::Exit);
        bring(world, 0, 0);
        world.enter(0, Outcome::Exit);
        write(world, 0, field, NEW);
        world.enter(0, Outcome::Exit);
    }),
];

fn write(world: &mut World<L0>, vcpu: usize, field: &EnlightenedField, value: u64) {
    let VirtualCpu { vmcs, cpu, expected } = &mut world.vcpus[vcpu];
    let mut vmcs = vmcs.activate(&mut world.slots[*cpu]).unwrap();
    model::write(&mut vmcs, field.encoding, value);
    expected.fields.insert(field.encoding, value);
}

fn bring(world: &mut World<L0>, vcpu: usize, cpu: usize) {
    world.step(Step::Move { vcpu, cpu });
}

/// Goes a path, for one field, once L0 has a copy.
fn go(path: Path, field: &'static EnlightenedField) {
    let mut world = enlightened_world();
    write(&mut world, 0, field, OLD);
    // No exit that would write guest state: what L0 has of the field is what was written.
    world.enter(0, Outcome::EntryFailure);
    path(&mut world, field);
}

/// Whether something goes wrong on the way.
fn is_caught(act: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(act)).is_err()
}

/// Fields that L0 always reads: they have no clean bit that could be forgotten.
const ALWAYS_READ: [u16; 2] = [0x681E, 0x401C];

/// Fields that L0 may take from its copy.
fn copied() -> impl Iterator<Item = &'static EnlightenedField> {
    model::writable().filter(|field| !ALWAYS_READ.contains(&field.encoding))
}

#[test]
fn a_write_that_forgets_its_clean_bit_is_caught_for_every_field_on_every_path() {
    for (name, path) in WRITE_PATHS {
        for field in model::writable() {
            go(path, field);
        }
        for field in copied() {
            let forgets = Mutation::Write { encoding: field.encoding, kept: CleanFields::ALL };
            let caught = is_caught(|| forgets.during(|| go(path, field)));
            assert!(caught, "field {:#x}, written {name}, is forgotten, and nobody sees it", field.encoding);
        }
    }
    assert_eq!(copied().count() + ALWAYS_READ.len(), model::writable().count());
}

/// A field without a group of its own could be in any.
#[test]
fn a_write_that_forgets_one_of_several_clean_bits_is_caught_for_every_such_field_and_bit() {
    let ungrouped: Vec<_> = model::writable().filter(|field| field.group == CleanFields::ALL).collect();
    assert_eq!(ungrouped.len(), 13);
    for field in ungrouped {
        for bit in 0..16 {
            let kept = CleanFields::from_bits(1 << bit);
            let forgets = Mutation::Write { encoding: field.encoding, kept };
            let caught = is_caught(|| forgets.during(|| go(WRITE_PATHS[0].1, field)));
            assert!(caught, "field {:#x} keeps clean bit {bit}, and nobody sees it", field.encoding);
        }
    }
}

/// A caller's mistake rather than ours, and the same to L0.
#[test]
fn an_exit_that_is_noted_after_a_vmfail_is_caught_for_every_field() {
    let path = |notes: bool| {
        move |field| {
            let mut world = enlightened_world();
            write(&mut world, 0, field, OLD);
            world.enter(0, Outcome::EntryFailure);
            write(&mut world, 0, field, NEW);
            world.enter(0, Outcome::VmFail);
            if notes {
                let VirtualCpu { vmcs, cpu, .. } = &mut world.vcpus[0];
                vmcs.activate(&mut world.slots[*cpu]).unwrap().note_exit();
            }
            world.enter(0, Outcome::EntryFailure);
        }
    };
    for field in copied() {
        path(false)(field);
        assert!(is_caught(|| path(true)(field)), "field {:#x}", field.encoding);
    }
}

/// CPU 0 keeps a copy while the VMCS runs on CPU 1, where it is written.
#[test]
fn a_release_that_forgets_the_clean_bits_is_caught_for_every_field() {
    let path = |field| {
        let mut world = enlightened_world();
        write(&mut world, 0, field, OLD);
        world.enter(0, Outcome::EntryFailure);
        bring(&mut world, 0, 1);
        write(&mut world, 0, field, NEW);
        world.enter(0, Outcome::EntryFailure);
        bring(&mut world, 0, 0);
        world.enter(0, Outcome::EntryFailure);
    };
    for field in copied() {
        path(field);
        let caught = is_caught(|| Mutation::ReleaseClears.during(|| path(field)));
        assert!(caught, "field {:#x}", field.encoding);
    }
}

/// A page that held a VMCS before, and then anything.
#[test]
fn a_mapping_that_forgets_the_clean_bits_is_caught_for_every_field() {
    let path = |field: &EnlightenedField| {
        let assist_page = Page::new();
        let mut slot = VmcsSlot::enlightened(0, L0::new(assist_page), assist_page.assist_page());
        let page = Page::new();
        for value in [OLD, NEW] {
            page.write(0x338, 4, u64::MAX);
            let mut vmcs = Vmcs::enlightened(page.region(), &Enlightenments::default());
            assert_eq!(model::read(&vmcs.activate(&mut slot).unwrap(), field.encoding), 0);
            if value == OLD {
                model::write(&mut vmcs.activate(&mut slot).unwrap(), field.encoding, value);
            }
            let entered = slot.instructions.enter(false, 0, Outcome::EntryFailure, &|_| 0).unwrap();
            let expected = if value == OLD { OLD } else { 0 };
            assert_eq!(entered.fields[&field.encoding], expected);
            vmcs.release(&mut slot).unwrap();
        }
    };
    for field in copied() {
        path(field);
        assert!(is_caught(|| Mutation::Mapping.during(|| path(field))), "field {:#x}", field.encoding);
    }
}

#[test]
fn a_change_of_the_msr_bitmap_that_is_not_told_is_caught_on_every_path() {
    let paths: [(&str, Change); 5] = [
        ("by itself", |world| {
            world.step(Step::ChangeMsrBitmap);
            world.enter(0, Outcome::Exit);
        }),
        ("after a failed entry that exits", |world| {
            world.enter(0, Outcome::EntryFailure);
            world.step(Step::ChangeMsrBitmap);
            world.enter(0, Outcome::Exit);
        }),
        ("with a VMfail in between", |world| {
            world.step(Step::ChangeMsrBitmap);
            world.enter(0, Outcome::VmFail);
            world.enter(0, Outcome::Exit);
        }),
        ("in each VMCS that shares it, one after the other on a CPU", |world| {
            bring(world, 1, 0);
            world.enter(1, Outcome::Exit);
            world.step(Step::ChangeMsrBitmap);
            world.enter(0, Outcome::Exit);
            world.enter(1, Outcome::Exit);
        }),
        ("while another runs", |world| {
            world.enter(1, Outcome::Exit);
            world.step(Step::ChangeMsrBitmap);
            world.enter(1, Outcome::Exit);
            world.enter(0, Outcome::Exit);
        }),
    ];
    for (name, path) in paths {
        let go = || {
            let mut world = enlightened_world();
            world.enter(0, Outcome::Exit);
            path(&mut world);
        };
        go();
        assert!(is_caught(|| Mutation::MsrBitmap.during(go)), "{name}");
    }
}

/// Told in one of two VMCSs that share the page.
#[test]
fn a_change_of_the_msr_bitmap_that_one_of_two_is_not_told_is_caught() {
    for forgetful in [0, 1] {
        let go = |mutates: bool| {
            let mut world = enlightened_world();
            (0..2).for_each(|vcpu| world.enter(vcpu, Outcome::Exit));
            world.step(Step::ChangeMsrBitmap);
            for vcpu in 0..2 {
                match mutates && vcpu == forgetful {
                    true => Mutation::MsrBitmap.during(|| world.enter(vcpu, Outcome::Exit)),
                    false => world.enter(vcpu, Outcome::Exit),
                }
            }
        };
        go(false);
        assert!(is_caught(|| go(true)));
    }
}

#[test]
fn a_release_that_l0_is_not_told_of_is_caught() {
    let go = || {
        let mut world = enlightened_world();
        world.enter(0, Outcome::Exit);
        bring(&mut world, 0, 0);
        world.enter(0, Outcome::Exit);
    };
    go();
    assert!(is_caught(|| Mutation::ReleaseVmclears.during(go)));
}

#[test]
fn a_vmcs_that_is_not_selected_when_it_becomes_current_is_caught() {
    let go = |mutates: bool| {
        let mut world = enlightened_world();
        bring(&mut world, 1, 0);
        write(&mut world, 0, model::writable().next().unwrap(), OLD);
        world.enter(0, Outcome::Exit);
        match mutates {
            true => Mutation::Select.during(|| world.enter(1, Outcome::Exit)),
            false => world.enter(1, Outcome::Exit),
        }
    };
    go(false);
    assert!(is_caught(|| go(true)));
}
