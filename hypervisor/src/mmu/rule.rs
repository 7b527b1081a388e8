// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rules that make flushing right, each by its name, so that tests can break one at a time and see it found.

/// A rule. Where one is kept the code asks [`Rule::kept`], which outside of tests is always so, and costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A change that takes something away is flushed.
    Flush,
    /// Nothing is released, and no *removed* marker taken away, before the flush is over.
    ReleaseAfterFlush,
    /// A flush bumps every live root, loaded or not.
    BumpUnloadedRoots,
    /// A flush bumps before it looks who is in a guest, with a fence between.
    FenceAfterBump,
    /// A CPU shows the root that it is about to enter before it reads that root's generation.
    PublishBeforeReadingGeneration,
    /// There is a fence between the two.
    FenceAfterPublish,
    /// A CPU is out of its guest, for others, no sooner than its accesses are over.
    LeaveAfterAccesses,
    /// A native flush waits until every CPU that may use old translations has left its guest, or is credited.
    WaitForGuests,
    /// What a CPU is credited with counts for that generation, and not for later ones.
    CreditExpires,
    /// What is credited is the generation that was read before the INVEPT or the hypercall, never a later one.
    CreditTheSample,
    /// A list of ranges takes a CPU from the generation before it to its own, and no further.
    ListCreditsOnlyItsPredecessor,
    /// A remote flush that failed, even after partial work, credits nothing.
    FailureCreditsNothing,
    /// After a remote flush that failed comes a native one.
    FailureFallsBack,
    /// A remote flush reaches every distinct root that a vCPU has loaded.
    FlushEveryLoadedRoot,
    /// A new root is credited on no CPU, even if its page was another root's before.
    FreshRootIsUncredited,
    /// A vCPU that comes to a CPU flushes its linear translations there.
    InvvpidOnArrival,
    /// So does one that has run nowhere yet: its VPID may have been another vCPU's.
    FreshVpidIsFlushed,
    /// A grace period waits for the CPUs that read.
    WaitForReaders,
    /// A CPU shows that it reads before it reads anything, with a fence between.
    FenceAfterReading,
    /// Who waits for readers has a fence between taking out of sight and looking who reads.
    FenceBeforeWaiting,
    /// The end of a section within another one does not end the outer one.
    OuterSectionLasts,
    /// An entry is changed only if it is still what was seen: exchanged, not stored.
    EntriesAreExchanged,
    /// A *removed* marker is taken away by the CPU alone that it names.
    OwnMarkersAreReleased,
    /// Who takes a table out of another one that is out sees that.
    SealsAreSeen,
    /// A fault leaves *removed* markers alone.
    MarkersAreLeftAlone,
    /// Tables that were taken out are freed after a grace period.
    TablesOutliveTheirReaders,
    /// What was replaced is waited for until nobody looks at it.
    PublishedIsWaitedFor,
    /// Who asks a vCPU to drop linear translations has a fence between that and looking whether it is being run.
    FenceAfterAsking,
    /// The CPU of a vCPU that was asked is notified, before it counts for something that it is out of its guest.
    NotifyBeforeWaiting,
    /// A vCPU looks what it is asked before the first entry of each run.
    LookBeforeFirstEntry,
    /// It is not being run any more, for others, no sooner than its accesses are over.
    EndRunAfterAccesses,
    /// A virtio device has a fence between asking for a notification and looking once more whether there is something to do.
    FenceBeforeSecondLook,
    /// A virtio device has a fence between showing what it has used and looking whether its driver wants to hear of it.
    FenceAfterUsed,
}

impl Rule {
    /// Whether it is kept: always, but in tests that break it.
    #[cfg(not(test))]
    #[inline(always)]
    #[must_use]
    pub const fn kept(self) -> bool {
        true
    }

    /// Whether it is kept: always, but in tests that break it.
    #[cfg(test)]
    #[must_use]
    pub fn kept(self) -> bool {
        BROKEN.get() != Some(self)
    }

    /// Runs `act` while this rule is broken on this thread.
    #[cfg(test)]
    pub fn broken<R>(self, act: impl FnOnce() -> R) -> R {
        struct Mend;
        impl Drop for Mend {
            fn drop(&mut self) {
                BROKEN.set(None);
            }
        }
        BROKEN.set(Some(self));
        let _mend = Mend;
        act()
    }
}

#[cfg(test)]
std::thread_local! {
    static BROKEN: core::cell::Cell<Option<Rule>> = const { core::cell::Cell::new(None) };
}
