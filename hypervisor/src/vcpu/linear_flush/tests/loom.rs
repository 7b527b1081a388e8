// SPDX-License-Identifier: MIT OR Apache-2.0
//! All interleavings of vCPUs that change their tables, flush each other, and run on TLBs that keep what nobody flushed.

use super::*;
use crate::cpu::attention::Attention;
use crate::cpu::attention::AttentionWord;
use crate::mmu::explore::explore;
use crate::mmu::explore::finds;
use crate::mmu::watch::Watch;
use ::loom::sync::Arc;
use ::loom::thread;

/// How many there are, of each of CPUs, vCPUs and pages.
const COUNT: usize = 2;

/// The tables of a guest: for each linear page the frame, of two, to which it leads; who is to be asked, and where they run.
struct Guest {
    entries: [AtomicU64; COUNT],
    frames: [[Watch; 2]; COUNT],
    flushes: [LinearFlush; COUNT],
    cpus: [AttentionWord; COUNT],
}

/// What a CPU has cached for a vCPU: for each linear page its frame.
type Tlb = [Option<u64>; COUNT];

/// Where a vCPU is run, and with what.
struct Run<'a> {
    vcpu: usize,
    cpu: usize,
    /// The page that it reads each time that it is in the guest.
    page: usize,
    tlb: &'a mut Tlb,
    /// No other vCPU is on that CPU.
    alone: bool,
}

impl Guest {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            entries: std::array::from_fn(|_| AtomicU64::new(0)),
            frames: std::array::from_fn(|_| Default::default()),
            flushes: std::array::from_fn(|_| LinearFlush::new()),
            cpus: std::array::from_fn(|_| AttentionWord::new()),
        })
    }

    /// Runs a vCPU for up to `entries` into its guest, as the run loop does it.
    fn run(&self, run: Run<'_>, entries: usize) {
        let (flush, attention) = (&self.flushes[run.vcpu], &self.cpus[run.cpu]);
        if !Rule::PublishBeforeReadingGeneration.kept() {
            Self::look(flush, run.tlb);
        }
        flush.begin_run(cpu(run.cpu));
        let mut first = Rule::PublishBeforeReadingGeneration.kept() && Rule::LookBeforeFirstEntry.kept();
        for _ in 0..entries {
            attention.mark_away();
            if Rule::FenceAfterPublish.kept() {
                fence(Ordering::SeqCst);
            }
            let asked = !attention.look().is_empty();
            if asked && !run.alone {
                attention.come_back();
                break;
            }
            if asked {
                attention.clear(Attention::MAIL);
            }
            if asked || std::mem::take(&mut first) {
                Self::look(flush, run.tlb);
            }
            let read = || self.entries[run.page].load(Ordering::Relaxed);
            let frame = *run.tlb[run.page].get_or_insert_with(read);
            self.frames[run.page][frame as usize].used();
            attention.come_back();
        }
        flush.end_run();
    }

    /// What the vCPU is asked is done, and the CPU's TLB has nothing left of it.
    fn look(flush: &LinearFlush, tlb: &mut Tlb) {
        if let Some(request) = flush.owed() {
            *tlb = Tlb::default();
            flush.meet(request);
        }
    }

    /// The guest maps linear page `page` to its other frame, has vCPU `other` flush, and gives the first frame away.
    fn remap(&self, page: usize, other: usize) {
        self.entries[page].store(1, Ordering::Relaxed);
        let notify = |at: CpuNumber| {
            // Nobody has to be interrupted: all leave their guests by themselves.
            let _ = self.cpus[at.index()].set(Attention::MAIL);
        };
        flush([&self.flushes[other]].into_iter(), notify, |at| self.cpus[at.index()].is_away());
        self.frames[page][0].released();
    }
}

/// One flushes while `runs` is what the other's CPUs do.
fn flushed_while(runs: impl FnOnce(&Guest) + Send + 'static) {
    let guest = Guest::new();
    let other = Arc::clone(&guest);
    let runner = thread::spawn(move || runs(&other));
    guest.remap(0, 1);
    runner.join().unwrap();
}

/// The other goes in twice in a run, with what it had cached before.
fn one_run() {
    flushed_while(|guest| {
        let tlb = &mut [Some(0); COUNT];
        guest.run(Run { vcpu: 1, cpu: 1, page: 0, tlb, alone: true }, 2);
    });
}

/// It is run twice on a CPU where others wait: what that CPU is asked has its scheduler look.
fn two_runs() {
    flushed_while(|guest| {
        let tlb = &mut [Some(0); COUNT];
        for _ in 0..2 {
            guest.run(Run { vcpu: 1, cpu: 1, page: 0, tlb, alone: false }, 2);
            let _ = guest.cpus[1].take();
        }
    });
}

/// It moves to the other CPU, which it has not been on.
fn a_move() {
    flushed_while(|guest| {
        guest.run(Run { vcpu: 1, cpu: 1, page: 0, tlb: &mut [Some(0); COUNT], alone: true }, 1);
        guest.run(Run { vcpu: 1, cpu: 0, page: 0, tlb: &mut [None; COUNT], alone: true }, 1);
    });
}

/// Another vCPU, which is not asked, is run before it on its CPU, and leaves when the CPU is asked for something.
fn after_another() {
    flushed_while(|guest| {
        // It has nothing of the page that is changed.
        guest.run(Run { vcpu: 0, cpu: 1, page: 1, tlb: &mut [Some(0); COUNT], alone: false }, 1);
        let _ = guest.cpus[1].take();
        guest.run(Run { vcpu: 1, cpu: 1, page: 0, tlb: &mut [Some(0); COUNT], alone: false }, 1);
    });
}

/// Two flush each other, and go in before and after.
fn both_flush_each_other() {
    let guest = Guest::new();
    let life = |guest: Arc<Guest>, vcpu: usize| {
        move || {
            let (other, tlb) = (1 - vcpu, &mut [Some(0); COUNT]);
            guest.run(Run { vcpu, cpu: vcpu, page: other, tlb, alone: true }, 1);
            guest.remap(vcpu, other);
            guest.run(Run { vcpu, cpu: vcpu, page: other, tlb, alone: true }, 1);
        }
    };
    let runner = thread::spawn(life(Arc::clone(&guest), 1));
    life(guest, 0)();
    runner.join().unwrap();
}

#[test]
fn nothing_stale_is_used_after_a_flush() {
    explore(None, one_run);
}

#[test]
fn nothing_stale_is_used_where_vcpus_take_turns_or_move() {
    explore(Some(4), two_runs);
    explore(Some(4), after_another);
    explore(None, a_move);
}

#[test]
fn nothing_stale_is_used_and_nobody_waits_for_ever_while_two_flush_each_other() {
    explore(Some(3), both_flush_each_other);
}

#[test]
fn found_that_who_asks_does_not_wait() {
    finds(Rule::WaitForGuests, None, one_run);
}

#[test]
fn found_that_the_fence_after_asking_is_missing() {
    finds(Rule::FenceAfterAsking, None, one_run);
}

#[test]
fn found_that_the_cpu_of_who_is_asked_is_not_notified() {
    finds(Rule::NotifyBeforeWaiting, None, one_run);
}

#[test]
fn found_that_the_fence_after_showing_where_it_runs_is_missing() {
    finds(Rule::FenceAfterPublish, None, one_run);
}

#[test]
fn found_that_it_is_looked_for_requests_before_showing_where_it_runs() {
    finds(Rule::PublishBeforeReadingGeneration, None, one_run);
}

#[test]
fn found_that_nobody_looks_before_the_first_entry_of_a_run() {
    finds(Rule::LookBeforeFirstEntry, None, one_run);
}

#[test]
fn found_that_a_cpu_is_back_before_its_accesses_are_over() {
    finds(Rule::LeaveAfterAccesses, None, one_run);
}

#[test]
fn found_that_a_run_ends_before_its_accesses_are_over() {
    finds(Rule::EndRunAfterAccesses, None, one_run);
}
