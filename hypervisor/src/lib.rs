// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hypervisor: physical CPUs, VMX, guest memory, virtual CPUs, devices and virtual machines.
//!
//! A library, so that everything that is not a hardware leaf builds and is tested on the host with plain
//! `cargo test`. `boot` turns it into an image.
#![cfg_attr(target_os = "none", no_std)]

extern crate alloc;

pub mod acpi;
pub mod architecture;
pub mod boot_info;
pub mod console;
pub mod cpu;
pub mod devices;
#[cfg(target_os = "none")]
pub mod hyperv;
pub mod irqchip;
pub mod little_endian;
pub mod memory;
pub mod mmu;
pub mod schedule;
pub mod vcpu;
pub mod vm;
pub mod vmx;

#[cfg(target_os = "none")]
mod start;
#[cfg(target_os = "none")]
pub use start::panicked;
#[cfg(target_os = "none")]
pub use start::start;
