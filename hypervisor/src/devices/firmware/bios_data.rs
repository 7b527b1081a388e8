// SPDX-License-Identifier: MIT OR Apache-2.0
//! The BIOS data area, as far as kernels read it, and an extended one, which is empty.

use crate::devices::uart;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::mmu::Unbacked;
use crate::vm::memory_layout::CONVENTIONAL_END;

/// The port of COM1; those of three more are 0.
const COM1: GuestPhysical = GuestPhysical(0x400);

/// Segment of the extended BIOS data area. Systems do not use what is above, and look for tables in its first KiB.
const EXTENDED_AREA: GuestPhysical = GuestPhysical(0x40E);

/// What equipment there is: bits 9 to 11 count serial ports.
const EQUIPMENT: GuestPhysical = GuestPhysical(0x410);
const ONE_SERIAL_PORT: u16 = 1 << 9;

/// KiB of conventional memory.
const MEMORY_SIZE: GuestPhysical = GuestPhysical(0x413);

/// Writes both areas. The extended one starts with its size in KiB.
pub(super) fn write(memory: &impl GuestMemory) -> Result<(), Unbacked> {
    memory.write(COM1, &uart::PORT.to_le_bytes())?;
    memory.write(EXTENDED_AREA, &((CONVENTIONAL_END >> 4) as u16).to_le_bytes())?;
    memory.write(EQUIPMENT, &ONE_SERIAL_PORT.to_le_bytes())?;
    memory.write(MEMORY_SIZE, &((CONVENTIONAL_END >> 10) as u16).to_le_bytes())?;
    memory.write(GuestPhysical(CONVENTIONAL_END), &[1])
}
