// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flushing translations of guest memory: so that none is ever used that was taken away, and hardly any INVEPT is needed.
//!
//! A CPU may keep what it read from a guest's tables for as long as nobody flushes it. So each root counts the changes that
//! took something away (its generation), and knows for each CPU up to which one that CPU is clean. Who changes an entry:
//! changes it, bumps, and reaches the CPUs that are in a guest ([`Roots::flush`]). Who enters a guest: shows it, then looks
//! whether this CPU is clean ([`Occupancy::enter`]). Between the two stands a fence on either side, so one sees the other.

#[cfg(test)]
#[cfg(feature = "loom")]
mod loom;
#[cfg(test)]
mod model;
mod occupancy;
mod pages;
mod provider;
mod reach;
mod root;
mod roots;
#[cfg(test)]
mod tests;
mod tracking;

pub use occupancy::Occupancy;
pub use pages::Pages;
pub use provider::FlushRefused;
pub use provider::GuestMappingFlush;
pub use provider::Provider;
pub use root::Generation;
pub use root::Root;
pub use root::RootId;
pub use roots::Roots;
pub use tracking::MAX_VCPUS;
