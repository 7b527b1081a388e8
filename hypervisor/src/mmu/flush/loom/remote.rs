// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flushes by L0: whole spaces, lists, failures, and several at once.

use super::ALL;
use super::BY_L0;
use super::FEW;
use super::MANY;
use super::guest_physical::zap_and_enter;
use crate::mmu::GuestPhysical;
use crate::mmu::explore::explore;
use crate::mmu::explore::finds;
use crate::mmu::flush::Pages;
use crate::mmu::flush::model::Machine;
use crate::mmu::flush::model::Outcome;
use crate::mmu::flush::model::Vcpu;
use crate::mmu::flush::model::cpu;
use crate::mmu::rule::Rule;
use loom::thread;
use std::sync::Arc;

/// Frame number `frame`, as a list.
const fn only(frame: u64) -> Pages {
    Pages::Run { start: GuestPhysical(frame << 12), count: 1 }
}

/// A vCPU has frames 0 and 1 cached on CPU 2. CPU 0 zaps frame 0, CPU 1 frame 1; L0 fails to flush lists that begin with `refused`.
fn two_zaps_at_once(first: Pages, second: Pages, refused: u64) {
    let machine = Arc::new(Machine::new(BY_L0));
    let root = machine.root(0);
    (0..2).for_each(|frame| machine.map(&[0], frame));
    machine.hardware.refuse(refused);
    let mut vcpu = Vcpu::new(&machine, 0, &root);
    machine.run(&mut vcpu, cpu(2), &[0, 1]);
    let on_its_cpu = Arc::clone(&machine);
    let runner = thread::spawn(move || on_its_cpu.run(&mut vcpu, cpu(2), &[0, 1]));
    let on_another = Arc::clone(&machine);
    let other = thread::spawn(move || on_another.zap(cpu(1), &[0], 1, second));
    machine.zap(cpu(0), &[0], 0, first);
    other.join().unwrap();
    runner.join().unwrap();
}

/// Frames 0 and 1 are taken away at once; L0 flushes frame 0 and then fails.
fn a_flush_fails_half_way() {
    let machine = Arc::new(Machine::new(BY_L0));
    let root = machine.root(0);
    (0..2).for_each(|frame| machine.map(&[0], frame));
    let mut vcpu = Vcpu::new(&machine, 0, &root);
    machine.run(&mut vcpu, cpu(1), &[0, 1]);
    machine.hardware.plan(&[Outcome::Fails { after: 1 }]);
    let on_its_cpu = Arc::clone(&machine);
    let runner = thread::spawn(move || {
        on_its_cpu.run(&mut vcpu, cpu(1), &[1]);
        on_its_cpu.run(&mut vcpu, cpu(1), &[1]);
    });
    machine.zap(cpu(0), &[0], 1, Pages::Run { start: GuestPhysical(0), count: 2 });
    runner.join().unwrap();
}

#[test]
fn a_zap_by_l0_reaches_a_vcpu_that_enters_at_the_same_time() {
    explore(ALL, || zap_and_enter(BY_L0, Pages::All));
}

#[test]
fn a_list_by_l0_reaches_a_vcpu_that_enters_at_the_same_time() {
    explore(ALL, || zap_and_enter(BY_L0, only(0)));
}

#[test]
fn lists_that_end_out_of_order_do_not_credit_each_other() {
    explore(FEW, || two_zaps_at_once(only(0), only(1), 0));
}

#[test]
fn a_whole_space_does_not_credit_a_change_that_came_later() {
    explore(FEW, || two_zaps_at_once(Pages::All, only(1), 1));
}

#[test]
fn a_flush_that_failed_half_way_is_done_natively() {
    explore(MANY, a_flush_fails_half_way);
}

#[test]
fn found_that_a_flush_by_l0_is_skipped() {
    finds(Rule::Flush, ALL, || zap_and_enter(BY_L0, only(0)));
}

#[test]
fn found_that_a_page_is_released_before_l0_has_flushed() {
    finds(Rule::ReleaseAfterFlush, ALL, || zap_and_enter(BY_L0, only(0)));
}

#[test]
fn found_that_a_list_credits_older_changes() {
    finds(Rule::ListCreditsOnlyItsPredecessor, FEW, || two_zaps_at_once(only(0), only(1), 0));
}

#[test]
fn found_that_the_current_generation_is_credited() {
    finds(Rule::CreditTheSample, FEW, || two_zaps_at_once(Pages::All, only(1), 1));
}

#[test]
fn found_that_a_failure_credits() {
    finds(Rule::FailureCreditsNothing, MANY, a_flush_fails_half_way);
}
