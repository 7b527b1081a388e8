// SPDX-License-Identifier: MIT OR Apache-2.0
//! The control words of a VMCS, and what of them can be used here.
//!
//! [`negotiate`] is the one place where that is decided: from what the processor offers, and for an enlightened VMCS
//! also from what has a place there.

mod allowance;
mod capabilities;
mod negotiation;
mod words;

pub use allowance::Allowance;
pub use capabilities::Capabilities;
pub use negotiation::MissingControls;
pub use negotiation::Negotiated;
pub use negotiation::Unusable;
pub use negotiation::negotiate;
pub use words::Controls;
pub use words::EntryControls;
pub use words::ExitControls;
pub use words::PinBasedControls;
pub use words::PrimaryControls;
pub use words::SecondaryControls;
pub use words::TertiaryControls;
