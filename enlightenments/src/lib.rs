// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hyper-V as a service: [`consume`] what L0 offers us, and [`offer`] the same to our guests.
//!
//! The two sides share the ABI in `hyperv-bindings` and nothing else, so that a mistake in one does not hide the same
//! mistake in the other.
#![cfg_attr(not(test), no_std)]

pub mod consume;
pub mod offer;
