// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the operator sees: the serial port, shared by our own log and the guest's console.

pub mod crash_text;
pub mod guest_output;
pub mod log;
mod port;
pub mod rate_limit;
pub mod serial;

pub use port::emergency;
pub use port::find;
pub use port::flush;
pub use port::read_byte;
pub use port::write_guest;
pub use port::write_line;
