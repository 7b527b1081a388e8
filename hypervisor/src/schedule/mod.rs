// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which vCPU runs on which physical CPU, and when.

pub mod queue;
