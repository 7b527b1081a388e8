// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Hyper-V ABI as data, from the side of a nested hypervisor.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod enlightened_vmcs;
