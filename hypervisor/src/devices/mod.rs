// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices that a guest sees on its ports and in its memory, apart from interrupt controllers.

pub mod exerciser;
pub mod firmware;
pub mod fw_cfg;
pub mod pci;
pub mod uart;
pub mod virtio;
