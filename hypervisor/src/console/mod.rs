// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the operator sees: the serial port, shared by our own log and the guest's console.

pub mod answers;
pub mod attachment;
pub mod command;
pub mod crash_text;
pub mod guest_output;
pub mod keys;
pub mod line;
pub mod log;
mod port;
pub mod rate_limit;
pub mod serial;
#[cfg(target_os = "none")]
pub mod shell;
pub mod terminal;

pub use port::emergency;
pub use port::find;
pub use port::flush;
pub use port::guests_wait;
pub use port::has_interrupts;
pub use port::interrupt;
pub use port::read_byte;
pub use port::show;
pub use port::use_interrupts;
pub use port::use_no_interrupts;
pub use port::write_guest;
pub use port::write_line;
