// SPDX-License-Identifier: MIT OR Apache-2.0
//! A5, "range encode": when a flush is a list, and when it is the whole space; what a list credits, and what it does not.

use super::BY_L0;
use super::owes_invept;
use crate::cpu::CpuNumber;
use crate::mmu::Counter;
use crate::mmu::GuestPhysical;
use crate::mmu::flush::Pages;
use crate::mmu::flush::model::Machine;
use crate::mmu::flush::model::Vcpu;
use crate::mmu::flush::model::cpu;
use std::vec::Vec;

const ME: CpuNumber = CpuNumber::BOOT;

/// What a flush of `count` pages asks of L0: for each hypercall the number of ranges and of pages, or `None` for a whole space.
fn asked(start: u64, count: u64) -> Vec<Option<(u64, u64)>> {
    let machine = Machine::new(BY_L0);
    machine.roots.load(0, &machine.root(0));
    machine.roots.flush(ME, Pages::Run { start: GuestPhysical(start), count });
    let calls = machine.hardware.take_hypercalls().into_iter();
    calls
        .map(|(_, list)| {
            list.map(|ranges| (ranges.remaining(), ranges.map(|range| range.as_simple().pages).sum()))
        })
        .collect()
}

#[test]
fn a5_up_to_510_ranges_of_2048_pages_are_a_list_and_more_is_the_whole_space() {
    const MOST: u64 = 510 * 2048;
    assert_eq!(asked(0x1000, 0), []);
    assert_eq!(asked(0x1000, 1), [Some((1, 1))]);
    assert_eq!(asked(0x1000, 2048), [Some((1, 2048))]);
    assert_eq!(asked(0x1000, 2049), [Some((2, 2049))]);
    assert_eq!(asked(0x1000, MOST), [Some((510, MOST))]);
    assert_eq!(asked(0x1000, MOST + 1), [None]);
    assert_eq!(asked(0x1000, u64::MAX), [None]);
}

#[test]
fn a_list_credits_who_was_clean_before_and_nobody_else() {
    let machine = Machine::new(BY_L0);
    let root = machine.root(0);
    let mut vcpu = Vcpu::new(&machine, 0, &root);
    machine.run(&mut vcpu, cpu(1), &[]);
    // CPU 2 misses a change that is flushed natively.
    machine.run(&mut vcpu, cpu(2), &[]);
    machine.hardware.refuse(3);
    machine.roots.flush(ME, Pages::of_entry(GuestPhysical(0x3000), 1));
    assert!(owes_invept(&machine, &mut vcpu, cpu(1)));
    machine.roots.flush(ME, Pages::of_entry(GuestPhysical(0), 1));
    assert!(!owes_invept(&machine, &mut vcpu, cpu(1)), "it was clean, and the list cleaned the rest");
    assert!(owes_invept(&machine, &mut vcpu, cpu(2)), "a list does not clean what it does not list");
}

#[test]
fn a_whole_space_credits_all_cpus() {
    let machine = Machine::new(BY_L0);
    let root = machine.root(0);
    let mut vcpu = Vcpu::new(&machine, 0, &root);
    machine.roots.flush(ME, Pages::All);
    for number in 1..super::CPUS {
        assert!(!owes_invept(&machine, &mut vcpu, cpu(number)));
    }
    assert_eq!(machine.count(Counter::RemoteFlushHypercalls), 1);
}

#[test]
fn a_list_leaves_a_fresh_root_uncredited() {
    let machine = Machine::new(BY_L0);
    let root = machine.root(0);
    let mut vcpu = Vcpu::new(&machine, 0, &root);
    machine.roots.flush(ME, Pages::of_entry(GuestPhysical(0), 1));
    assert!(owes_invept(&machine, &mut vcpu, cpu(1)));
}
