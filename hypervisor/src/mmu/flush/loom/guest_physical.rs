// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest-physical translations, flushed by making guests leave.

use super::ALL;
use super::BARE;
use super::FEW;
use super::NESTED;
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

/// A vCPU has frame 0 cached on its CPU, and enters twice during the zap.
pub(super) fn zap_and_enter(setup: Setup, pages: Pages) {
    let machine = Arc::new(Machine::new(setup));
    let root = machine.root(0);
    machine.map(&[0], 0);
    let mut vcpu = Vcpu::new(&machine, 0, &root);
    machine.run(&mut vcpu, cpu(1), &[0]);
    let on_its_cpu = Arc::clone(&machine);
    let runner = thread::spawn(move || {
        on_its_cpu.run(&mut vcpu, cpu(1), &[0]);
        on_its_cpu.run(&mut vcpu, cpu(1), &[0]);
    });
    machine.zap(cpu(0), &[0], 0, pages);
    runner.join().unwrap();
}

/// A vCPU has frame 0 cached on two CPUs, and during the zap goes from one to the other and back.
fn zap_migrate_away_flush_migrate_back(setup: Setup) {
    let machine = Arc::new(Machine::new(setup));
    let root = machine.root(0);
    machine.map(&[0], 0);
    let mut vcpu = Vcpu::new(&machine, 0, &root);
    machine.run(&mut vcpu, cpu(2), &[0]);
    machine.migrate(&mut vcpu, cpu(1), &[0]);
    let on_its_cpus = Arc::clone(&machine);
    let runner = thread::spawn(move || {
        on_its_cpus.migrate(&mut vcpu, cpu(2), &[0]);
        on_its_cpus.migrate(&mut vcpu, cpu(1), &[0]);
    });
    machine.zap(cpu(0), &[0], 0, Pages::All);
    runner.join().unwrap();
}

/// Two vCPUs on two CPUs have frame 0 cached, over the shadow of one L0.
fn zap_under_two_vcpus(setup: Setup) {
    let machine = Arc::new(Machine::new(setup));
    let root = machine.root(0);
    machine.map(&[0], 0);
    let runners = [1, 2].map(|number| {
        let mut vcpu = Vcpu::new(&machine, number, &root);
        machine.run(&mut vcpu, cpu(number), &[0]);
        let on_its_cpu = Arc::clone(&machine);
        thread::spawn(move || on_its_cpu.run(&mut vcpu, cpu(number), &[0]))
    });
    machine.zap(cpu(0), &[0], 0, Pages::All);
    runners.into_iter().for_each(|runner| runner.join().unwrap());
}

#[test]
fn a_zap_reaches_a_vcpu_that_enters_at_the_same_time() {
    explore(ALL, || zap_and_enter(BARE, Pages::All));
}

#[test]
fn a_zap_reaches_a_vcpu_over_the_shadow_of_an_l0() {
    explore(ALL, || zap_and_enter(NESTED, Pages::All));
}

#[test]
fn a_zap_reaches_a_vcpu_that_migrates_away_and_back() {
    explore(ALL, || zap_migrate_away_flush_migrate_back(BARE));
}

#[test]
fn a_zap_reaches_a_vcpu_that_migrates_away_and_back_over_a_shadow() {
    explore(ALL, || zap_migrate_away_flush_migrate_back(NESTED));
}

#[test]
fn a_zap_reaches_two_vcpus_over_one_shadow() {
    explore(FEW, || zap_under_two_vcpus(NESTED));
}

#[test]
fn found_that_a_flush_is_skipped() {
    finds(Rule::Flush, ALL, || zap_and_enter(BARE, Pages::All));
}

#[test]
fn found_that_a_page_is_released_before_the_flush() {
    finds(Rule::ReleaseAfterFlush, ALL, || zap_and_enter(BARE, Pages::All));
}

#[test]
fn found_that_a_flush_does_not_wait() {
    finds(Rule::WaitForGuests, ALL, || zap_and_enter(BARE, Pages::All));
}

#[test]
fn found_that_the_generation_is_read_before_publishing() {
    finds(Rule::PublishBeforeReadingGeneration, ALL, || zap_and_enter(BARE, Pages::All));
}

#[test]
fn found_that_no_fence_follows_the_publishing() {
    finds(Rule::FenceAfterPublish, ALL, || zap_and_enter(BARE, Pages::All));
}

#[test]
fn found_that_no_fence_follows_the_bump() {
    finds(Rule::FenceAfterBump, ALL, || zap_and_enter(BARE, Pages::All));
}

#[test]
fn found_that_an_exit_shows_before_its_accesses_are_over() {
    finds(Rule::LeaveAfterAccesses, ALL, || zap_and_enter(BARE, Pages::All));
}

#[test]
fn found_that_credit_never_expires() {
    finds(Rule::CreditExpires, ALL, || zap_migrate_away_flush_migrate_back(BARE));
}
