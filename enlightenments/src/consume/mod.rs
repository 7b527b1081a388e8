// SPDX-License-Identifier: MIT OR Apache-2.0
//! What L0 offers us, what of it is in use, and why not the rest.
//!
//! [`Surroundings::discover`] asks CPUID who is under us; [`Capabilities::of`] turns the answer into an explicit view,
//! feature by feature, which the boot report prints. Nothing is ever inferred from a vendor's name.
//!
//! ```
//! use enlightenments::consume::Capabilities;
//! use enlightenments::consume::NativeCpuid;
//! use enlightenments::consume::Surroundings;
//!
//! let surroundings = Surroundings::discover(&NativeCpuid);
//! println!("{surroundings}\n{}", Capabilities::of(&surroundings));
//! ```

mod bit;
mod capabilities;
mod cpuid_source;
pub mod crash;
mod feature;
mod hardware;
#[cfg(test)]
mod model;
mod shared_page;
mod surroundings;
pub mod time;

pub use bit::Bit;
pub use bit::Register;
pub use capabilities::Capabilities;
pub use capabilities::Capability;
pub use capabilities::WhyNot;
pub use cpuid_source::CpuidSource;
pub use cpuid_source::NativeCpuid;
pub use feature::Feature;
pub use feature::Missing;
pub use hardware::Hypercalls;
pub use hardware::MsrRefused;
pub use hardware::SyntheticMsrs;
pub use shared_page::SharedPage;
pub use surroundings::HyperV;
pub use surroundings::Hypervisor;
pub use surroundings::Surroundings;
