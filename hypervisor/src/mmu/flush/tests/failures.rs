// SPDX-License-Identifier: MIT OR Apache-2.0
//! A5, errors: whatever goes wrong in a remote flush, a native one reaches every CPU; and L0s that refuse from the start.

use super::BY_L0;
use super::owes_invept;
use crate::cpu::CpuNumber;
use crate::mmu::Coherence;
use crate::mmu::Counter;
use crate::mmu::GuestPhysical;
use crate::mmu::Kick;
use crate::mmu::flush::GuestMappingFlush;
use crate::mmu::flush::Pages;
use crate::mmu::flush::Provider;
use crate::mmu::flush::Root;
use crate::mmu::flush::Roots;
use crate::mmu::flush::model::Machine;
use crate::mmu::flush::model::Outcome;
use crate::mmu::flush::model::Vcpu;
use crate::mmu::flush::model::cpu;
use hyperv_bindings::hypercall::PageRanges;
use hyperv_bindings::hypercall::Status;
use std::boxed::Box;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::OnceLock;
use std::vec::Vec;

const ME: CpuNumber = CpuNumber::BOOT;

#[test]
fn a5_an_error_on_any_root_falls_back_and_reaches_every_cpu() {
    for failing in 0..3 {
        for after in 0..=2 {
            let machine = Machine::new(BY_L0);
            let roots: Vec<_> = (0..3).map(|table| machine.root(table)).collect();
            let mut vcpus: Vec<_> =
                (0..3).map(|number| Vcpu::new(&machine, number, &roots[number])).collect();
            for (number, vcpu) in vcpus.iter_mut().enumerate() {
                machine.enter(vcpu, cpu(number + 1));
            }
            machine.hardware.plan(&[Outcome::Done; 3][..failing]);
            machine.hardware.plan(&[Outcome::Fails { after }]);
            machine.roots.flush(ME, Pages::All);
            assert_eq!(machine.hardware.take_hypercalls().len(), failing + 1, "the others are skipped");
            assert_eq!(machine.bell.take(), [cpu(1), cpu(2), cpu(3)]);
            assert_eq!(machine.count(Counter::RemoteFlushFailed), 1);
            assert_eq!(machine.count(Counter::RemoteFlushNative), 1);
            for (number, vcpu) in vcpus.iter_mut().enumerate() {
                assert!(owes_invept(&machine, vcpu, cpu(number + 1)), "nothing was credited");
            }
            machine.roots.flush(ME, Pages::All);
            assert_eq!(machine.hardware.take_hypercalls().len(), 3, "what is tracked is as it was");
            assert_eq!(machine.bell.take(), []);
        }
    }
}

#[test]
fn a5_after_an_error_vcpus_that_share_a_root_still_cost_one_hypercall() {
    let machine = Machine::new(BY_L0);
    let root = machine.root(0);
    (0..3).for_each(|vcpu| machine.roots.load(vcpu, &root));
    machine.hardware.plan(&[Outcome::Fails { after: 0 }]);
    for _ in 0..3 {
        machine.roots.flush(ME, Pages::All);
        assert_eq!(machine.hardware.take_hypercalls().len(), 1);
    }
}

/// An L0 that answers every call alike, after doing something.
struct Answers<F> {
    status: Status,
    first: F,
}

impl<F> core::fmt::Debug for Answers<F> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "answers {}", self.status)
    }
}

impl<F: Fn() + Send + Sync> GuestMappingFlush for Answers<F> {
    fn flush_space(&self, _: u64) -> Result<(), Status> {
        (self.first)();
        if self.status == Status::SUCCESS { Ok(()) } else { Err(self.status) }
    }

    fn flush_list(&self, root: u64, _: PageRanges) -> Result<(), Status> {
        self.flush_space(root)
    }
}

#[derive(Debug)]
struct NobodyIsInAGuest;

impl Kick for NobodyIsInAGuest {
    fn kick(&self, cpu: CpuNumber) {
        panic!("{cpu} is in no guest");
    }

    fn relax(&self) {
        panic!("nobody is to be waited for");
    }
}

/// Warnings of this thread.
struct Warnings;

std::thread_local! {
    static WARNINGS: Cell<usize> = const { Cell::new(0) };
}

impl log::Log for Warnings {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.level() == log::Level::Warn {
            WARNINGS.set(WARNINGS.get() + 1);
        }
    }

    fn flush(&self) {}
}

#[test]
fn a5_any_status_but_success_falls_back_is_counted_each_time_and_logged_once() {
    log::set_logger(&Warnings).expect("no other test sets a logger");
    log::set_max_level(log::LevelFilter::Warn);
    for status in [2, 3, 4, 5, 6, 8, 0xb, 0x72, 0x78, 0x79, 0xffff].map(Status) {
        WARNINGS.set(0);
        let provider = Provider::HyperV(Box::new(Answers { status, first: || () }));
        let coherence = Coherence::new(provider, Box::new(NobodyIsInAGuest));
        let roots = Roots::new(Arc::clone(&coherence));
        let root = roots.create(0x1000);
        roots.load(0, &root);
        root.credit(ME, root.generation());
        for flushes in 1..=3 {
            roots.flush(ME, Pages::of_entry(GuestPhysical(0), 1));
            assert_eq!(coherence.counters.sum(Counter::RemoteFlushFailed), flushes);
            assert_eq!(coherence.counters.sum(Counter::RemoteFlushNative), flushes);
        }
        assert!(root.stale(ME).is_some(), "{status} credits nothing");
        assert_eq!(WARNINGS.get(), 1);
    }
}

#[test]
fn a5_an_l0_that_refuses_the_probe_is_not_asked_again() {
    let refuses = Answers { status: Status::INVALID_HYPERCALL_CODE, first: || () };
    let refused = Provider::probe(Box::new(refuses), 0x1000).unwrap_err();
    assert_eq!(refused.status, Status::INVALID_HYPERCALL_CODE);
    let accepts = Answers { status: Status::SUCCESS, first: || () };
    assert!(matches!(Provider::probe(Box::new(accepts), 0x1000), Ok(Provider::HyperV(_))));
}

#[test]
fn a5_a_root_that_is_loaded_during_the_hypercall_flushes_for_itself() {
    let vm: Arc<OnceLock<(Roots, Arc<Root>)>> = Arc::default();
    let late = Arc::clone(&vm);
    // Would never come back if the flush held its lock over the hypercall.
    let load = move || {
        let (roots, other) = late.get().expect("the machine is made");
        roots.load(1, other);
    };
    let l0 = Answers { status: Status::SUCCESS, first: load };
    let coherence = Coherence::new(Provider::HyperV(Box::new(l0)), Box::new(NobodyIsInAGuest));
    let roots = Roots::new(Arc::clone(&coherence));
    let [root, other] = [0x1000, 0x2000].map(|pointer| roots.create(pointer));
    for root in [&root, &other] {
        root.credit(cpu(1), root.generation());
    }
    roots.load(0, &root);
    let (roots, other) = vm.get_or_init(|| (roots, other));
    roots.flush(ME, Pages::All);
    assert!(coherence.occupancy.enter(cpu(1), other).is_some());
    assert!(coherence.occupancy.enter(cpu(1), &root).is_none());
}
