// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the exerciser's commands do to the machine.

use crate::cpu::number::current;
use crate::devices::exerciser::Command;
use crate::devices::exerciser::Exerciser;
use crate::devices::exerciser::Refused;
use crate::devices::exerciser::Window;
use crate::memory::FRAME;
use crate::memory::OutOfFrames;
use crate::memory::with_heap;
use crate::mmu::Counter;
use crate::mmu::space::Content;
use crate::mmu::space::GuestSpace;
use crate::mmu::space::Ram;
use crate::vcpu::guest::Guest;
use crate::vcpu::msr_policy::MsrAccess;
use crate::vcpu::msr_policy::MsrIndex;
use crate::vcpu::msr_policy::Policy;
use crate::vcpu::msr_policy::policy_of;
use crate::vmx::exit::ExitReason;
use alloc::sync::Arc;
use core::ops::Range;
use spin::Mutex;

/// The counters that a guest can ask for, by number.
const COUNTERS: [Counter; 9] = [
    Counter::InveptSingle,
    Counter::InveptGlobal,
    Counter::RemoteFlushHypercalls,
    Counter::RemoteFlushNative,
    Counter::InvvpidSingle,
    Counter::InveptElided,
    Counter::SecondLevelFaults,
    Counter::SpuriousFaults,
    Counter::Migrations,
];

/// More than any guest's memory.
const EVERYWHERE: Range<u64> = 0..1 << 40;

/// The exerciser of a machine.
#[derive(Debug)]
pub struct Exercise {
    registers: Mutex<Registers>,
    alpha: Arc<Ram>,
    beta: Arc<Ram>,
    /// How often the machine was started again by itself.
    restarts: u32,
}

#[derive(Debug, Default)]
struct Registers {
    exerciser: Exerciser,
    /// Written, and still to be executed.
    command: Option<Command>,
}

impl Exercise {
    /// One for a machine whose window is a device at first.
    pub fn new(memory: &GuestSpace, restarts: u32) -> Result<Self, OutOfFrames> {
        let ram = || Ram::new(Window::BYTES);
        let exercise = Self { registers: Mutex::default(), alpha: ram()?, beta: ram()?, restarts };
        show(memory, &exercise, Window::Device)?;
        Ok(exercise)
    }

    /// Reads the register at `offset`.
    #[must_use]
    pub fn read(&self, offset: u16) -> u32 {
        self.registers.lock().exerciser.read(offset)
    }

    /// Writes the register at `offset`; tells whether there is something to execute.
    pub fn write(&self, offset: u16, value: u32) -> bool {
        let mut registers = self.registers.lock();
        registers.command = registers.exerciser.write(offset, value);
        registers.command.is_some()
    }
}

/// Executes the command that a guest has written. It may wait until other CPUs have left their guests.
pub fn execute(guest: &mut Guest<'_>) {
    let Some(exercise) = &guest.machine.exercise else { return };
    // Not executed under the lock: other vCPUs may look at the registers meanwhile.
    let Some(command) = exercise.registers.lock().command.take() else { return };
    if command == Command::Migrate {
        guest.state.moves_on = true;
        guest.state.attention = true;
    }
    // Slots that change are written down anew: that is for tests, not for the path of an exit.
    let outcome = with_heap(|| outcome(guest, exercise, command));
    exercise.registers.lock().exerciser.end(outcome);
}

fn outcome(guest: &Guest<'_>, exercise: &Exercise, command: Command) -> Result<u32, Refused> {
    let (machine, memory, me) = (guest.machine, &guest.machine.memory, current());
    let mut value = 0;
    match command {
        Command::Zap(frames) => memory.zap(me, bytes(&frames)),
        Command::LogStart => memory.start_log(me, EVERYWHERE).map_err(|_| Refused)?,
        Command::LogFetch(frames) => {
            value = memory.fetch_log(me, frames.start, frames.end - frames.start) as u32;
        }
        Command::LogStop => memory.stop_log(me, EVERYWHERE),
        Command::Window(window) => show(memory, exercise, window).map_err(|_| Refused)?,
        Command::Migrate => {}
        Command::Counter(number) => {
            let counter = *COUNTERS.get(number as usize).ok_or(Refused)?;
            value = memory.roots().coherence().counters.sum(counter) as u32;
        }
        Command::Where => value = me.index() as u32,
        Command::Collapse(frames) => memory.collapse(me, bytes(&frames)),
        Command::Age(frame) => value = u32::from(memory.age(me, frame)),
        Command::Cpus => value = machine.posts.neighbours().count() as u32,
        Command::InterceptReads { msr, exits } => {
            machine.intercept(may_pass_through(MsrIndex(msr))?, MsrAccess::Read, exits);
        }
        Command::Restarts => value = exercise.restarts,
        Command::Exits => {
            let exits = machine.posts.iter().flat_map(|post| post.exits.0.iter());
            value = exits.map(|(_, exits)| exits.count).sum::<u64>() as u32;
        }
        Command::ReadExits => {
            value = guest.machine.posts.of(guest.index()).exits.0.of(ExitReason::RDMSR) as u32;
        }
        Command::RatePending => value = u32::from(machine.posts.neighbours().is_rate_pending()),
        Command::Rate(numerator, denominator) => {
            machine.posts.neighbours().pretend_rate(numerator, denominator);
        }
    }
    Ok(value)
}

/// An MSR that the policy passes through: all others have to exit.
fn may_pass_through(msr: MsrIndex) -> Result<MsrIndex, Refused> {
    match policy_of(msr) {
        Policy::PassThrough(_) => Ok(msr),
        _ => Err(Refused),
    }
}

/// Puts something else into the window.
fn show(memory: &GuestSpace, exercise: &Exercise, window: Window) -> Result<(), OutOfFrames> {
    let content = match window {
        Window::Device => Content::Device,
        Window::Alpha => Content::Ram(Arc::clone(&exercise.alpha)),
        Window::Beta => Content::Ram(Arc::clone(&exercise.beta)),
        Window::ReadOnlyAlpha => Content::Rom(Arc::clone(&exercise.alpha)),
    };
    memory.set(current(), Window::START..Window::START + Window::BYTES, content)
}

fn bytes(frames: &Range<u64>) -> Range<u64> {
    frames.start * FRAME..frames.end * FRAME
}

#[cfg(test)]
mod tests;
