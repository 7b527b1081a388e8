// SPDX-License-Identifier: MIT OR Apache-2.0
//! What L0 offers us, what of it is in use, and why not the rest.
//!
//! [`Surroundings::discover`] asks CPUID who is under us; [`Capabilities::of`] turns the answer into an explicit view,
//! feature by feature, which the boot report prints. Nothing is ever inferred from a vendor's name. [`Partition`] and
//! [`VirtualProcessor`] set up what that allows, and take it away again.
//!
//! ```
//! use enlightenments::consume::Capabilities;
//! use enlightenments::consume::NativeCpuid;
//! use enlightenments::consume::Surroundings;
//! use enlightenments::consume::Switches;
//!
//! let surroundings = Surroundings::discover(&NativeCpuid);
//! println!("{surroundings}\n{}", Capabilities::of(&surroundings, Switches::NONE_OFF));
//! ```

mod bit;
mod capabilities;
mod capability;
mod cpuid_source;
pub mod crash;
mod feature;
pub mod guest_mapping;
mod hardware;
mod leftovers;
#[cfg(test)]
mod model;
mod obstacle;
mod partition;
mod shared_page;
mod surroundings;
mod switches;
#[cfg(test)]
mod tests;
pub mod time;
mod virtual_processor;

pub use bit::Bit;
pub use bit::Register;
pub use capabilities::Capabilities;
pub use capability::Capability;
pub use capability::WhyNot;
pub use cpuid_source::CpuidSource;
pub use cpuid_source::NativeCpuid;
pub use feature::Feature;
pub use feature::Missing;
pub use hardware::Hypercalls;
pub use hardware::MsrRefused;
pub use hardware::SyntheticMsrs;
pub use obstacle::Obstacle;
pub use partition::Partition;
pub use shared_page::SharedPage;
pub use surroundings::HyperV;
pub use surroundings::Hypervisor;
pub use surroundings::Surroundings;
pub use switches::Switches;
pub use virtual_processor::VirtualProcessor;
