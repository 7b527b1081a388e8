// SPDX-License-Identifier: MIT OR Apache-2.0
//! A VMCS as a typed thing, on two backings: VMREAD and VMWRITE, or an enlightened page that L0 reads.
//!
//! A virtual CPU's run loop activates its VMCS in the slot of the CPU that it runs on, and works with the [`Active`]
//! one. The loop is the same on both backings:
//!
//! ```no_run
//! use evmcs::Vmcs;
//! use evmcs::VmcsError;
//! use evmcs::VmcsSlot;
//! use evmcs::field::EXCEPTION_BITMAP;
//! use evmcs::field::GUEST_RIP;
//! use evmcs::field::VM_EXIT_INSTRUCTION_LENGTH;
//! use evmcs::field::VM_INSTRUCTION_ERROR;
//!
//! const CPUID: u32 = 10;
//!
//! /// `enter` executes VMRESUME if it is given `true`, VMLAUNCH otherwise, and returns whether that ended in a VM exit.
//! fn run(vmcs: &mut Vmcs, slot: &mut VmcsSlot, enter: impl Fn(bool) -> bool) -> Result<(), VmcsError> {
//!     let mut vmcs = vmcs.activate(slot)?;
//!     if !vmcs.launched() {
//!         // New on this CPU: write the per-CPU host fields here, and flush the VPID.
//!     }
//!     vmcs.write(EXCEPTION_BITMAP, 0);
//!     while enter(vmcs.launched()) {
//!         match vmcs.note_exit() {
//!             CPUID => {
//!                 let next = vmcs.read(GUEST_RIP) + u64::from(vmcs.read(VM_EXIT_INSTRUCTION_LENGTH));
//!                 vmcs.write(GUEST_RIP, next);
//!             }
//!             reason => panic!("exit reason {reason:#x}"),
//!         }
//!     }
//!     // VMfail: no exit to note. After VMfailValid the reason is here.
//!     panic!("VM entry failed: {}", evmcs::VmInstructionError(vmcs.read(VM_INSTRUCTION_ERROR)));
//! }
//! ```
//!
//! What only the processor writes cannot be written:
//!
//! ```compile_fail,E0308
//! fn forge(vmcs: &mut evmcs::Active<'_>) {
//!     vmcs.write(evmcs::field::VM_EXIT_REASON, 10);
//! }
//! ```
//!
//! To move a virtual CPU, call [`Vmcs::release`] on the CPU where it is resident, and activate it on the other.
#![cfg_attr(not(test), no_std)]

pub mod controls;
pub mod field;

mod active;
mod assist_page;
mod instructions;
#[cfg(test)]
mod model;
mod mutation;
mod native;
mod place;
mod region;
mod slot;
mod vmcs;

pub use active::Active;
pub use active::VM_ENTRY_FAILURE;
pub use assist_page::AssistPage;
pub use field::Field;
pub use instructions::Failed;
pub use instructions::VmFail;
pub use instructions::VmInstructionError;
pub use instructions::VmcsInstructions;
pub use native::NativeInstructions;
pub use place::Place;
pub use place::place_of;
pub use region::REGION_SIZE;
pub use region::VmcsPointer;
pub use region::VmcsRegion;
pub use slot::StillResident;
pub use slot::VmcsSlot;
pub use vmcs::Backing;
pub use vmcs::Enlightenments;
pub use vmcs::Vmcs;
pub use vmcs::VmcsError;
