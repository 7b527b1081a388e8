// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine's pair of 8259A: firmware leaves it on, with vectors that mean exceptions to us. It is silenced.

use crate::cpu::hardware::PortIo;

/// Interrupt masks of the first and the second.
const MASKS: [u16; 2] = [0x21, 0xa1];

/// Masks every interrupt of both.
pub fn silence(ports: &impl PortIo) {
    for mask in MASKS {
        ports.write_u8(mask, 0xff);
    }
}
