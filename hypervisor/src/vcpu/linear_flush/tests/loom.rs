// SPDX-License-Identifier: MIT OR Apache-2.0
//! All interleavings of vCPUs that change their tables, flush each other, and run on TLBs that keep what nobody flushed.

use super::*;
use crate::mmu::explore::explore;
use crate::mmu::explore::finds;
use crate::mmu::watch::Watch;
use ::loom::sync::Arc;
use ::loom::thread;

/// The tables of a guest: for each linear page the frame, of two, to which it leads; and who is to be asked.
struct Guest<const VCPUS: usize> {
    entries: [AtomicU64; VCPUS],
    frames: [[Watch; 2]; VCPUS],
    flushes: [LinearFlush; VCPUS],
}

/// For each linear page the frame that is cached.
type Tlb<const PAGES: usize> = [Option<u64>; PAGES];

impl<const VCPUS: usize> Guest<VCPUS> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            entries: std::array::from_fn(|_| AtomicU64::new(0)),
            frames: std::array::from_fn(|_| Default::default()),
            flushes: std::array::from_fn(|_| LinearFlush::new()),
        })
    }

    /// VCPU number `vcpu` goes into the guest, which reads linear page `page`, and out again.
    fn run(&self, vcpu: usize, page: usize, tlb: &mut Tlb<VCPUS>) {
        let flush = &self.flushes[vcpu];
        if Rule::PublishBeforeReadingGeneration.kept() {
            flush.go_in();
            if Rule::FenceAfterPublish.kept() {
                fence(Ordering::SeqCst);
            }
            self.meet(flush, tlb);
        } else {
            self.meet(flush, tlb);
            flush.go_in();
        }
        let frame = *tlb[page].get_or_insert_with(|| self.entries[page].load(Ordering::Relaxed));
        self.frames[page][frame as usize].used();
        flush.come_out();
    }

    fn meet(&self, flush: &LinearFlush, tlb: &mut Tlb<VCPUS>) {
        if let Some(request) = flush.owed() {
            *tlb = [None; VCPUS];
            flush.meet(request);
        }
    }

    /// The guest maps linear page `page` to its other frame, flushes all vCPUs, and gives the first frame away.
    fn remap(&self, page: usize) {
        self.entries[page].store(1, Ordering::Relaxed);
        flush(self.flushes.iter(), |_| (), thread::yield_now);
        self.frames[page][0].released();
    }
}

/// One flushes, the other goes in twice, with what it had cached before.
fn one_flushes_the_other() {
    let guest = Guest::<2>::new();
    let mut tlb = [Some(0); 2];
    let other = Arc::clone(&guest);
    let runner = thread::spawn(move || (0..2).for_each(|_| other.run(1, 0, &mut tlb)));
    guest.remap(0);
    runner.join().unwrap();
}

/// Two flush each other, and go in before and after.
fn both_flush_each_other() {
    let guest = Guest::<2>::new();
    let life = |guest: Arc<Guest<2>>, vcpu: usize| {
        move || {
            let mut tlb = [Some(0); 2];
            guest.run(vcpu, 1 - vcpu, &mut tlb);
            guest.remap(vcpu);
            guest.run(vcpu, 1 - vcpu, &mut tlb);
        }
    };
    let runner = thread::spawn(life(Arc::clone(&guest), 1));
    life(guest, 0)();
    runner.join().unwrap();
}

#[test]
fn nothing_stale_is_used_after_a_flush() {
    explore(None, one_flushes_the_other);
}

#[test]
fn nothing_stale_is_used_and_nobody_waits_for_ever_while_two_flush_each_other() {
    explore(Some(3), both_flush_each_other);
}

#[test]
fn found_that_who_asks_does_not_wait() {
    finds(Rule::WaitForGuests, None, one_flushes_the_other);
}

#[test]
fn found_that_the_fence_after_asking_is_missing() {
    finds(Rule::FenceAfterAsking, None, one_flushes_the_other);
}

#[test]
fn found_that_the_fence_after_going_in_is_missing() {
    finds(Rule::FenceAfterPublish, None, one_flushes_the_other);
}

#[test]
fn found_that_it_is_looked_for_requests_before_going_in() {
    finds(Rule::PublishBeforeReadingGeneration, None, one_flushes_the_other);
}

#[test]
fn found_that_a_vcpu_is_out_before_its_accesses_are_over() {
    finds(Rule::LeaveAfterAccesses, None, one_flushes_the_other);
}
