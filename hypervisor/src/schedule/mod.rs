// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which vCPU runs on which physical CPU, and when.

#[cfg(target_os = "none")]
pub mod board;
pub mod budget;
#[cfg(target_os = "none")]
pub mod processor;
pub mod queue;
pub mod vpid;
