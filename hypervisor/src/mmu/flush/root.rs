// SPDX-License-Identifier: MIT OR Apache-2.0
//! A root of extended page tables: its flush generation, and which CPUs are clean up to which.
//!
//! Every change of an entry that takes something away bumps the generation. A CPU is *credited* with a generation once it
//! holds no translation that a change up to there took away; while that is not the latest one, it owes an INVEPT before
//! it enters a guest.

use crate::cpu::CpuNumber;
use crate::cpu::PerCpu;
use crate::memory::FRAME;
use crate::mmu::atomic::AtomicU64;
use crate::mmu::atomic::Ordering;
use crate::mmu::rule::Rule;
use core::num::NonZeroU64;

/// Bits 51:12 of an EPT pointer: the address of the root table, and what the CPU tags guest-physical translations with
/// (SDM vol. 3, "EPTP and EP4TA").
const ADDRESS: u64 = (1 << 52) - FRAME;

/// Names a root for ever: no two of a machine ever have the same one, even if one has the other's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootId(pub(super) NonZeroU64);

impl RootId {
    /// The number, which no other root has had or will have.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0.get()
    }
}

/// How often the translations of a root had been taken from when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(NonZeroU64);

impl Generation {
    /// What a new root starts with. Zero is the credit of a CPU that never flushed it.
    const FIRST: u64 = 1;
}

/// A root of a guest's tables.
#[derive(Debug)]
pub struct Root {
    id: RootId,
    pointer: u64,
    /// CPUs of the machine, numbered from 0.
    cpus: usize,
    generation: AtomicU64,
    /// The generation up to which each CPU is clean.
    credited: PerCpu<AtomicU64>,
}

impl Root {
    /// A root with an EPT pointer, on a machine with so many CPUs.
    pub(in crate::mmu) fn new(id: NonZeroU64, pointer: u64, cpus: usize) -> Self {
        let credit = if Rule::FreshRootIsUncredited.kept() { 0 } else { Generation::FIRST };
        Self {
            id: RootId(id),
            pointer,
            cpus,
            generation: AtomicU64::new(Generation::FIRST),
            credited: PerCpu::new(|_| AtomicU64::new(credit)),
        }
    }

    /// Its name.
    #[must_use]
    #[inline]
    pub const fn id(&self) -> RootId {
        self.id
    }

    /// Value for the VMCS's EPT pointer, and operand of INVEPT.
    #[must_use]
    #[inline]
    pub const fn pointer(&self) -> u64 {
        self.pointer
    }

    /// Physical address of the root table: the pointer without its attributes.
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.pointer & ADDRESS
    }

    /// The generation now. To credit a CPU with, read it *before* the flush.
    #[must_use]
    #[inline]
    pub fn generation(&self) -> Generation {
        let generation = NonZeroU64::new(self.generation.load(Ordering::Acquire));
        Generation(generation.expect("it starts above zero and only grows"))
    }

    /// What to credit `cpu` with after the single-context INVEPT that it owes before it enters a guest; `None` where it
    /// owes none. That it enters must be visible to all by then: ask [`Occupancy::enter`](super::Occupancy::enter).
    #[must_use]
    #[inline]
    pub fn stale(&self, cpu: CpuNumber) -> Option<Generation> {
        let generation = self.generation.load(Ordering::Acquire);
        let credited = self.credited[cpu].load(Ordering::Acquire);
        let clean = if Rule::CreditExpires.kept() { credited >= generation } else { credited > 0 };
        if clean { None } else { NonZeroU64::new(generation).map(Generation) }
    }

    /// After an INVEPT on `cpu`: it is clean up to `sample`, which was read before.
    ///
    /// # Panics
    /// If flushes do not count with that CPU: a fault of our own.
    pub fn credit(&self, cpu: CpuNumber, sample: Generation) {
        assert!(cpu.index() < self.cpus, "{cpu} runs guests, but flushes wait for {} CPUs only", self.cpus);
        self.credited[cpu].fetch_max(self.creditable(sample), Ordering::AcqRel);
    }

    /// After a flush of the whole space on all CPUs: they are clean up to `sample`, which was read before.
    pub(super) fn credit_all(&self, sample: Generation) {
        for cpu in CpuNumber::all().take(self.cpus) {
            self.credit(cpu, sample);
        }
    }

    /// After a flush on all CPUs of what the change to `flushed` took away, and of nothing else: who was clean up to the
    /// change before it is clean up to this one.
    pub(super) fn credit_successor(&self, flushed: Generation) {
        let after = flushed.0.get();
        for cpu in CpuNumber::all().take(self.cpus) {
            if Rule::ListCreditsOnlyItsPredecessor.kept() {
                // A CPU that is not there owes more than this, or has paid more already.
                let _ = self.credited[cpu].compare_exchange(
                    after - 1,
                    after,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
            } else {
                self.credited[cpu].fetch_max(after, Ordering::AcqRel);
            }
        }
    }

    /// Whether `cpu` is clean up to `generation`.
    pub(super) fn is_credited(&self, cpu: CpuNumber, generation: Generation) -> bool {
        self.credited[cpu].load(Ordering::Acquire) >= generation.0.get()
    }

    /// Something was taken away. Whoever sees the new generation sees the changed entry.
    pub(super) fn bump(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    fn creditable(&self, sample: Generation) -> u64 {
        if Rule::CreditTheSample.kept() { sample.0.get() } else { self.generation.load(Ordering::Acquire) }
    }
}
