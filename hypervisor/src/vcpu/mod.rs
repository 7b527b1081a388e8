// SPDX-License-Identifier: MIT OR Apache-2.0
//! One virtual CPU: its state, its run loop, and what it does on each exit.

pub mod apic_virtualization;
pub mod controls;
pub mod cpuid;
pub mod emulate;
pub mod end;
mod events;
pub mod exception;
pub mod exit_counts;
pub mod exits;
pub mod guest;
pub mod guest_tsc;
#[cfg(target_os = "none")]
mod host_state;
pub mod initial_state;
mod linear;
pub mod linear_flush;
pub mod mailbox;
#[cfg(test)]
pub(crate) mod model;
pub mod msr_policy;
pub mod processor_state;
pub mod reset;
#[cfg(target_os = "none")]
pub mod run;
pub mod segment;
#[cfg(any(feature = "measure", test))]
pub mod shares;
pub mod state;
#[cfg(target_os = "none")]
pub mod support;
#[cfg(target_os = "none")]
mod virtual_cpu;

#[cfg(target_os = "none")]
pub use virtual_cpu::Share;
#[cfg(target_os = "none")]
pub use virtual_cpu::Vcpu;
