// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Hyper-V interface as data: CPUID leaves, MSRs, hypercalls and shared pages, as a nested hypervisor sees them.
//!
//! Both sides of the interface use these types: the side that consumes what L0 offers, and the side that offers it
//! to guests. Nothing here reads a register, touches memory or decides anything; it only encodes and decodes.
//!
//! "TLFS" in the documentation of items is Microsoft's *Hypervisor Top Level Functional Specification*. Its tables
//! have errors; `docs/hyperv-abi.md` lists them, and which test pins what this crate says instead.
//!
//! What L0 or a guest wrote is an open set. A value without a name is kept and printed as a number, never refused
//! here, and reserved bits survive decoding and encoding.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod layout;
mod open_set;

pub mod assist_page;
pub mod cpuid;
pub mod enlightened_vmcs;
pub mod hypercall;
pub mod msr;
pub mod reference_tsc;
pub mod stimer;
pub mod synic;

/// Bytes in a page, the unit of everything that this interface shares between partition and hypervisor.
pub const PAGE_SIZE: usize = 4096;
