// SPDX-License-Identifier: MIT OR Apache-2.0
//! The exerciser: registers by which a test in a guest changes the machine under itself, while its other vCPUs run on.
//!
//! It is there only where the manifest asks for it. A command takes the operands A and B and leaves a value; all three belong
//! to the machine, so one vCPU commands at a time. docs/machine.md has the table.

use core::ops::Range;

/// Its first port.
pub const PORT: u16 = 0x620;
/// How many ports it has.
pub const PORTS: u16 = 16;

const COMMAND: u16 = 0;
const OPERAND_A: u16 = 4;
const OPERAND_B: u16 = 8;
const VALUE: u16 = 12;

/// Frames that [`Command::LogFetch`] can tell of at once.
pub const MOST_FETCHED: u32 = 32;

/// What to do. Frames are numbers of 4 KiB pages in guest-physical space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Mappings of these frames go; their contents stay.
    Zap(Range<u64>),
    /// The dirty log of all RAM is on from here.
    LogStart,
    /// The value is a mask of those frames that were written since they were fetched last.
    LogFetch(Range<u64>),
    /// The dirty log is off.
    LogStop,
    /// What lies in the window.
    Window(Window),
    /// This vCPU goes on on the next physical CPU.
    Migrate,
    /// The value is a counter of the whole machine.
    Counter(u32),
    /// The value is the number of the physical CPU.
    Where,
    /// Large pages again, where they fit.
    Collapse(Range<u64>),
    /// The value tells whether the frame was accessed since it was asked for last.
    Age(u64),
    /// The value is the number of physical CPUs.
    Cpus,
    /// RDMSR of an MSR that reaches the processor exits from now on, on all vCPUs, or does not.
    InterceptReads {
        /// Which MSR.
        msr: u32,
        /// Whether it exits.
        exits: bool,
    },
    /// The value is how often this vCPU's RDMSRs have exited.
    ReadExits,
    /// From soon on the TSC is taken for one that ticks A / B times as fast as at the start.
    Rate(u32, u32),
    /// The value tells whether that is still to come.
    RatePending,
    /// The value is how often the machine was started again by itself.
    Restarts,
    /// The value is how often all vCPUs of the machine have exited so far.
    Exits,
}

/// What lies in the 2 MiB from [`Window::START`] on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// A device that reads all ones and forgets writes.
    Device,
    /// RAM.
    Alpha,
    /// Other RAM.
    Beta,
    /// Read-only memory with the contents of [`Window::Alpha`].
    ReadOnlyAlpha,
}

impl Window {
    /// Where it is in guest-physical space.
    pub const START: u64 = 0xc000_0000;
    /// Its bytes.
    pub const BYTES: u64 = 2 << 20;
}

/// A command that cannot be done, or that means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// Its registers.
#[derive(Debug, Default)]
pub struct Exerciser {
    a: u32,
    b: u32,
    value: u32,
    refused: bool,
}

impl Exerciser {
    /// Reads the register at `offset` from [`PORT`].
    #[must_use]
    pub fn read(&self, offset: u16) -> u32 {
        match offset {
            COMMAND => u32::from(self.refused),
            VALUE => self.value,
            _ => u32::MAX,
        }
    }

    /// Writes the register at `offset` from [`PORT`]; gives the command that is to be executed, and then to be [ended](Self::end).
    pub fn write(&mut self, offset: u16, value: u32) -> Option<Command> {
        match offset {
            COMMAND => {
                let command = self.command(value);
                self.refused = command.is_none();
                return command;
            }
            OPERAND_A => self.a = value,
            OPERAND_B => self.b = value,
            _ => {}
        }
        None
    }

    /// Leaves what came of the command.
    pub fn end(&mut self, outcome: Result<u32, Refused>) {
        self.refused = outcome.is_err();
        self.value = outcome.unwrap_or(0);
    }

    fn command(&self, number: u32) -> Option<Command> {
        let frames = u64::from(self.a)..u64::from(self.a) + u64::from(self.b);
        Some(match number {
            1 => Command::Zap(frames),
            2 => Command::LogStart,
            3 if self.b <= MOST_FETCHED => Command::LogFetch(frames),
            4 => Command::LogStop,
            5 => Command::Window(match self.a {
                0 => Window::Device,
                1 => Window::Alpha,
                2 => Window::Beta,
                3 => Window::ReadOnlyAlpha,
                _ => return None,
            }),
            6 => Command::Migrate,
            7 => Command::Counter(self.a),
            8 => Command::Where,
            9 => Command::Collapse(frames),
            10 => Command::Age(u64::from(self.a)),
            11 => Command::Cpus,
            12 if self.b <= 1 => Command::InterceptReads { msr: self.a, exits: self.b == 1 },
            13 => Command::ReadExits,
            14 if self.a != 0 && self.b != 0 => Command::Rate(self.a, self.b),
            15 => Command::RatePending,
            16 => Command::Restarts,
            17 => Command::Exits,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_takes_the_operands_and_leaves_a_value() {
        let mut exerciser = Exerciser::default();
        assert_eq!(exerciser.write(OPERAND_A, 7), None);
        assert_eq!(exerciser.write(OPERAND_B, 3), None);
        assert_eq!(exerciser.write(COMMAND, 1), Some(Command::Zap(7..10)));
        exerciser.end(Ok(42));
        assert_eq!((exerciser.read(COMMAND), exerciser.read(VALUE)), (0, 42));
        exerciser.end(Err(Refused));
        assert_eq!((exerciser.read(COMMAND), exerciser.read(VALUE)), (1, 0));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let mut exerciser = Exerciser::default();
        for number in [0, 14, 18, u32::MAX] {
            assert_eq!(exerciser.write(COMMAND, number), None);
            assert_eq!(exerciser.read(COMMAND), 1);
        }
        let _ = exerciser.write(OPERAND_A, 4);
        assert_eq!(exerciser.write(COMMAND, 5), None);
        let _ = exerciser.write(OPERAND_B, MOST_FETCHED + 1);
        assert_eq!(exerciser.write(COMMAND, 3), None);
        assert_eq!(exerciser.write(COMMAND, 12), None);
        assert_eq!(exerciser.write(COMMAND, 4), Some(Command::LogStop));
    }
}
