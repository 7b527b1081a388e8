// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same on real threads: vCPUs, fewer CPUs than vCPUs, and two CPUs that change memory under them.

use super::BARE;
use super::BY_L0;
use super::CPUS;
use crate::mmu::Counter;
use crate::mmu::GuestPhysical;
use crate::mmu::flush::Pages;
use crate::mmu::flush::model::FRAMES;
use crate::mmu::flush::model::Machine;
use crate::mmu::flush::model::Outcome;
use crate::mmu::flush::model::Setup;
use crate::mmu::flush::model::Vcpu;
use crate::mmu::flush::model::cpu;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::vec::Vec;

const VCPUS: usize = 3;
/// CPUs that change memory; each has half of the frames.
const CHANGERS: [usize; 2] = [0, CPUS - 1];
const CHANGES: u64 = 2000;

/// Does something however a thread goes on from here, so that a test that fails also ends.
struct AtTheEnd<F: Fn()>(F);

impl<F: Fn()> Drop for AtTheEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Changes its frames again and again.
fn change(machine: &Machine, changer: usize) {
    let me = cpu(CHANGERS[changer]);
    for round in 0..CHANGES {
        let frame = (changer as u64) * FRAMES / 2 + round % (FRAMES / 2);
        let pages = match round % 5 {
            0 => Pages::All,
            _ => Pages::of_entry(GuestPhysical(frame << 12), 1),
        };
        if round % 3 == 0 {
            machine.protect(me, &[0], frame, pages);
            machine.unprotect(&[0], frame);
        } else {
            machine.zap(me, &[0], frame, pages);
            machine.map(&[0], frame);
        }
    }
}

/// Runs on whatever CPU is free, until nobody changes anything any more.
fn run(machine: &Machine, vcpu: &mut Vcpu, free: &Mutex<Vec<usize>>, changing: &AtomicUsize) {
    let mut accesses = 0;
    while changing.load(Ordering::Relaxed) > 0 {
        let Some(number) = free.lock().unwrap().pop() else {
            thread::yield_now();
            continue;
        };
        let _frees = AtTheEnd(|| free.lock().unwrap().insert(0, number));
        if !vcpu.was_last_on(cpu(number)) {
            vcpu.release();
        }
        machine.enter(vcpu, cpu(number));
        let _leaves = AtTheEnd(|| machine.coherence.occupancy.leave(cpu(number)));
        for _ in 0..6 {
            accesses += 1;
            machine.access(vcpu, accesses % FRAMES, accesses % 3 == 0);
        }
    }
}

fn stress(setup: Setup) -> Machine {
    let machine = Machine::new(Setup { threads: true, ..setup });
    let root = machine.root(0);
    (0..FRAMES).for_each(|frame| machine.map(&[0], frame));
    machine.hardware.plan(&[Outcome::Done, Outcome::Done, Outcome::Fails { after: 1 }].repeat(1000));
    let free = Mutex::new((1..CPUS - 1).collect());
    let changing = AtomicUsize::new(CHANGERS.len());
    let vcpus: Vec<_> = (0..VCPUS).map(|number| Vcpu::new(&machine, number, &root)).collect();
    thread::scope(|scope| {
        let (machine, free, changing) = (&machine, &free, &changing);
        for mut vcpu in vcpus {
            scope.spawn(move || run(machine, &mut vcpu, free, changing));
        }
        for changer in 0..CHANGERS.len() {
            scope.spawn(move || {
                let _ends = AtTheEnd(|| _ = changing.fetch_sub(1, Ordering::Relaxed));
                change(machine, changer);
            });
        }
    });
    machine
}

#[test]
fn nothing_stale_is_used_by_threads_on_bare_metal() {
    let machine = stress(BARE);
    assert_eq!(machine.count(Counter::RemoteFlushNative), 2 * CHANGES);
}

#[test]
fn nothing_stale_is_used_by_threads_while_l0_flushes_and_fails() {
    let machine = stress(BY_L0);
    assert_eq!(machine.count(Counter::RemoteFlushHypercalls), 2 * CHANGES);
    assert_eq!(machine.count(Counter::RemoteFlushNative), 1000);
}
