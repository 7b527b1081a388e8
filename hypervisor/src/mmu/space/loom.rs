// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest's memory as a whole under loom, with the real flush: slots change and mappings go while a vCPU faults and runs.

use super::*;
use crate::mmu::GuestPhysical;
use crate::mmu::explore::Preemptions;
use crate::mmu::explore::Yields;
use crate::mmu::explore::explore;
use crate::mmu::explore::finds;
use crate::mmu::flush::Provider;
use crate::mmu::rule::Rule;
use crate::mmu::walker::walk;
use ::loom::thread;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering;

/// Enough for all that is to be found here.
const SOME: Preemptions = Some(3);

const ME: CpuNumber = CpuNumber::BOOT;
const READ: Access = Access { read: true, write: false, execute: false };

fn other() -> CpuNumber {
    CpuNumber::new(1).expect("there are two")
}

fn space() -> Arc<GuestSpace> {
    let coherence = Coherence::new(Provider::Native, Box::new(Yields(2)));
    Arc::new(GuestSpace::new(coherence, Features { accessed_dirty: false }).unwrap())
}

/// RAM of one frame, and its address.
fn ram() -> (Arc<Ram>, u64) {
    let ram = Ram::new(FRAME).unwrap();
    let address = ram.back(0).unwrap().address;
    (ram, address)
}

/// A vCPU on CPU 1 faults at address 0, and then is in its guest. It must not use the page at `stale` once that is `over`.
fn fault_and_run(space: &GuestSpace, stale: u64, over: &AtomicBool) {
    space.roots().load(0, space.root());
    let fault = space.fault(other(), GuestPhysical(0), READ);
    // Checklist A2: a fault on a removed entry is never taken for a device's.
    assert!(matches!(fault, Fault::Resolved | Fault::Spurious | Fault::Again), "{fault:?}");
    let occupancy = &space.coherence().occupancy;
    if let Some(generation) = occupancy.enter(other(), space.root()) {
        space.root().credit(other(), generation);
    }
    let was_over = over.load(Ordering::Relaxed);
    if let Some(found) = walk(space.root().pointer(), 0, false) {
        assert!(!was_over || found.address != stale, "stale use: a vCPU finds what is gone");
        thread::yield_now();
        let is_over = over.load(Ordering::Relaxed);
        assert!(!is_over || found.address != stale, "stale use: a vCPU uses what is gone");
    }
    occupancy.leave(other());
}

/// The RAM at address 0 is exchanged while the vCPU runs.
fn exchange() {
    let space = space();
    let ((alpha, stale), (beta, fresh)) = (ram(), ram());
    space.set(ME, 0..FRAME, Content::Ram(alpha)).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let vcpu = thread::spawn({
        let (space, over) = (Arc::clone(&space), Arc::clone(&over));
        move || fault_and_run(&space, stale, &over)
    });
    space.set(ME, 0..FRAME, Content::Ram(beta)).unwrap();
    over.store(true, Ordering::Relaxed);
    vcpu.join().unwrap();
    space.roots().unload(0);
    let found = walk(space.root().pointer(), 0, false);
    assert!(found.is_none_or(|found| found.address == fresh), "stale use: what is gone is still mapped");
}

/// The mapping at address 0 goes while the vCPU runs; the page stays.
fn zap() {
    let space = space();
    let (alpha, address) = ram();
    space.set(ME, 0..FRAME, Content::Ram(alpha)).unwrap();
    assert_eq!(space.fault(ME, GuestPhysical(0), READ), Fault::Resolved);
    let vcpu = thread::spawn({
        let space = Arc::clone(&space);
        move || fault_and_run(&space, !address, &AtomicBool::new(false))
    });
    space.zap(ME, 0..FRAME);
    vcpu.join().unwrap();
    space.roots().unload(0);
}

/// Two CPUs touch memory that is not there yet.
fn both_bring() {
    let space = space();
    space.set(ME, 0..2 * FRAME, Content::Ram(Ram::new(2 * FRAME).unwrap())).unwrap();
    let before = space.held_bytes();
    let vcpu = thread::spawn({
        let space = Arc::clone(&space);
        move || space.fault(other(), GuestPhysical(0), READ)
    });
    let mine = space.fault(ME, GuestPhysical(FRAME), READ);
    let theirs = vcpu.join().unwrap();
    assert!([mine, theirs].contains(&Fault::Resolved), "{mine:?} {theirs:?}");
    assert!(!([mine, theirs].iter().any(|fault| matches!(fault, Fault::OutOfMemory | Fault::Nothing))));
    assert_eq!(space.backed_bytes(), 3 * FRAME, "one large page, brought once, and the record of it");
    assert_eq!(space.held_bytes(), before + FRAME, "one table, and what lost the race was given back");
}

#[test]
fn nobody_uses_ram_that_was_exchanged() {
    explore(SOME, exchange);
}

/// Checklist A2: a fault that looked up the old slot is waited for before that is zapped.
#[test]
fn a2_a_slot_that_is_zapped_under_a_fault_is_found() {
    finds(Rule::PublishedIsWaitedFor, SOME, exchange);
}

#[test]
fn an_exchange_without_a_flush_is_found() {
    finds(Rule::Flush, SOME, exchange);
}

/// Checklist A2: a fault on a removed entry is tried again; it is neither nothing nor a device.
#[test]
fn a2_a_fault_during_a_zap_is_tried_again() {
    explore(SOME, zap);
}

#[test]
fn memory_is_brought_once() {
    explore(SOME, both_bring);
}
