// SPDX-License-Identifier: MIT OR Apache-2.0
//! A virtual machine: what declares it, what is loaded into it, and its life.

pub mod bundle;
pub mod loader;
pub mod manifest;
pub mod memory_layout;
