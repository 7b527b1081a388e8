// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a flush reaches all CPUs: by Hyper-V, or by making them leave their guests.

use super::Generation;
use super::GuestMappingFlush;
use super::Pages;
use super::Provider;
use super::Root;
use super::tracking::MAX_VCPUS;
use crate::cpu::CpuNumber;
use crate::cpu::number::MAX_CPUS;
use crate::mmu::Coherence;
use crate::mmu::Counter;
use crate::mmu::rule::Rule;
use alloc::sync::Arc;
use arrayvec::ArrayVec;
use core::sync::atomic::Ordering;
use hyperv_bindings::hypercall::PageRanges;
use hyperv_bindings::hypercall::Status;
use log::warn;

/// A root that vCPUs may be running on, and the generation that a change has begun in it.
#[derive(Debug)]
pub(super) struct Bumped {
    pub(super) root: Arc<Root>,
    pub(super) generation: Generation,
}

/// The roots that the vCPUs of a VM have loaded, each once.
pub(super) type LoadedRoots = ArrayVec<Bumped, MAX_VCPUS>;

impl Coherence {
    /// Comes back when no CPU uses translations of `pages` from before these generations.
    pub(super) fn reach(&self, me: CpuNumber, roots: &[Bumped], pages: Pages) {
        match &self.provider {
            Provider::Native => self.empty_guests(me, roots),
            Provider::HyperV(l0) => {
                if let Err(status) = self.ask(l0.as_ref(), me, roots, pages) {
                    if Rule::FailureFallsBack.kept() {
                        self.empty_guests(me, roots);
                    }
                    self.note_failure(me, status);
                }
            }
        }
    }

    /// Has L0 flush root by root. The CPUs are credited when all of that is done; if any of it fails, with nothing.
    fn ask(
        &self,
        l0: &dyn GuestMappingFlush,
        me: CpuNumber,
        roots: &[Bumped],
        pages: Pages,
    ) -> Result<(), Status> {
        let list = pages.list();
        for Bumped { root, generation } in roots {
            self.counters.count(me, Counter::RemoteFlushHypercalls);
            let flushed = ask_for_one(l0, root, list.clone());
            if !Rule::FailureCreditsNothing.kept() {
                root.credit_all(*generation);
            }
            flushed?;
        }
        for Bumped { root, generation } in roots {
            match list {
                Some(_) => root.credit_successor(*generation),
                None => root.credit_all(*generation),
            }
        }
        Ok(())
    }

    #[cold]
    fn note_failure(&self, me: CpuNumber, status: Status) {
        self.counters.count(me, Counter::RemoteFlushFailed);
        if !self.failure_is_logged.swap(true, Ordering::Relaxed) {
            warn!(
                "L0 failed to flush guest mappings ({status}): this one was flushed natively, and so are others to come"
            );
        }
    }

    /// Makes every CPU leave its guest that is on one of these roots and not clean up to its generation, and waits until each
    /// has left, or has flushed for itself.
    fn empty_guests(&self, me: CpuNumber, roots: &[Bumped]) {
        self.counters.count(me, Counter::RemoteFlushNative);
        let may_use_old = |cpu| {
            let Some(id) = self.occupancy.root(cpu) else { return false };
            let on = roots.iter().find(|bumped| bumped.root.id() == id);
            on.is_some_and(|on| !on.root.is_credited(cpu, on.generation))
        };
        let kicked: ArrayVec<CpuNumber, MAX_CPUS> = self.cpus().filter(|&cpu| may_use_old(cpu)).collect();
        for &cpu in &kicked {
            self.kick.kick(cpu);
        }
        for &cpu in &kicked {
            while Rule::WaitForGuests.kept() && may_use_old(cpu) {
                self.kick.relax();
            }
        }
    }
}

fn ask_for_one(l0: &dyn GuestMappingFlush, root: &Root, list: Option<PageRanges>) -> Result<(), Status> {
    match list {
        Some(ranges) => l0.flush_list(root.address(), ranges),
        None => l0.flush_space(root.address()),
    }
}
