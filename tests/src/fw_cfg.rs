// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's firmware configuration device, by ports and by DMA (QEMU: docs/specs/fw_cfg.rst).

use crate::physical;
use crate::ports;

const SELECTOR: u16 = 0x510;
const DATA: u16 = 0x511;
const DMA: u16 = 0x514;

/// Bits of a DMA access: an error, to be read, an item is selected.
pub const ERROR: u32 = 1 << 0;
const READ: u32 = 1 << 1;
const SELECT: u32 = 1 << 3;

/// Reads the first bytes of an item, the lowest first as a number.
#[must_use]
pub fn number(key: u16, bytes: u32) -> u64 {
    ports::out_u16(SELECTOR, key);
    (0..bytes).fold(0, |value, byte| value | u64::from(ports::in_u8(DATA)) << (8 * byte))
}

/// What the DMA register reads as: who it is.
#[must_use]
pub fn dma_signature() -> [u8; 8] {
    let halves = [ports::in_u32(DMA), ports::in_u32(DMA + 4)].map(u32::to_le_bytes);
    let mut signature = [0; 8];
    signature.copy_from_slice(halves.as_flattened());
    signature
}

/// Reads the first bytes of an item to the address `to` by DMA, describing that at `access`; gives what is told there in the end.
#[must_use]
pub fn dma_read(key: u16, bytes: u32, to: u64, access: u64) -> u32 {
    physical::write(access, (u32::from(key) << 16 | SELECT | READ).to_be());
    physical::write(access + 4, bytes.to_be());
    physical::write(access + 8, to.to_be());
    ports::out_u32(DMA, ((access >> 32) as u32).to_be());
    ports::out_u32(DMA + 4, (access as u32).to_be());
    u32::from_be(physical::read(access))
}
