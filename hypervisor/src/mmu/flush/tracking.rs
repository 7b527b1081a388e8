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

#[cfg(test)]
mod tests {
    use super::*;
    use core::num::NonZeroU64;

    fn root(number: u64) -> Arc<Root> {
        Arc::new(Root::new(NonZeroU64::new(number).unwrap(), number << 12, 1))
    }

    fn shared(tracking: &Tracking) -> Option<u64> {
        tracking.shared.as_ref().map(|root| root.address())
    }

    #[test]
    fn a5_the_shared_root_is_invalid_at_first_and_while_roots_differ_and_converges_with_a_slow_flush() {
        let [one, other] = [root(1), root(2)];
        let mut tracking = Tracking::new();
        assert_eq!(shared(&tracking), None);
        tracking.load(0, &one);
        tracking.load(1, &one);
        assert_eq!(shared(&tracking), None, "nobody has looked yet");
        assert_eq!(tracking.distinct().len(), 1);
        assert_eq!(shared(&tracking), Some(0x1000));
        tracking.load(2, &one);
        assert_eq!(shared(&tracking), Some(0x1000), "one more of the same");
        tracking.load(1, &other);
        assert_eq!(shared(&tracking), None);
        assert_eq!(tracking.distinct().len(), 2);
        assert_eq!(shared(&tracking), None, "they still differ");
        tracking.load(1, &one);
        assert_eq!(shared(&tracking), None, "they agree, but nobody has looked");
        assert_eq!(tracking.distinct().len(), 1);
        assert_eq!(shared(&tracking), Some(0x1000));
    }

    #[test]
    fn a5_the_shared_root_goes_with_the_last_vcpu_that_has_it() {
        let one = root(1);
        let mut tracking = Tracking::new();
        tracking.load(0, &one);
        tracking.load(1, &one);
        tracking.distinct();
        tracking.unload(0);
        assert_eq!(shared(&tracking), Some(0x1000));
        tracking.unload(1);
        assert_eq!(shared(&tracking), None);
        assert!(!tracking.is_loaded(&one));
    }
}
