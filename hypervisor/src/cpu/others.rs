// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bring-up of all CPUs but the one that boots: INIT, SIPI, SIPI, and then each makes itself like the boot CPU.
//!
//! One that does not come, or is not like the boot CPU, is left out with a line that says why.

// UNSAFETY: starts CPUs, and what they run first.
#![expect(unsafe_code)]

use crate::cpu::Cpu;
use crate::cpu::Cpus;
use crate::cpu::hardware;
use crate::cpu::hardware::tsc_in_order;
use crate::cpu::likeness::Likeness;
use crate::cpu::local_apic;
use crate::cpu::per_cpu;
use crate::cpu::per_cpu::Area;
use crate::cpu::trampoline::Trampoline;
use crate::cpu::tsc_offset::Exchange;
use crate::memory::OutOfFrames;
use crate::memory::address_space;
use crate::memory::address_space::Stack;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;
use core::hint;
use log::warn;
use spin::Once;

/// Bytes of the stack that another CPU runs on. An exit of a guest takes about 1 KiB, making a machine about 25; only the
/// manifest's parser, for which the boot CPU's stack is larger, takes more.
const STACK: u64 = 32 << 10;

// Times, in microseconds. The first two are the SDM's (vol. 3, "Typical BSP Initialization Sequence").
const AFTER_INIT: u64 = 10_000;
const BETWEEN_START_UPS: u64 = 200;
/// Until the first instruction, and until it is ready: whoever runs us may let a CPU wait for long.
const TO_BEGIN: u64 = 1_000_000;
const TO_ARRIVE: u64 = 5_000_000;
/// Questions from which the distance of two time-stamp counters follows, and tries for each answer.
const TSC_ROUNDS: u64 = 16;
const TSC_PATIENCE: u32 = 1_000_000;
/// Counters that are so close are as good as the same: it is less than a message between CPUs takes.
const TSC_TOLERANCE_MICROS: u64 = 1;

/// What another CPU does when all are there.
pub type Run = dyn Fn(Cpu) -> Infallible + Sync;

/// The other CPUs, started, and waiting to be told what to do.
#[derive(Default)]
#[must_use = "they wait until they are released"]
pub struct Others(Vec<&'static Candidate>);

/// One that is to start.
struct Candidate {
    area: Area,
    apic_id: u32,
    likeness: &'static Likeness,
    /// That it is ready, or why it is not.
    arrival: Once<Result<(), String>>,
    exchange: Exchange,
    run: Once<&'static Run>,
}

/// Why a CPU is left out.
enum LeftOut {
    /// There are more than we have places for.
    TooMany,
    /// Messages do not reach it.
    Unreachable,
    /// No memory for its stack.
    Memory(OutOfFrames),
    /// It never began.
    Silent,
    /// It began, and has not been heard of since.
    Stuck,
    /// It is not like the boot CPU.
    Unlike(String),
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(f, "Satori uses no more than there are already"),
            Self::Unreachable => write!(f, "without x2APIC no message reaches it"),
            Self::Memory(error) => error.fmt(f),
            Self::Silent => write!(f, "it does not start: is it there, as firmware says?"),
            Self::Stuck => write!(f, "it began to start and got stuck; so are all after it"),
            Self::Unlike(reason) => reason.fmt(f),
        }
    }
}

impl fmt::Debug for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|candidate| candidate.area.number())).finish()
    }
}

impl Others {
    /// Starts the CPUs with these APIC ids, one after the other, and adds to `cpus` those that are ready.
    ///
    /// # Safety
    /// They run nothing of ours, and this one is not among them.
    pub unsafe fn start(cpus: &Cpus, apic_ids: &[u32], trampoline: Trampoline, likeness: Likeness) -> Self {
        let likeness: &'static Likeness = Box::leak(Box::new(likeness));
        let reached = apic_ids.iter().filter(|&&apic_id| local_apic::reaches(apic_id));
        for &apic_id in reached {
            // SAFETY: as the caller promised.
            unsafe { local_apic::send_init(apic_id) };
        }
        likeness.clock().wait(AFTER_INIT, || false);
        let mut bring_up = BringUp { cpus, trampoline, likeness, spare: None, ready: Vec::new() };
        for &apic_id in apic_ids {
            // SAFETY: as the caller promised; it has got its INIT.
            let outcome = unsafe { bring_up.start_one(apic_id) };
            if let Err(reason) = &outcome {
                warn!("the CPU with APIC id {apic_id:#x} is left out: {reason}");
            }
            if matches!(outcome, Err(LeftOut::Stuck)) {
                // It may still be on its way through the trampoline, which stays for it.
                return Self(bring_up.ready);
            }
        }
        bring_up.trampoline.close();
        Self(bring_up.ready)
    }

    /// Lets them go.
    pub fn release(self, run: &'static Run) {
        for candidate in self.0 {
            candidate.run.call_once(|| run);
        }
    }
}

/// What is needed to start one after the other.
struct BringUp<'a> {
    cpus: &'a Cpus,
    trampoline: Trampoline,
    likeness: &'static Likeness,
    /// The stack of one that did not come.
    spare: Option<Stack>,
    ready: Vec<&'static Candidate>,
}

impl BringUp<'_> {
    /// Starts one CPU and waits until it is ready.
    ///
    /// # Safety
    /// As for [`Others::start`]; it waits for its start.
    unsafe fn start_one(&mut self, apic_id: u32) -> Result<(), LeftOut> {
        let number = self.cpus.next().ok_or(LeftOut::TooMany)?;
        if !local_apic::reaches(apic_id) {
            return Err(LeftOut::Unreachable);
        }
        let stack = match self.spare.take() {
            Some(stack) => stack,
            None => address_space::new_stack(STACK).map_err(LeftOut::Memory)?,
        };
        let candidate: &'static Candidate = Box::leak(Box::new(Candidate {
            area: Area::new(number),
            apic_id,
            likeness: self.likeness,
            arrival: Once::new(),
            exchange: Exchange::default(),
            run: Once::new(),
        }));
        // SAFETY: the stack is fresh, or nobody has come to use it; who comes calls `enter`, once.
        unsafe { self.trampoline.offer(stack.top, enter, candidate) };
        // SAFETY: as the caller promised.
        if !unsafe { self.call(apic_id) } {
            self.spare = Some(stack);
            return Err(LeftOut::Silent);
        }
        let clock = self.likeness.clock();
        clock.wait(TO_ARRIVE, || candidate.arrival.is_completed());
        candidate.arrival.get().ok_or(LeftOut::Stuck)?.clone().map_err(LeftOut::Unlike)?;
        self.cpus.add(apic_id);
        self.ready.push(candidate);
        candidate.compare_tsc();
        Ok(())
    }

    /// Sends SIPI, twice if need be. Whether the CPU has begun. If it has not, it cannot any more.
    ///
    /// # Safety
    /// As for [`Self::start_one`].
    unsafe fn call(&self, apic_id: u32) -> bool {
        let clock = self.likeness.clock();
        let begins_within = |micros| {
            // SAFETY: as the caller promised; the page has the trampoline's code.
            unsafe { local_apic::send_start_up(apic_id, self.trampoline.number()) };
            clock.wait(micros, || self.trampoline.is_taken())
        };
        if begins_within(BETWEEN_START_UPS) || begins_within(TO_BEGIN) || !self.trampoline.withdraw() {
            return true;
        }
        // SAFETY: as the caller promised. Back to waiting, whatever it is at.
        unsafe { local_apic::send_init(apic_id) };
        false
    }
}

impl Candidate {
    /// Finds out how far its counter is from ours.
    fn compare_tsc(&self) {
        let ahead = self.exchange.ask(TSC_ROUNDS, TSC_PATIENCE, tsc_in_order).certain();
        let tolerance = self.likeness.clock().ticks(TSC_TOLERANCE_MICROS);
        if ahead.unsigned_abs() > tolerance {
            let number = self.area.number();
            warn!(
                "the time-stamp counter of {number} is {ahead} ticks ahead of the boot CPU's: guests will notice"
            );
        }
    }
}

/// Where another CPU comes to Rust, on its own stack.
extern "sysv64" fn enter(candidate: &'static Candidate) -> ! {
    per_cpu::enter(&candidate.area);
    let made = candidate.likeness.take_on(candidate.area.number(), candidate.apic_id);
    let (cpu, arrival) = match made {
        Ok(cpu) => (Some(cpu), Ok(())),
        Err(reason) => (None, Err(reason)),
    };
    candidate.arrival.call_once(|| arrival);
    let Some(cpu) = cpu else { hardware::stop() };
    let run = loop {
        if let Some(run) = candidate.run.get() {
            break run;
        }
        candidate.exchange.answer(tsc_in_order);
        hint::spin_loop();
    };
    // The trampoline's page is not mapped any more.
    address_space::flush_own();
    match run(cpu) {}
}
