// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest memory: what is where in guest-physical space, and the tables that translate it.
//!
//! Where the code asks whether a [`rule`] is kept, read: it is. Tests break one at a time, and see a model find it.

pub mod atomic;
mod backing;
mod changes;
mod coherence;
pub mod counters;
mod dirty_log;
mod entry;
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
mod paging;
mod published;
pub mod residence;
pub mod rule;
mod slots;
pub mod space;
mod table;
#[cfg(test)]
mod walker;
#[cfg(test)]
pub(crate) mod watch;
mod words;

pub use coherence::Coherence;
pub use coherence::Kick;
pub use counters::Counter;
pub use counters::Counters;
pub use guest_physical::GuestMemory;
pub use guest_physical::GuestPhysical;
pub use guest_physical::Unbacked;
pub use space::GuestSpace;
