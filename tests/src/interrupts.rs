// SPDX-License-Identifier: MIT OR Apache-2.0
//! What arrived, in order: every interrupt, NMIs too, and every #DB and #BP that no attempt caught. Each vCPU has a
//! record of its own.
//!
//! Handlers only record and acknowledge. Programs look at the record afterwards, which keeps them straight-line.

// UNSAFETY: STI, CLI and HLT are assembly.
#![expect(unsafe_code)]

use crate::control;
use crate::exceptions;
use crate::local_apic::LocalApic;
use crate::processors;
use crate::time;
use core::arch::asm;
use core::fmt;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

/// The vector that the runtime gives to no source and does not acknowledge: the local APIC's spurious interrupt.
pub const SPURIOUS: u8 = 0xff;

/// How many events a vCPU keeps; later ones are only counted.
pub const CAPACITY: usize = 256;

/// One arrival.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The vector that was delivered.
    pub vector: u8,
    /// The saved instruction pointer: the instruction that had not been executed yet.
    pub rip: u64,
    /// The TSC in the handler.
    pub tsc: u64,
    /// DR6 for #DB, zero for all others.
    pub dr6: u64,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vector, rip, tsc, dr6 } = self;
        write!(f, "vector {vector:#x} at rip {rip:#x}, tsc {tsc}, dr6 {dr6:#x}")
    }
}

/// The record of one vCPU.
struct Record {
    events: [Slot; CAPACITY],
    count: AtomicUsize,
    /// How often each vector arrived, since the start.
    arrivals: [AtomicUsize; 256],
}

struct Slot {
    vector: AtomicU64,
    rip: AtomicU64,
    tsc: AtomicU64,
    dr6: AtomicU64,
}

static RECORDS: [Record; processors::MOST] = [const {
    Record {
        events: [const {
            Slot {
                vector: AtomicU64::new(0),
                rip: AtomicU64::new(0),
                tsc: AtomicU64::new(0),
                dr6: AtomicU64::new(0),
            }
        }; CAPACITY],
        count: AtomicUsize::new(0),
        arrivals: [const { AtomicUsize::new(0) }; 256],
    }
}; processors::MOST];
static ACKNOWLEDGE: AtomicBool = AtomicBool::new(true);

fn record() -> &'static Record {
    &RECORDS[processors::current()]
}

/// Forgets all events of this vCPU.
pub fn forget() {
    record().count.store(0, Relaxed);
}

/// How many events arrived here since [`forget`].
#[must_use]
pub fn count() -> usize {
    record().count.load(Relaxed)
}

/// How often `vector` has ever arrived at the vCPU `number`.
#[must_use]
pub fn arrivals(number: usize, vector: u8) -> usize {
    RECORDS[number].arrivals[usize::from(vector)].load(Relaxed)
}

/// The event with this number, counted from 0, if it arrived here and was kept.
#[must_use]
pub fn event(number: usize) -> Option<Event> {
    let slot = record().events[..count().min(CAPACITY)].get(number)?;
    Some(Event {
        vector: slot.vector.load(Relaxed) as u8,
        rip: slot.rip.load(Relaxed),
        tsc: slot.tsc.load(Relaxed),
        dr6: slot.dr6.load(Relaxed),
    })
}

/// The first `N` vectors that arrived, as a list to compare; `None` where fewer did.
#[must_use]
pub fn vectors<const N: usize>() -> [Option<u8>; N] {
    core::array::from_fn(|number| event(number).map(|event| event.vector))
}

/// Whether handlers write the EOI register (they do unless told otherwise).
pub fn acknowledge(yes: bool) {
    ACKNOWLEDGE.store(yes, Relaxed);
}

/// Sets IF. Interrupts that are pending arrive before the instruction after the next.
pub fn enable() {
    // SAFETY: the interrupt descriptor table is loaded.
    unsafe { asm!("sti", "nop") };
}

/// Clears IF.
pub fn disable() {
    // SAFETY: nothing depends on interrupts.
    unsafe { asm!("cli") };
}

/// `sti; hlt; cli`: waits for one interrupt, without a gap in which it could be missed.
pub fn wait() {
    // SAFETY: as for `enable`.
    unsafe { asm!("sti", "hlt", "cli") };
}

/// Opens the interrupt window for a moment, so that everything that is pending arrives.
pub fn take_pending() {
    // SAFETY: as for `enable`.
    unsafe { asm!("sti", "nop", "nop", "cli") };
}

/// The handler of the vectors from 32 on.
pub(crate) fn arrived(vector: u8, rip: u64) {
    note(vector, rip, 0);
    if vector != SPURIOUS && ACKNOWLEDGE.load(Relaxed) {
        exceptions::amid_attempt(|| LocalApic::current().end_of_interrupt());
    }
}

/// The handler of NMIs, and of #DB and #BP outside of attempts.
pub(crate) fn traced(vector: u8, rip: u64) {
    let dr6 = if vector == exceptions::DEBUG { control::take_dr6() } else { 0 };
    note(vector, rip, dr6);
}

fn note(vector: u8, rip: u64, dr6: u64) {
    let record = record();
    record.arrivals[usize::from(vector)].fetch_add(1, Relaxed);
    let number = record.count.fetch_add(1, Relaxed);
    if let Some(slot) = record.events.get(number) {
        slot.vector.store(u64::from(vector), Relaxed);
        slot.rip.store(rip, Relaxed);
        slot.tsc.store(time::tsc(), Relaxed);
        slot.dr6.store(dr6, Relaxed);
    }
}
