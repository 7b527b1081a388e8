// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupt controllers as guests see them: the local APIC and the I/O APIC.
//!
//! Both are pure state machines. They own no lock, read no clock and touch no other vCPU: time comes in as an
//! argument, and what has to happen elsewhere goes out as a value ([`Message`], [`local_apic::Effect`]).

pub mod delivery;
pub mod io_apic;
pub mod local_apic;
mod message;

pub use message::DeliveryMode;
pub use message::Destination;
pub use message::Message;
pub use message::Trigger;
