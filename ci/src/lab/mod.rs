// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines that boot an image, and the sessions with them over their serial port.

mod emulator;
mod session;

pub use emulator::Machine;
pub use emulator::Processor;
pub use session::Received;
pub use session::Session;
