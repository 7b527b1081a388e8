// SPDX-License-Identifier: MIT OR Apache-2.0
//! One virtual CPU: its state, its run loop, and what it does on each exit.

pub mod cpuid;
pub mod emulate;
pub mod msr_policy;
