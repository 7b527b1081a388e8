// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which CPU is in a guest, and on which root: what a CPU shows before it enters, and takes back as soon as it has left.

use super::Generation;
use super::Root;
use super::RootId;
use crate::cpu::CpuNumber;
use crate::cpu::PerCpu;
use crate::cpu::number::Padded;
use crate::mmu::atomic::AtomicU64;
use crate::mmu::atomic::Ordering;
use crate::mmu::atomic::fence;
use crate::mmu::rule::Rule;

/// What a CPU shows that is in no guest. No root has that number.
const OUT: u64 = 0;

/// For each CPU the root on which it is in a guest, if it is.
#[derive(Debug)]
pub struct Occupancy(PerCpu<Padded<AtomicU64>>);

impl Occupancy {
    pub(in crate::mmu) fn new() -> Self {
        Self(PerCpu::new(|_| Padded(AtomicU64::new(OUT))))
    }

    /// From here on `cpu` counts as in a guest on `root`; to be called with interrupts off, before events are injected.
    ///
    /// What comes back is the INVEPT that the CPU owes first, if it does: a single-context one for
    /// [`Root::pointer`], and then [`Root::credit`] with this generation. Whatever other CPUs post and then look here
    /// for is either seen by this CPU after this call, or they see this CPU.
    #[must_use]
    #[inline]
    pub fn enter(&self, cpu: CpuNumber, root: &Root) -> Option<Generation> {
        if !Rule::PublishBeforeReadingGeneration.kept() {
            let stale = root.stale(cpu);
            self.publish(cpu, root);
            return stale;
        }
        self.publish(cpu, root);
        root.stale(cpu)
    }

    #[inline]
    fn publish(&self, cpu: CpuNumber, root: &Root) {
        // Release: who finds this root finds the CPU off the one before.
        self.0[cpu].0.store(root.id().get(), Ordering::Release);
        if Rule::FenceAfterPublish.kept() {
            fence(Ordering::SeqCst);
        }
    }

    /// `cpu` has left its guest, or will not enter it after all. The first thing after an exit, before any lock is taken.
    #[inline]
    pub fn leave(&self, cpu: CpuNumber) {
        self.0[cpu].0.store(OUT, Ordering::Release);
    }

    /// Whether `cpu` is in a guest.
    #[must_use]
    pub fn is_in_guest(&self, cpu: CpuNumber) -> bool {
        self.0[cpu].0.load(Ordering::Acquire) != OUT
    }

    /// Whether `cpu` is in a guest on the root of that name.
    pub(super) fn is_on(&self, cpu: CpuNumber, root: RootId) -> bool {
        self.0[cpu].0.load(Ordering::Acquire) == root.get()
    }
}
