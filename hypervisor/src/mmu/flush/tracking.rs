// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which root each vCPU of a VM has loaded, and the one that all of them share, if they do.

use super::Root;
use crate::mmu::rule::Rule;
use alloc::sync::Arc;
use arrayvec::ArrayVec;

/// vCPUs of a VM, at most.
pub const MAX_VCPUS: usize = 64;

/// Roots, each once.
pub(super) type Distinct = ArrayVec<Arc<Root>, MAX_VCPUS>;

/// The roots that the vCPUs of a VM have loaded.
#[derive(Debug)]
pub(super) struct Tracking {
    loaded: [Option<Arc<Root>>; MAX_VCPUS],
    /// The one root of all vCPUs that have any. `None`: they differ, or nobody has looked since they did.
    shared: Option<Arc<Root>>,
}

impl Tracking {
    pub(super) const fn new() -> Self {
        Self { loaded: [const { None }; MAX_VCPUS], shared: None }
    }

    pub(super) fn load(&mut self, vcpu: usize, root: &Arc<Root>) {
        if self.shared.as_ref().is_some_and(|shared| shared.id() != root.id())
            && Rule::FlushEveryLoadedRoot.kept()
        {
            self.shared = None;
        }
        self.loaded[vcpu] = Some(Arc::clone(root));
    }

    pub(super) fn unload(&mut self, vcpu: usize) {
        self.loaded[vcpu] = None;
        if self.loaded.iter().all(Option::is_none) {
            self.shared = None;
        }
    }

    pub(super) fn is_loaded(&self, root: &Root) -> bool {
        self.loaded.iter().flatten().any(|loaded| loaded.id() == root.id())
    }

    /// Each root that any vCPU has loaded, once. If it is one, the next time needs no search.
    pub(super) fn distinct(&mut self) -> Distinct {
        if let Some(shared) = &self.shared {
            return Distinct::from_iter([Arc::clone(shared)]);
        }
        let mut distinct = Distinct::new();
        for root in self.loaded.iter().flatten() {
            if distinct.iter().all(|seen| seen.id() != root.id()) {
                distinct.push(Arc::clone(root));
            }
        }
        if let [only] = &*distinct {
            self.shared = Some(Arc::clone(only));
        }
        distinct
    }
}
