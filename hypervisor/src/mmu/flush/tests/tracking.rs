// SPDX-License-Identifier: MIT OR Apache-2.0
//! A5, "state machine": how many hypercalls a flush takes, by which roots the vCPUs have loaded.

use super::BY_L0;
use crate::cpu::CpuNumber;
use crate::mmu::flush::MAX_VCPUS;
use crate::mmu::flush::Pages;
use crate::mmu::flush::Root;
use crate::mmu::flush::model::Machine;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::vec::Vec;

/// The tables that a flush of everything asks L0 to flush, in order.
fn flushed(machine: &Machine) -> Vec<u64> {
    machine.roots.flush(CpuNumber::BOOT, Pages::All);
    machine.hardware.take_hypercalls().into_iter().map(|(root, _)| root).collect()
}

fn with_roots() -> (Machine, Vec<Arc<Root>>) {
    let machine = Machine::new(BY_L0);
    let roots = (0..Machine::TABLES).map(|table| machine.root(table)).collect();
    (machine, roots)
}

#[test]
fn a5_vcpus_that_share_a_root_cost_one_hypercall() {
    for vcpus in 1..=MAX_VCPUS {
        let (machine, roots) = with_roots();
        (0..vcpus).for_each(|vcpu| machine.roots.load(vcpu, &roots[0]));
        for _ in 0..3 {
            assert_eq!(flushed(&machine), [roots[0].address()]);
        }
    }
}

#[test]
fn a5_one_that_differs_costs_one_hypercall_for_each_distinct_root_until_it_rejoins() {
    for vcpus in 2..=MAX_VCPUS {
        let (machine, roots) = with_roots();
        (0..vcpus).for_each(|vcpu| machine.roots.load(vcpu, &roots[0]));
        assert_eq!(flushed(&machine).len(), 1);
        machine.roots.load(vcpus - 1, &roots[1]);
        for _ in 0..2 {
            assert_eq!(flushed(&machine), [roots[0].address(), roots[1].address()]);
        }
        machine.roots.load(vcpus - 1, &roots[0]);
        assert_eq!(flushed(&machine), [roots[0].address()]);
        assert_eq!(flushed(&machine), [roots[0].address()]);
    }
}

#[test]
fn a5_a_root_that_comes_up_again_is_flushed_once() {
    let (machine, roots) = with_roots();
    for (vcpu, root) in [0, 1, 2, 1, 0].into_iter().enumerate() {
        machine.roots.load(vcpu, &roots[root]);
    }
    assert_eq!(flushed(&machine), [roots[0].address(), roots[1].address(), roots[2].address()]);
}

#[test]
fn a5_vcpus_without_a_root_are_skipped() {
    let (machine, roots) = with_roots();
    assert_eq!(flushed(&machine), []);
    machine.roots.load(7, &roots[2]);
    assert_eq!(flushed(&machine), [roots[2].address()]);
    machine.roots.unload(7);
    assert_eq!(flushed(&machine), []);
}

#[test]
fn a5_roots_go_by_the_address_of_their_table() {
    let (machine, roots) = with_roots();
    machine.roots.load(0, &roots[1]);
    assert_eq!(roots[1].pointer(), 0x205e);
    assert_eq!(flushed(&machine), [0x2000]);
}

#[test]
#[should_panic(expected = "two roots share the table")]
fn a_table_has_one_live_root() {
    let (machine, _roots) = with_roots();
    machine.root(0);
}

#[test]
#[should_panic(expected = "while a vCPU has it loaded")]
fn a_loaded_root_is_not_retired() {
    let (machine, roots) = with_roots();
    machine.roots.load(0, &roots[0]);
    machine.roots.retire(&roots[0]);
}

#[test]
#[should_panic(expected = "a root is loaded that flushes pass by")]
fn a_retired_root_is_not_loaded() {
    let (machine, roots) = with_roots();
    machine.roots.retire(&roots[0]);
    machine.roots.load(0, &roots[0]);
}

#[test]
#[should_panic(expected = "CPU 1 flushes while it is in a guest")]
fn a_cpu_does_not_wait_for_itself() {
    let (machine, roots) = with_roots();
    let cpu = CpuNumber::new(1).unwrap();
    let _ = machine.coherence.occupancy.enter(cpu, &roots[0]);
    machine.roots.flush(cpu, Pages::All);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Load { vcpu: usize, root: usize },
    Unload { vcpu: usize },
    Flush,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..4_usize, 0..Machine::TABLES).prop_map(|(vcpu, root)| Step::Load { vcpu, root }),
        (0..4_usize).prop_map(|vcpu| Step::Unload { vcpu }),
        Just(Step::Flush),
    ];
    vec(step, 0..40)
}

proptest! {
    #[test]
    fn a5_each_distinct_loaded_root_is_flushed_exactly_once(steps in steps()) {
        let (machine, roots) = with_roots();
        let mut loaded = [None; 4];
        for step in steps {
            match step {
                Step::Load { vcpu, root } => {
                    machine.roots.load(vcpu, &roots[root]);
                    loaded[vcpu] = Some(root);
                }
                Step::Unload { vcpu } => {
                    machine.roots.unload(vcpu);
                    loaded[vcpu] = None;
                }
                Step::Flush => {
                    let flushed = flushed(&machine);
                    let distinct: BTreeSet<u64> =
                        loaded.iter().flatten().map(|&root: &usize| roots[root].address()).collect();
                    prop_assert_eq!(flushed.len(), distinct.len());
                    prop_assert_eq!(flushed.into_iter().collect::<BTreeSet<_>>(), distinct);
                }
            }
        }
    }
}
