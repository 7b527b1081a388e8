// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the machine's CPUs show each other so that guest memory can change under them.

use super::counters::Counters;
use super::flush::Occupancy;
use super::flush::Provider;
use super::flush::Root;
use super::grace::Grace;
use crate::cpu::CpuNumber;
use crate::cpu::number::MAX_CPUS;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::num::NonZeroU64;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;

/// What guest memory asks of the machine's CPUs.
pub trait Kick: fmt::Debug + Send + Sync {
    /// Makes `cpu` leave its guest soon, if it is in one. Comes back at once.
    fn kick(&self, cpu: CpuNumber);

    /// Called again and again while waiting for another CPU.
    fn relax(&self);

    /// How many CPUs may run guests; their numbers are below that. Asked once.
    fn cpus(&self) -> usize {
        MAX_CPUS
    }
}

/// One per machine, shared by all its VMs.
#[derive(Debug)]
pub struct Coherence {
    /// Who is in a guest, and on which root.
    pub occupancy: Occupancy,
    /// Who reads what may be taken away.
    pub grace: Grace,
    /// What happened how often.
    pub counters: Counters,
    pub(super) provider: Provider,
    pub(super) kick: Box<dyn Kick>,
    cpus: usize,
    /// Number of the next root. Not zero, and not used twice.
    next_root: AtomicU64,
    pub(super) failure_is_logged: AtomicBool,
}

impl Coherence {
    /// For a machine whose CPUs are all there, none of them in a guest.
    #[must_use]
    pub fn new(provider: Provider, kick: Box<dyn Kick>) -> Arc<Self> {
        let cpus = kick.cpus();
        assert!(cpus <= MAX_CPUS, "{cpus} CPUs are more than there are numbers");
        Arc::new(Self {
            occupancy: Occupancy::new(),
            grace: Grace::new(),
            counters: Counters::default(),
            provider,
            kick,
            cpus,
            next_root: AtomicU64::new(1),
            failure_is_logged: AtomicBool::new(false),
        })
    }

    /// Waits until every CPU that is in a read section now has left it: what was taken out of sight before can be freed.
    ///
    /// # Panics
    /// If `me` is in such a section: it would wait for itself.
    pub fn synchronize(&self, me: CpuNumber) {
        self.grace.synchronize(me, &*self.kick);
    }

    pub(super) fn new_root(&self, pointer: u64) -> Root {
        let id = NonZeroU64::new(self.next_root.fetch_add(1, Ordering::Relaxed));
        Root::new(id.expect("there are never so many roots"), pointer, self.cpus)
    }

    pub(super) fn cpus(&self) -> impl Iterator<Item = CpuNumber> {
        CpuNumber::all().take(self.cpus)
    }
}
