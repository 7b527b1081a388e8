// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest's memory as a whole.

mod content;
mod forgotten;
mod l0;
mod logging;
mod machine;
mod markers;
mod parallel;
mod random;

use super::*;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::mmu::Unbacked;
use crate::mmu::table::frames_of;
use machine::Machine;
use machine::Outcome;

const ME: CpuNumber = CpuNumber::BOOT;
const LARGE: u64 = frames_of(2);

/// The addresses of a run of guest frames.
fn range(first: u64, frames: u64) -> Range<u64> {
    first * FRAME..(first + frames) * FRAME
}

fn at(frame: u64) -> GuestPhysical {
    GuestPhysical(frame * FRAME)
}

impl Machine {
    /// With RAM at the first guest frames.
    fn with_ram(frames: u64) -> Self {
        let machine = Self::new(true);
        machine.put(0, Content::Ram(Ram::new(frames * FRAME).unwrap()), frames);
        machine
    }

    #[track_caller]
    fn put(&self, first: u64, content: Content, frames: u64) {
        self.space.set(self.leave(0), range(first, frames), content).unwrap();
    }

    #[track_caller]
    fn reaches_memory(&self, frame: u64, write: bool) -> u64 {
        match self.touch(0, frame, write) {
            Outcome::Memory { address } => address,
            Outcome::Exit(fault) => panic!("{fault:?} at frame {frame:#x}"),
        }
    }
}
