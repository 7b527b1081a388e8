// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the schedulers of all CPUs share: how a vCPU gets from one CPU to another, and who has nothing to do.

use crate::cpu::CpuNumber;
use crate::cpu::PerCpu;
use crate::cpu::attention::Attention;
use crate::cpu::cpus::Cpus;
use crate::cpu::number::MAX_CPUS;
use crate::cpu::number::Padded;
use crate::cpu::timekeeper::Timekeeper;
use crate::mmu::Coherence;
use crate::schedule::budget::Budget;
use crate::schedule::vpid::Vpids;
use crate::vcpu::Vcpu;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hint;
use core::mem;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering;
use log::warn;
use spin::Mutex;

const _: () = assert!(MAX_CPUS <= u64::BITS as usize, "a bit for each CPU");

/// A vCPU runs so long, in milliseconds, while others wait for its CPU.
const SLICE_MS: u64 = 5;
/// One that may have only a part of its CPU has that part of each of these, in milliseconds.
const PERIOD_MS: u64 = 100;

/// What all CPUs share.
#[derive(Debug)]
pub struct Board {
    /// The CPUs that run.
    pub cpus: &'static Cpus,
    /// What CPUs show each other so that guest memory can change under them.
    pub coherence: Arc<Coherence>,
    /// Identities of vCPUs in the TLBs.
    pub vpids: Vpids,
    /// Ticks of the machine's time in a second.
    pub hz: u64,
    /// Ticks of the machine's time that a vCPU runs while others wait for its CPU.
    pub slice: u64,
    /// The machine's time.
    pub time: Timekeeper,
    /// vCPUs that were handed over to a CPU which has not taken them in yet. Locked for a push or a take alone.
    #[expect(clippy::vec_box, reason = "a vCPU is large, and goes from CPU to CPU")]
    inboxes: PerCpu<Padded<Mutex<Vec<Box<Vcpu>>>>>,
    /// vCPUs that a CPU has or is about to have.
    loads: PerCpu<AtomicU32>,
    /// A bit for each CPU that has nothing to run.
    idle: AtomicU64,
    /// How many CPUs have let go of everything.
    retired: AtomicUsize,
}

impl Board {
    /// For those CPUs, whose TSCs tick at `hz`.
    #[must_use]
    pub fn new(cpus: &'static Cpus, coherence: Arc<Coherence>, hz: u64) -> Self {
        Self {
            cpus,
            coherence,
            vpids: Vpids::default(),
            hz,
            slice: hz / 1000 * SLICE_MS,
            time: Timekeeper::new(),
            inboxes: PerCpu::default(),
            loads: PerCpu::default(),
            idle: AtomicU64::new(0),
            retired: AtomicUsize::new(0),
        }
    }

    /// What a vCPU may have that is to have at most so many hundredths of a CPU; `None`: all.
    #[must_use]
    pub fn budget(&self, percent: u32) -> Option<Budget> {
        (percent < 100).then(|| Budget::new(percent, self.hz / 1000 * PERIOD_MS))
    }

    /// Has all CPUs but `me` retire, and waits until they have; not for ever, for it is the end in any case.
    pub fn retire_others(&self, me: CpuNumber) {
        /// A second or so.
        const PATIENCE: u32 = 10_000_000;
        let others = self.cpus.iter().filter(|&(cpu, _)| cpu != me);
        let asked = others.inspect(|&(cpu, _)| self.cpus.notify(cpu, Attention::RETIRE)).count();
        let all_have = |_| {
            hint::spin_loop();
            self.retired.load(Ordering::Acquire) >= asked
        };
        if !(0..PATIENCE).any(all_have) {
            warn!("a CPU does not let go of what it works on");
        }
    }

    /// A CPU has let go of everything, and halts.
    pub fn has_retired(&self) {
        self.retired.fetch_add(1, Ordering::Release);
    }

    /// Whether there is a CPU for each of so many more vCPUs, so that each can have its own.
    #[must_use]
    pub fn has_room_for(&self, vcpus: usize) -> bool {
        let taken: u32 = self.loads.iter().map(|(_, load)| load.load(Ordering::Relaxed)).sum();
        taken as usize + vcpus <= self.cpus.count()
    }

    /// The CPU that has the fewest vCPUs.
    #[must_use]
    pub fn least_loaded(&self) -> CpuNumber {
        let running = self.cpus.iter().map(|(cpu, _)| cpu);
        running.min_by_key(|&cpu| self.load(cpu)).unwrap_or(CpuNumber::BOOT)
    }

    /// A CPU that would still have fewer vCPUs than `me` if it got one of them.
    #[must_use]
    pub fn less_loaded_than(&self, me: CpuNumber) -> Option<CpuNumber> {
        Some(self.least_loaded()).filter(|&other| self.load(other) + 1 < self.load(me))
    }

    fn load(&self, cpu: CpuNumber) -> u32 {
        self.loads[cpu].load(Ordering::Relaxed)
    }

    /// The CPU after `cpu`, round and round.
    #[must_use]
    pub fn next_after(&self, cpu: CpuNumber) -> CpuNumber {
        self.cpus.iter().map(|(other, _)| other).find(|&other| other > cpu).unwrap_or(CpuNumber::BOOT)
    }

    /// Gives a vCPU, resident on no CPU, to the CPU `to`.
    pub fn hand_over(&self, vcpu: Box<Vcpu>, to: CpuNumber) {
        self.loads[to].fetch_add(1, Ordering::Relaxed);
        // Before it can be seen there: whoever posts from here on tells that CPU.
        vcpu.set_home(to);
        self.inboxes[to].0.lock().push(vcpu);
        self.cpus.notify(to, Attention::HANDED_OVER);
    }

    /// Takes in what was handed over to `me`.
    #[must_use]
    pub fn take_inbox(&self, me: CpuNumber) -> Vec<Box<Vcpu>> {
        mem::take(&mut *self.inboxes[me].0.lock())
    }

    /// A vCPU has left that CPU.
    pub fn left(&self, me: CpuNumber) {
        self.loads[me].fetch_sub(1, Ordering::Relaxed);
    }

    /// Shows that `me` has nothing to run, or that it has.
    pub fn show_idle(&self, me: CpuNumber, idle: bool) {
        let bit = 1 << me.index();
        if idle {
            self.idle.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.idle.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// Claims a CPU that has nothing to run. It is not offered to anybody else until it is idle again.
    #[must_use]
    pub fn claim_idle(&self) -> Option<CpuNumber> {
        let mut idle = self.idle.load(Ordering::Relaxed);
        while idle != 0 {
            let lowest = idle.trailing_zeros() as usize;
            let before = self.idle.fetch_and(!(1 << lowest), Ordering::Relaxed);
            if before & 1 << lowest != 0 {
                return CpuNumber::new(lowest);
            }
            idle = before & !(1 << lowest);
        }
        None
    }
}
