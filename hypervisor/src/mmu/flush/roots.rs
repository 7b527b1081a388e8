// SPDX-License-Identifier: MIT OR Apache-2.0
//! The roots of one VM, and the flush of all of them after an entry has changed.

use super::Pages;
use super::Root;
use super::reach::Bumped;
use super::reach::LoadedRoots;
use super::tracking::Tracking;
use crate::cpu::CpuNumber;
use crate::mmu::Coherence;
use crate::mmu::atomic::Ordering;
use crate::mmu::atomic::fence;
use crate::mmu::lock::Mutex;
use crate::mmu::rule::Rule;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The roots of one VM.
#[derive(Debug)]
pub struct Roots {
    coherence: Arc<Coherence>,
    /// Held for moments, never while waiting for anybody.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// All that can still be loaded.
    live: Vec<Arc<Root>>,
    tracking: Tracking,
}

impl Roots {
    /// None yet.
    #[must_use]
    pub fn new(coherence: Arc<Coherence>) -> Self {
        Self { coherence, state: Mutex::new(State { live: Vec::new(), tracking: Tracking::new() }) }
    }

    /// What the machine's CPUs show each other.
    #[must_use]
    pub fn coherence(&self) -> &Arc<Coherence> {
        &self.coherence
    }

    /// A new root for the table that an EPT pointer leads to. No CPU is credited with it.
    ///
    /// # Panics
    /// If a live root has that table: a fault of our own.
    pub fn create(&self, pointer: u64) -> Arc<Root> {
        let root = Arc::new(self.coherence.new_root(pointer));
        let mut state = self.state.lock();
        let taken = state.live.iter().any(|other| other.address() == root.address());
        assert!(!taken, "two roots share the table at {:#x}", root.address());
        state.live.push(Arc::clone(&root));
        root
    }

    /// `root` will not be loaded again, and flushes pass it by. Its page may be used again at once.
    ///
    /// # Panics
    /// If a vCPU has it loaded: a fault of our own.
    pub fn retire(&self, root: &Root) {
        let mut state = self.state.lock();
        assert!(!state.tracking.is_loaded(root), "a root is retired while a vCPU has it loaded");
        state.live.retain(|live| live.id() != root.id());
    }

    /// From now on, vCPU number `vcpu` of the VM is in its guest on `root` or not at all. It is not in it now.
    ///
    /// # Panics
    /// If there is no such vCPU number, or the root is none of this VM's live ones: a fault of our own.
    pub fn load(&self, vcpu: usize, root: &Arc<Root>) {
        let mut state = self.state.lock();
        let live = state.live.iter().any(|live| live.id() == root.id());
        assert!(live, "a root is loaded that flushes pass by");
        state.tracking.load(vcpu, root);
    }

    /// That vCPU is in no guest until it loads a root again.
    ///
    /// # Panics
    /// If there is no such vCPU number: a fault of our own.
    pub fn unload(&self, vcpu: usize) {
        self.state.lock().tracking.unload(vcpu);
    }

    /// After entries that translate `pages` were changed, by CPU `me`: comes back when no CPU can use what they were before.
    /// Only then may be released what they led to, or something else be put in their place.
    ///
    /// Other CPUs leave their guests meanwhile, and it waits for them to; so the caller holds no lock that a CPU could want
    /// between its exit and [`Occupancy::leave`](super::Occupancy::leave) (there it takes none).
    ///
    /// # Panics
    /// If `me` is in a guest: it would wait for itself.
    pub fn flush(&self, me: CpuNumber, pages: Pages) {
        assert!(self.coherence.occupancy.root(me).is_none(), "{me} flushes while it is in a guest");
        if pages.is_none() || !Rule::Flush.kept() {
            return;
        }
        let loaded = self.bump();
        if Rule::FenceAfterBump.kept() {
            fence(Ordering::SeqCst);
        }
        if !loaded.is_empty() {
            self.coherence.reach(me, &loaded, pages);
        }
    }

    /// Begins a generation in every root that can be loaded, and tells which are. One that is loaded later is seen with its new
    /// generation: whoever enters on it flushes for itself.
    fn bump(&self) -> LoadedRoots {
        let mut state = self.state.lock();
        let loaded = state.tracking.distinct();
        for root in &state.live {
            if Rule::BumpUnloadedRoots.kept() || loaded.iter().any(|loaded| loaded.id() == root.id()) {
                root.bump();
            }
        }
        // Nobody else bumps while the lock is held, so this is the generation that was begun here.
        loaded.into_iter().map(|root| Bumped { generation: root.generation(), root }).collect()
    }
}
