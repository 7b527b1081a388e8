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
use core::num::NonZeroU64;

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
    /// [`Root::pointer`], and then [`Root::credit`] with this generation. There is a fence within, which serves whatever else
    /// other CPUs post before they look here: this CPU sees it after this call, or they see this CPU in its guest.
    #[must_use]
    #[inline]
    pub fn enter(&self, cpu: CpuNumber, root: &Root) -> Option<Generation> {
        if !Rule::PublishBeforeReadingGeneration.kept() {
            fence(Ordering::SeqCst);
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
        self.0[cpu].0.store(root.id().0.get(), Ordering::Release);
        if Rule::FenceAfterPublish.kept() {
            fence(Ordering::SeqCst);
        }
    }

    /// `cpu` has left its guest, or will not enter it after all. The first thing after an exit, before any lock is taken.
    #[inline]
    pub fn leave(&self, cpu: CpuNumber) {
        let order = if Rule::LeaveAfterAccesses.kept() { Ordering::Release } else { Ordering::Relaxed };
        self.0[cpu].0.store(OUT, order);
    }

    /// The root on which `cpu` is in a guest, if it is.
    #[must_use]
    pub fn root(&self, cpu: CpuNumber) -> Option<RootId> {
        NonZeroU64::new(self.0[cpu].0.load(Ordering::Acquire)).map(RootId)
    }
}
