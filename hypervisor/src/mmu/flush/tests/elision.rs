// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is *not* flushed: the reason why there are generations at all.

use super::BARE;
use super::BY_L0;
use super::owes_invept;
use crate::cpu::CpuNumber;
use crate::mmu::Counter;
use crate::mmu::flush::Pages;
use crate::mmu::flush::model::Machine;
use crate::mmu::flush::model::Vcpu;
use crate::mmu::flush::model::cpu;

const ME: CpuNumber = CpuNumber::BOOT;

#[test]
fn a_vcpu_that_migrates_among_cpus_that_ran_its_root_needs_no_invept() {
    let machine = Machine::new(BARE);
    let root = machine.root(0);
    (0..2).for_each(|frame| machine.map(&[0], frame));
    let mut vcpu = Vcpu::new(&machine, 0, &root);
    for number in 0..3 {
        machine.migrate(&mut vcpu, cpu(number), &[0, 1]);
    }
    assert_eq!(machine.count(Counter::InveptSingle), 3);
    assert_eq!(machine.count(Counter::InvvpidSingle), 3);
    for round in 0..30 {
        machine.migrate(&mut vcpu, cpu(round % 3), &[0, 1]);
    }
    assert_eq!(machine.count(Counter::InveptSingle), 3);
    assert_eq!(machine.count(Counter::InvvpidSingle), 33);
}

#[test]
fn a_vcpu_that_stays_needs_no_flush_at_all() {
    let machine = Machine::new(BARE);
    let root = machine.root(0);
    let mut vcpu = Vcpu::new(&machine, 0, &root);
    (0..10).for_each(|_| machine.run(&mut vcpu, cpu(1), &[]));
    assert_eq!([Counter::InveptSingle, Counter::InvvpidSingle].map(|counter| machine.count(counter)), [1, 1]);
}

#[test]
fn only_cpus_that_are_in_a_guest_on_the_root_are_made_to_leave() {
    let machine = Machine::new(BARE);
    let [root, of_another_vm] = [machine.root(0), machine.root(1)];
    let mut vcpus = [Vcpu::new(&machine, 0, &root), Vcpu::new(&machine, 1, &root)];
    machine.enter(&mut vcpus[0], cpu(1));
    machine.run(&mut vcpus[1], cpu(2), &[]);
    let _ = machine.coherence.occupancy.enter(cpu(3), &of_another_vm);
    machine.roots.flush(ME, Pages::All);
    assert_eq!(machine.bell.take(), [cpu(1)]);
    for (number, vcpu) in vcpus.iter_mut().enumerate() {
        assert!(owes_invept(&machine, vcpu, cpu(number + 1)));
        assert!(!owes_invept(&machine, vcpu, cpu(number + 1)));
    }
}

#[test]
fn a_flush_by_l0_makes_nobody_leave_and_costs_no_invept() {
    let machine = Machine::new(BY_L0);
    let root = machine.root(0);
    machine.map(&[0], 0);
    let mut vcpu = Vcpu::new(&machine, 0, &root);
    machine.enter(&mut vcpu, cpu(1));
    machine.zap(ME, &[0], 0, Pages::All);
    assert_eq!(machine.bell.take(), []);
    assert!(!machine.access(&vcpu, 0, false), "the frame is gone");
    machine.leave(&vcpu);
    for number in 1..super::CPUS {
        assert!(!owes_invept(&machine, &mut vcpu, cpu(number)));
    }
}

#[test]
fn a_root_that_has_an_old_ones_page_owes_an_invept_on_every_cpu() {
    let machine = Machine::new(BY_L0);
    let old = machine.root(0);
    machine.map(&[0], 0);
    let mut vcpu = Vcpu::new(&machine, 0, &old);
    machine.roots.flush(ME, Pages::All);
    for number in 0..super::CPUS {
        machine.run(&mut vcpu, cpu(number), &[0]);
    }
    machine.roots.unload(0);
    machine.roots.retire(&old);
    machine.move_page(0, 0, 1);
    machine.map(&[0], 0);
    let new = machine.root(0);
    assert_ne!(old.id(), new.id());
    assert_eq!(old.address(), new.address());
    machine.load(&mut vcpu, &new);
    for number in 0..super::CPUS {
        assert!(owes_invept(&machine, &mut vcpu, cpu(number)));
        machine.run(&mut vcpu, cpu(number), &[0, 1]);
    }
}
