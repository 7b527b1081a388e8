// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linear translations that other vCPUs want dropped: a vCPU is asked, and waited for as long as it may use them.
//!
//! Who asks: counts a request, and looks whether the vCPU is in its guest without having met it; if so, its CPU is kicked,
//! and waited for until it is out or has met the request. Who enters: shows with which requests met it is in its guest, and
//! looks whether there are more. There is a fence between the two on both sides, so one sees the other. A vCPU that does
//! not run is not woken: it meets its requests when it enters next.
//!
//! Nobody is waited for who is out of the guest, and whoever waits is. So any number may wait for each other.

use crate::mmu::atomic::AtomicU64;
use crate::mmu::atomic::Ordering;
use crate::mmu::atomic::fence;
use crate::mmu::rule::Rule;
use crate::vm::manifest::MOST_VCPUS;
use arrayvec::ArrayVec;

/// What a vCPU shows that is out of its guest: it uses no translation. More than there are ever requests.
const OUT: u64 = u64::MAX;

/// What others ask of one vCPU, and how far it has come.
#[derive(Debug)]
pub struct LinearFlush {
    /// How many requests there have been.
    asked: AtomicU64,
    /// Up to which of them its translations are dropped. Its CPU alone reads and writes it.
    met: AtomicU64,
    /// The same while it is in its guest, else [`OUT`].
    shown: AtomicU64,
}

/// A request and all before it, by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request(u64);

impl LinearFlush {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new() -> Self {
        Self { asked: AtomicU64::new(0), met: AtomicU64::new(0), shown: AtomicU64::new(OUT) }
    }

    /// From here on it counts as in its guest. Then comes a `fence(SeqCst)`, then [`Self::owed`]; then it goes in, or
    /// [`comes out`](Self::come_out).
    #[inline]
    pub fn go_in(&self) {
        // Release: who finds it in its guest finds the CPU that it is on.
        self.shown.store(self.met.load(Ordering::Relaxed), Ordering::Release);
    }

    /// What it has to meet before it enters, if there is anything: by an INVVPID, and then [`Self::meet`].
    #[inline]
    #[must_use]
    pub fn owed(&self) -> Option<Request> {
        // Acquire: what the guest changed before it asked is seen by whoever translates anew.
        let asked = self.asked.load(Ordering::Acquire);
        (asked != self.met.load(Ordering::Relaxed)).then_some(Request(asked))
    }

    /// What its CPU had of it when it found that [owed](Self::owed) is dropped.
    pub fn meet(&self, request: Request) {
        self.met.store(request.0, Ordering::Relaxed);
        self.shown.store(request.0, Ordering::Release);
    }

    /// It has left its guest, or does not enter after all.
    #[inline]
    pub fn come_out(&self) {
        let order = if Rule::LeaveAfterAccesses.kept() { Ordering::Release } else { Ordering::Relaxed };
        self.shown.store(OUT, order);
    }

    fn ask(&self) -> Request {
        Request(self.asked.fetch_add(1, Ordering::AcqRel) + 1)
    }

    fn may_use_old(&self, request: Request) -> bool {
        self.shown.load(Ordering::Acquire) < request.0
    }
}

impl Default for LinearFlush {
    fn default() -> Self {
        Self::new()
    }
}

/// Comes back when none of the vCPUs uses linear translations from before. The caller is out of its guest, and holds no lock
/// that one of them could want on its way into or out of its own. `kick` has one of them leave its guest, by its place in `vcpus`;
/// `relax` is called again and again while waiting.
pub fn flush<'a>(vcpus: impl Iterator<Item = &'a LinearFlush>, kick: impl Fn(usize), relax: impl Fn()) {
    let asked: ArrayVec<_, { MOST_VCPUS as usize }> = vcpus.map(|vcpu| (vcpu, vcpu.ask())).collect();
    if Rule::FenceAfterAsking.kept() {
        fence(Ordering::SeqCst);
    }
    for (place, (vcpu, request)) in asked.iter().enumerate() {
        if vcpu.may_use_old(*request) {
            kick(place);
        }
    }
    for (vcpu, request) in asked {
        while Rule::WaitForGuests.kept() && vcpu.may_use_old(request) {
            relax();
        }
    }
}

#[cfg(test)]
mod tests;
