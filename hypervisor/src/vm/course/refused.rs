// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why what an operator asked of a VM is not done.

use super::Phase;
use super::Verb;
use crate::vm::VmError;
use alloc::string::String;
use core::fmt;

/// Why it is not done.
#[derive(Debug)]
pub enum Refused {
    /// The manifest has no VM of that name.
    Unknown {
        /// The name.
        name: String,
        /// Those that it has, with commas between them.
        known: String,
    },
    /// It makes no sense where the VM is in its life.
    Phase {
        /// What was asked.
        verb: Verb,
        /// Where it is.
        phase: Phase,
    },
    /// It cannot be made.
    NotMade(VmError),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name, known } if known.is_empty() => {
                write!(f, "there is no VM {name:?}, nor any other: declare one in the manifest")
            }
            Self::Unknown { name, known } => {
                write!(f, "there is no VM {name:?}: name one that there is ({known})")
            }
            Self::Phase { verb, phase } => f.write_str(advice(*verb, *phase)),
            Self::NotMade(reason) => write!(f, "it cannot be made: {reason}"),
        }
    }
}

fn advice(verb: Verb, phase: Phase) -> &'static str {
    match (phase, verb) {
        (Phase::Stopped, _) => "it does not run: start it",
        (Phase::Running, Verb::Resume) => "it is not paused: it runs",
        (Phase::Running, _) => "it runs already: reset it to have it begin again",
        (Phase::Paused, Verb::Stop) => {
            "it is paused and does not feel its power button: resume it before, or kill it"
        }
        (Phase::Paused, _) => "it is paused already: resume, reset or kill it",
        (Phase::Stopping { .. }, _) => "its power button was pressed: wait until it has ended, or kill it",
        (Phase::Ending { .. }, _) => "it is being ended: try again in a moment",
        (Phase::Restarting { .. }, _) => "it is about to start again: start it now, or kill it",
    }
}
