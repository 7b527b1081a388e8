// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest finds that starts anew by jumping to the reset vector in real mode.
//!
//! Linux does so on hardware-reduced ACPI: there it asks EFI to reset, and without EFI it tries this, passing over
//! the FADT's reset register (unless its command line says `reboot=acpi`).

use crate::devices::reset_control::RESET_CONTROL;
use crate::devices::reset_control::RESET_VALUE;

/// F000:FFF0, the reset vector as real mode reaches it.
pub(super) const ADDRESS: u64 = 0xF_FFF0;

/// Writes the reset register, and waits for what comes of it.
pub(super) const CODE: [u8; 9] = {
    let [low, high] = RESET_CONTROL.to_le_bytes();
    [
        0xBA,
        low,
        high, // mov dx, RESET_CONTROL
        0xB0,
        RESET_VALUE, // mov al, RESET_VALUE
        0xEE,        // out dx, al
        0xF4,        // wait: hlt
        0xEB,
        0xFD, // jmp wait
    ]
};
