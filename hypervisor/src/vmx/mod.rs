// SPDX-License-Identifier: MIT OR Apache-2.0
//! VMX as the CPU has it: what it can do, how it is turned on, how a guest is entered and left.

pub mod capabilities;
pub mod entry;
pub mod exit;
#[cfg(target_os = "none")]
pub mod processor;
