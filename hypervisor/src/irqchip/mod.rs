// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupt controllers as guests see them: the local APIC, the I/O APIC, and the two 8259As.
//!
//! All are pure state machines. They own no lock, read no clock and touch no other vCPU: time comes in as an
//! argument, and what has to happen elsewhere goes out as a value ([`Message`], [`local_apic::Effect`]). What a machine has of
//! them beside its vCPUs is in [`lines`], which has the locks and sends.

pub mod delivery;
pub mod io_apic;
pub mod lines;
pub mod local_apic;
mod message;
mod message_signalled;
pub mod pic;
mod vector_set;

pub use message::DeliveryMode;
pub use message::Destination;
pub use message::Message;
pub use message::Trigger;
