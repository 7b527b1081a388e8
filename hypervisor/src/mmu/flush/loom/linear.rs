// SPDX-License-Identifier: MIT OR Apache-2.0
//! Combined translations: the guest's own changes, which it flushes only on the CPU where it is.

use super::ALL;
use super::BARE;
use super::BY_L0;
use super::MANY;
use crate::mmu::GuestPhysical;
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

/// A guest has linear page 0 cached on its CPU; on another it maps it elsewhere and flushes it; then it comes back. Frame 2 is
/// zapped meanwhile.
fn cache_migrate_invlpg_migrate_back(setup: Setup) {
    let machine = Arc::new(Machine::new(setup));
    let root = machine.root(0);
    (0..3).for_each(|frame| machine.map(&[0], frame));
    let mut vcpu = Vcpu::new(&machine, 0, &root);
    machine.run(&mut vcpu, cpu(1), &[0]);
    let on_its_cpus = Arc::clone(&machine);
    let runner = thread::spawn(move || {
        vcpu.release();
        on_its_cpus.enter(&mut vcpu, cpu(2));
        on_its_cpus.remap(&mut vcpu, 0, 1);
        on_its_cpus.leave(&vcpu);
        on_its_cpus.migrate(&mut vcpu, cpu(1), &[0]);
    });
    machine.zap(cpu(0), &[0], 2, Pages::Run { start: GuestPhysical(0x2000), count: 1 });
    runner.join().unwrap();
}

/// A vCPU ends, and a new one of the same machine gets its VPID, with other tables. Frame 2 is zapped meanwhile.
fn a_vpid_is_used_again(setup: Setup) {
    let machine = Arc::new(Machine::new(setup));
    let root = machine.root(0);
    (0..3).for_each(|frame| machine.map(&[0], frame));
    let on_its_cpu = Arc::clone(&machine);
    let runner = thread::spawn(move || {
        let mut old = Vcpu::new(&on_its_cpu, 0, &root);
        on_its_cpu.run(&mut old, cpu(0), &[0]);
        on_its_cpu.roots.unload(0);
        let mut new = Vcpu::new(&on_its_cpu, 0, &root);
        new.boot_with(0, 1);
        on_its_cpu.run(&mut new, cpu(0), &[0]);
    });
    machine.zap(cpu(1), &[0], 2, Pages::All);
    runner.join().unwrap();
}
#[test]
fn invlpg_on_one_cpu_counts_on_the_one_it_returns_to() {
    explore(ALL, || cache_migrate_invlpg_migrate_back(BARE));
}

#[test]
fn invlpg_on_one_cpu_counts_on_the_one_it_returns_to_while_l0_flushes() {
    explore(ALL, || cache_migrate_invlpg_migrate_back(BY_L0));
}

#[test]
fn a_vpid_that_is_used_again_brings_nothing_along() {
    explore(MANY, || a_vpid_is_used_again(BARE));
}

#[test]
fn found_that_invvpid_on_arrival_is_dropped() {
    finds(Rule::InvvpidOnArrival, ALL, || cache_migrate_invlpg_migrate_back(BARE));
}

#[test]
fn found_that_a_fresh_vpid_is_not_flushed() {
    finds(Rule::FreshVpidIsFlushed, MANY, || a_vpid_is_used_again(BARE));
}
