// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linear translations that other vCPUs want dropped: a vCPU is asked, and waited for as long as it may use them.
//!
//! Who asks: counts a request, and looks where the vCPU is being run. If it is, its CPU is notified, so that the vCPU looks what it
//! is asked before it enters next, and is waited for until it has met the request or is out of its guest. Who runs a vCPU:
//! shows where, and looks what it is asked before the first entry. There is a fence between the two on both sides, so one
//! sees the other. A vCPU that is not being run is not woken: it meets its requests when it runs next.
//!
//! Entries and exits show nothing for this: whether a CPU is in a guest its [attention word] says.
//! Nobody is waited for who is out of the guest, and whoever waits is. So any number may wait for each other.
//!
//! [attention word]: crate::cpu::attention::AttentionWord

use crate::cpu::CpuNumber;
use crate::mmu::atomic::AtomicU64;
use crate::mmu::atomic::Ordering;
use crate::mmu::atomic::fence;
use crate::mmu::atomic::spin_loop;
use crate::mmu::rule::Rule;
use crate::vm::manifest::MOST_VCPUS;
use arrayvec::ArrayVec;

/// Where a vCPU is that is not being run. No CPU has that number.
const NOWHERE: u64 = u64::MAX;

/// What others ask of one vCPU, and how far it has come.
#[derive(Debug)]
pub struct LinearFlush {
    /// How many requests there have been.
    asked: AtomicU64,
    /// Up to which of them its translations are dropped.
    met: AtomicU64,
    /// The number of the CPU that runs it, or [`NOWHERE`].
    place: AtomicU64,
}

/// A request and all before it, by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request(u64);

impl LinearFlush {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new() -> Self {
        Self { asked: AtomicU64::new(0), met: AtomicU64::new(0), place: AtomicU64::new(NOWHERE) }
    }

    /// From here on `cpu` runs it. Before the first entry comes a `fence(SeqCst)`, then [`Self::owed`]; and before each later one for
    /// which the CPU's attention is asked.
    pub fn begin_run(&self, cpu: CpuNumber) {
        // Release: who finds it here finds it off the CPU before.
        self.place.store(cpu.index() as u64, Ordering::Release);
    }

    /// What it has to meet before it enters, if there is anything: by an INVVPID, and then [`Self::meet`].
    #[must_use]
    pub fn owed(&self) -> Option<Request> {
        // Acquire: what the guest changed before it asked is seen by whoever translates anew.
        let asked = self.asked.load(Ordering::Acquire);
        (asked != self.met.load(Ordering::Relaxed)).then_some(Request(asked))
    }

    /// What its CPU had of it when it found that [owed](Self::owed) is dropped.
    pub fn meet(&self, request: Request) {
        // What was accessed by the old ones is over: the fence before `owed` came after that.
        self.met.store(request.0, Ordering::Relaxed);
    }

    /// It is out of its guest, and does not enter again before its next run.
    pub fn end_run(&self) {
        let order = if Rule::EndRunAfterAccesses.kept() { Ordering::Release } else { Ordering::Relaxed };
        self.place.store(NOWHERE, order);
    }

    fn ask(&self) -> Request {
        Request(self.asked.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// The CPU that runs it, while it has not met the request.
    fn may_use_old_on(&self, request: Request) -> Option<CpuNumber> {
        if self.met.load(Ordering::Acquire) >= request.0 {
            return None;
        }
        CpuNumber::new(self.place.load(Ordering::Acquire) as usize)
    }
}

impl Default for LinearFlush {
    fn default() -> Self {
        Self::new()
    }
}

/// Comes back when none of the vCPUs uses linear translations from before. The caller is none of them, is out of its guest, and holds
/// no lock that one of them could want on its way into or out of its own. `notify` sets a bit in a CPU's attention word, and has it
/// leave its guest if it is in one, which `is_away` tells.
pub fn flush<'a>(
    vcpus: impl Iterator<Item = &'a LinearFlush>,
    notify: impl Fn(CpuNumber),
    is_away: impl Fn(CpuNumber) -> bool,
) {
    let asked: ArrayVec<_, { MOST_VCPUS as usize }> = vcpus.map(|vcpu| (vcpu, vcpu.ask())).collect();
    if Rule::FenceAfterAsking.kept() {
        fence(Ordering::SeqCst);
    }
    // Who is not being run now looks before the first entry of its next run.
    let running: ArrayVec<_, { MOST_VCPUS as usize }> = asked
        .into_iter()
        .filter_map(|(vcpu, request)| vcpu.may_use_old_on(request).map(|cpu| (vcpu, request, cpu)))
        .collect();
    for &(_, _, cpu) in &running {
        if Rule::NotifyBeforeWaiting.kept() {
            notify(cpu);
        }
    }
    for (vcpu, request, cpu) in running {
        // Elsewhere it is in a later run; back from the guest, its CPU sees that it was notified before it goes there again.
        while Rule::WaitForGuests.kept() && vcpu.may_use_old_on(request) == Some(cpu) && is_away(cpu) {
            spin_loop();
        }
    }
}

#[cfg(test)]
mod tests;
