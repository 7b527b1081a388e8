// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random histories: vCPUs run, migrate and change their tables while memory is mapped, zapped and protected under them.
//!
//! The judge is the model's memory: whatever a TLB that keeps everything still leads to must be the frame's own page by then.

use super::BARE;
use super::BY_L0;
use super::CPUS;
use crate::cpu::CpuNumber;
use crate::mmu::GuestPhysical;
use crate::mmu::flush::Pages;
use crate::mmu::flush::Root;
use crate::mmu::flush::model::FRAMES;
use crate::mmu::flush::model::Machine;
use crate::mmu::flush::model::Outcome;
use crate::mmu::flush::model::Setup;
use crate::mmu::flush::model::Vcpu;
use crate::mmu::flush::model::cpu;
use crate::mmu::rule::Rule;
use core::ops::Range;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;
use proptest::test_runner::RngAlgorithm;
use proptest::test_runner::TestRng;
use proptest::test_runner::TestRunner;
use std::sync::Arc;
use std::vec::Vec;

/// Few of everything, so that steps meet.
const VCPUS: usize = 2;
const ROOTS: usize = 3;
const RUNNING: Range<usize> = 0..2;
const USED: Range<u64> = 0..2;
/// Every root reaches every frame.
const TABLES: [usize; ROOTS] = [0, 1, 2];
/// Changes memory, and runs no guest.
fn me() -> CpuNumber {
    cpu(CPUS - 1)
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Enter {
        vcpu: usize,
        cpu: usize,
    },
    Leave {
        cpu: usize,
    },
    Access {
        cpu: usize,
        linear: u64,
        write: bool,
    },
    Remap {
        cpu: usize,
        linear: u64,
        frame: u64,
    },
    Map {
        frame: u64,
    },
    Zap {
        frame: u64,
        pages: Pages,
    },
    Protect {
        frame: u64,
        pages: Pages,
    },
    Unprotect {
        frame: u64,
    },
    Load {
        vcpu: usize,
        root: usize,
    },
    /// Another vCPU gets its number and VPID, with tables of its own.
    Replace {
        vcpu: usize,
        linear: u64,
        frame: u64,
    },
    /// A root is freed if no vCPU has it loaded; or made anew on the same page, and loaded.
    FreeOrMake {
        root: usize,
        vcpu: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (vcpu, running, root, frame, linear) = (0..VCPUS, RUNNING, 0..ROOTS, USED, USED);
    let change = (frame.clone(), 0..3).prop_map(|(frame, extent)| {
        let pages = match extent {
            0 => Pages::of_entry(GuestPhysical(frame << 12), 1),
            1 => Pages::of_entry(GuestPhysical(frame << 12), 2),
            _ => Pages::All,
        };
        (frame, pages)
    });
    prop_oneof![
        6 => (vcpu.clone(), running.clone()).prop_map(|(vcpu, cpu)| Step::Enter { vcpu, cpu }),
        3 => running.clone().prop_map(|cpu| Step::Leave { cpu }),
        8 => (running.clone(), linear.clone(), any::<bool>())
            .prop_map(|(cpu, linear, write)| Step::Access { cpu, linear, write }),
        2 => (running, linear.clone(), frame.clone())
            .prop_map(|(cpu, linear, frame)| Step::Remap { cpu, linear, frame }),
        3 => frame.clone().prop_map(|frame| Step::Map { frame }),
        2 => change.clone().prop_map(|(frame, pages)| Step::Zap { frame, pages }),
        1 => change.prop_map(|(frame, pages)| Step::Protect { frame, pages }),
        1 => frame.clone().prop_map(|frame| Step::Unprotect { frame }),
        3 => (vcpu.clone(), root.clone()).prop_map(|(vcpu, root)| Step::Load { vcpu, root }),
        1 => (vcpu, linear, frame).prop_map(|(vcpu, linear, frame)| Step::Replace { vcpu, linear, frame }),
        2 => (root, 0..VCPUS).prop_map(|(root, vcpu)| Step::FreeOrMake { root, vcpu }),
    ]
}

#[derive(Clone, Debug)]
struct History {
    setup: Setup,
    /// The roots that vCPUs have at first.
    loaded: [usize; VCPUS],
    /// How hypercalls end, one after the other.
    outcomes: Vec<Outcome>,
    steps: Vec<Step>,
}

fn history() -> impl Strategy<Value = History> {
    let setup = prop_oneof![Just(BARE), Just(Setup { nested: true, ..BARE }), Just(BY_L0)];
    let outcome =
        prop_oneof![2 => Just(Outcome::Done), 1 => (0..=FRAMES).prop_map(|after| Outcome::Fails { after })];
    let loaded = prop_oneof![Just([0, 0]), Just([0, 1])];
    (setup, loaded, vec(outcome, 0..20), vec(step(), 0..120))
        .prop_map(|(setup, loaded, outcomes, steps)| History { setup, loaded, outcomes, steps })
}

/// The machine in the midst of a history.
struct World {
    machine: Machine,
    roots: [Option<Arc<Root>>; ROOTS],
    vcpus: [Vcpu; VCPUS],
    /// The vCPU on each CPU, unless it was kicked out since.
    on: [Option<usize>; CPUS],
}

impl World {
    fn new(setup: Setup, loaded: [usize; VCPUS]) -> Self {
        let machine = Machine::new(setup);
        let roots = TABLES.map(|table| machine.root(table));
        (0..FRAMES).for_each(|frame| machine.map(&TABLES, frame));
        let vcpus = [0, 1].map(|number| Vcpu::new(&machine, number, &roots[loaded[number]]));
        Self { machine, roots: roots.map(Some), vcpus, on: [None; CPUS] }
    }

    fn is_out(&self, vcpu: usize) -> bool {
        !self.on.contains(&Some(vcpu))
    }

    fn step(&mut self, step: Step) {
        let machine = &self.machine;
        match step {
            Step::Enter { vcpu, cpu: number } if self.is_out(vcpu) && self.on[number].is_none() => {
                if !self.vcpus[vcpu].was_last_on(cpu(number)) {
                    self.vcpus[vcpu].release();
                }
                machine.enter(&mut self.vcpus[vcpu], cpu(number));
                self.on[number] = Some(vcpu);
            }
            Step::Leave { cpu } => {
                if let Some(vcpu) = self.on[cpu].take() {
                    machine.leave(&self.vcpus[vcpu]);
                }
            }
            Step::Access { cpu, linear, write } => {
                if let Some(vcpu) = self.on[cpu] {
                    machine.access_or_fault(&self.vcpus[vcpu], linear, write);
                }
            }
            Step::Remap { cpu, linear, frame } => {
                if let Some(vcpu) = self.on[cpu] {
                    machine.remap(&mut self.vcpus[vcpu], linear, frame);
                }
            }
            Step::Map { frame } if !machine.is_mapped(frame) => machine.map(&TABLES, frame),
            Step::Zap { frame, pages } => machine.zap(me(), &TABLES, frame, pages),
            Step::Protect { frame, pages } => machine.protect(me(), &TABLES, frame, pages),
            Step::Unprotect { frame } => machine.unprotect(&TABLES, frame),
            Step::Load { vcpu, root } if self.is_out(vcpu) => {
                if let Some(root) = &self.roots[root] {
                    machine.load(&mut self.vcpus[vcpu], root);
                }
            }
            Step::Replace { vcpu, linear, frame } if self.is_out(vcpu) => {
                let root = Arc::clone(&self.vcpus[vcpu].root);
                self.vcpus[vcpu] = Vcpu::new(machine, vcpu, &root);
                self.vcpus[vcpu].boot_with(linear, frame);
            }
            Step::FreeOrMake { root: table, vcpu } => match &self.roots[table] {
                None => {
                    self.roots[table] = Some(machine.root(table));
                    self.step(Step::Load { vcpu, root: table });
                }
                Some(root) if self.vcpus.iter().all(|vcpu| vcpu.root.id() != root.id()) => {
                    machine.roots.retire(root);
                    self.roots[table] = None;
                }
                Some(_) => {}
            },
            Step::Enter { .. } | Step::Map { .. } | Step::Load { .. } | Step::Replace { .. } => {}
        }
        for kicked in self.machine.bell.take() {
            self.on[kicked.index()] = None;
        }
    }
}

fn live_through(history: &History) {
    let mut world = World::new(history.setup, history.loaded);
    world.machine.hardware.plan(&history.outcomes);
    history.steps.iter().for_each(|&step| world.step(step));
}

/// Histories are long, and unoptimised ChaCha takes its time.
fn config(cases: u32) -> Config {
    Config { cases, rng_algorithm: RngAlgorithm::XorShift, ..Config::default() }
}

proptest! {
    #![proptest_config(config(2000))]
    #[test]
    fn nothing_stale_is_used_in_any_history(history in history()) {
        live_through(&history);
    }
}

/// Those that show when one thing happens after the other.
const BREAKABLE: [Rule; 10] = [
    Rule::Flush,
    Rule::BumpUnloadedRoots,
    Rule::CreditExpires,
    Rule::ListCreditsOnlyItsPredecessor,
    Rule::FailureCreditsNothing,
    Rule::FailureFallsBack,
    Rule::FlushEveryLoadedRoot,
    Rule::FreshRootIsUncredited,
    Rule::InvvpidOnArrival,
    Rule::FreshVpidIsFlushed,
];

#[test]
fn random_histories_find_every_broken_rule() {
    for rule in BREAKABLE {
        let config = Config { max_shrink_iters: 0, failure_persistence: None, ..config(20_000) };
        let rng = TestRng::deterministic_rng(config.rng_algorithm);
        let found = rule.broken(|| {
            TestRunner::new_with_rng(config, rng).run(&history(), |history| {
                live_through(&history);
                Ok(())
            })
        });
        assert!(found.is_err(), "{rule:?} is broken, and no history shows it");
    }
}
