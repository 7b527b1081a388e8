// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices that a guest sees on its ports and in its memory, apart from interrupt controllers.

pub mod chipset;
pub mod debug_exit;
pub mod ethernet;
pub mod exerciser;
pub mod firmware;
pub mod fw_cfg;
pub mod pci;
pub mod pit;
pub mod power_management;
pub mod rate;
pub mod reset_control;
pub mod rtc;
pub mod switch;
pub mod uart;
pub mod virtio;
