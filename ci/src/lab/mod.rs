// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines that boot an image, and the sessions with them over their serial port.

mod console;
mod emulator;
mod kvm_host;
mod launch;
mod nested_host;
mod session;

pub use console::Console;
pub use console::Keyboard;
pub use console::Received;
pub use emulator::Machine;
pub use emulator::Processor;
pub use kvm_host::KvmHost;
pub use kvm_host::Run;
pub use launch::HyperV;
pub use launch::Launch;
pub use nested_host::lay_out_nested_host;
pub use session::Session;
