// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several roots of a machine: loaded in turn, unloaded, freed and made anew on the same page.

use super::ALL;
use super::BARE;
use super::BY_L0;
use crate::mmu::explore::explore;
use crate::mmu::explore::finds;
use crate::mmu::flush::Pages;
use crate::mmu::flush::model::Machine;
use crate::mmu::flush::model::Setup;
use crate::mmu::flush::model::Vcpu;
use crate::mmu::flush::model::cpu;
use crate::mmu::rule::Rule;
use loom::thread;
use std::sync::Arc;

/// Two roots lead to frame 0. A vCPU has it cached for both; during the zap it goes from one to the other and back.
fn zap_and_load_another_root(setup: Setup) {
    let machine = Arc::new(Machine::new(setup));
    let roots = [machine.root(0), machine.root(1)];
    machine.map(&[0, 1], 0);
    let mut vcpu = Vcpu::new(&machine, 0, &roots[1]);
    machine.run(&mut vcpu, cpu(1), &[0]);
    machine.load(&mut vcpu, &roots[0]);
    machine.run(&mut vcpu, cpu(1), &[0]);
    let on_its_cpu = Arc::clone(&machine);
    let runner = thread::spawn(move || {
        on_its_cpu.load(&mut vcpu, &roots[1]);
        on_its_cpu.run(&mut vcpu, cpu(1), &[0]);
        on_its_cpu.load(&mut vcpu, &roots[0]);
        on_its_cpu.run(&mut vcpu, cpu(1), &[0]);
    });
    machine.zap(cpu(0), &[0, 1], 0, Pages::All);
    runner.join().unwrap();
}

/// All vCPUs shared a root when it was flushed last; then the one that runs got another.
fn zap_after_roots_parted(setup: Setup) {
    let machine = Arc::new(Machine::new(setup));
    let roots = [machine.root(0), machine.root(1)];
    machine.map(&[0, 1], 0);
    let _idle = Vcpu::new(&machine, 1, &roots[0]);
    let mut vcpu = Vcpu::new(&machine, 0, &roots[0]);
    machine.roots.flush(cpu(0), Pages::All);
    machine.load(&mut vcpu, &roots[1]);
    machine.run(&mut vcpu, cpu(1), &[0]);
    let on_its_cpu = Arc::clone(&machine);
    let runner = thread::spawn(move || on_its_cpu.run(&mut vcpu, cpu(1), &[0]));
    machine.zap(cpu(0), &[0, 1], 0, Pages::All);
    runner.join().unwrap();
}

/// A root is freed with all that it leads to, and its page becomes that of another one, while a flush of the first is under way.
fn a_root_is_freed_and_its_page_used_again(setup: Setup) {
    let machine = Arc::new(Machine::new(setup));
    let root = machine.root(0);
    (0..2).for_each(|frame| machine.map(&[0], frame));
    let mut vcpu = Vcpu::new(&machine, 0, &root);
    machine.run(&mut vcpu, cpu(1), &[0]);
    let on_its_cpu = Arc::clone(&machine);
    let runner = thread::spawn(move || {
        on_its_cpu.run(&mut vcpu, cpu(1), &[0]);
        on_its_cpu.roots.unload(0);
        on_its_cpu.roots.retire(&root);
        on_its_cpu.move_page(0, 0, 3);
        let root = on_its_cpu.root(0);
        on_its_cpu.map(&[0], 0);
        on_its_cpu.load(&mut vcpu, &root);
        on_its_cpu.run(&mut vcpu, cpu(1), &[0]);
    });
    machine.zap(cpu(0), &[0], 1, Pages::All);
    runner.join().unwrap();
}

#[test]
fn a_zap_reaches_a_root_that_is_loaded_meanwhile() {
    explore(ALL, || zap_and_load_another_root(BARE));
}

#[test]
fn a_zap_by_l0_reaches_a_root_that_is_loaded_meanwhile() {
    explore(ALL, || zap_and_load_another_root(BY_L0));
}

#[test]
fn a_zap_reaches_every_root_after_they_parted() {
    explore(ALL, || zap_after_roots_parted(BARE));
}

#[test]
fn a_zap_by_l0_reaches_every_root_after_they_parted() {
    explore(ALL, || zap_after_roots_parted(BY_L0));
}

#[test]
fn a_page_that_is_a_root_again_brings_nothing_along() {
    explore(ALL, || a_root_is_freed_and_its_page_used_again(BARE));
}

#[test]
fn a_page_that_is_a_root_again_brings_nothing_along_while_l0_flushes() {
    explore(ALL, || a_root_is_freed_and_its_page_used_again(BY_L0));
}

#[test]
fn found_that_an_unloaded_root_is_not_bumped() {
    finds(Rule::BumpUnloadedRoots, ALL, || zap_and_load_another_root(BARE));
}

#[test]
fn found_that_a_root_is_passed_by() {
    finds(Rule::FlushEveryLoadedRoot, ALL, || zap_after_roots_parted(BY_L0));
}

#[test]
fn found_that_a_fresh_root_is_credited() {
    finds(Rule::FreshRootIsUncredited, ALL, || a_root_is_freed_and_its_page_used_again(BARE));
}
