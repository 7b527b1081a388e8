// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the lab and its agent in the KVM host say to each other over one stream of bytes, which guests share.

pub mod frames;
pub mod protocol;
