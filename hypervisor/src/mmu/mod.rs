// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest memory: what is where in guest-physical space, and the tables that translate it.

pub mod atomic;
mod coherence;
pub mod counters;
pub mod ept;
#[cfg(test)]
#[cfg(feature = "loom")]
pub(crate) mod explore;
pub mod flush;
pub mod grace;
mod guest_physical;
pub mod guest_walk;
pub mod lock;
#[cfg(test)]
pub(crate) mod model;
pub mod ram;
pub mod residence;
pub mod rule;
#[cfg(test)]
pub(crate) mod watch;

pub use coherence::Coherence;
pub use coherence::Kick;
pub use counters::Counter;
pub use guest_physical::GuestMemory;
pub use guest_physical::GuestPhysical;
pub use guest_physical::Unbacked;
