// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest memory: what is where in guest-physical space, and the tables that translate it.

pub mod atomic;
pub mod ept;
mod guest_physical;
pub mod guest_walk;
#[cfg(test)]
pub(crate) mod model;
pub mod ram;
pub mod rule;

pub use guest_physical::GuestMemory;
pub use guest_physical::GuestPhysical;
pub use guest_physical::Unbacked;
