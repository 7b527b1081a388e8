// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine's I/O APIC: one device interrupt routed to one CPU.

// UNSAFETY: memory-mapped registers.
#![expect(unsafe_code)]

use crate::acpi::Platform;
use crate::acpi::SourceOverride;
use crate::memory::OutOfFrames;
use crate::memory::address_space;

/// Redirection table, two registers an entry.
const REDIRECTION: u32 = 0x10;
const LEVEL: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;

/// Sends ISA interrupt `irq` as `vector` to the CPU with that APIC id. `false` where the machine has no I/O APIC for it.
pub fn route(platform: &Platform, irq: u8, vector: u8, apic_id: u32) -> Result<bool, OutOfFrames> {
    let source = platform.isa_interrupt(irq);
    let Some((address, first)) = platform.io_apic else { return Ok(false) };
    // Destinations of an I/O APIC without interrupt remapping have eight bits.
    let (Some(pin), Ok(destination)) = (source.gsi.checked_sub(first), u8::try_from(apic_id)) else {
        return Ok(false);
    };
    let registers = address_space::map_device(address, 0x20)?.as_mut_ptr::<u32>();
    let write = |register: u32, value: u32| {
        // SAFETY: IOREGSEL and IOWIN of the I/O APIC, mapped uncached just above.
        unsafe {
            registers.write_volatile(register);
            registers.add(4).write_volatile(value);
        }
    };
    write(REDIRECTION + 2 * pin + 1, u32::from(destination) << 24);
    write(REDIRECTION + 2 * pin, mode(source) | u32::from(vector));
    Ok(true)
}

fn mode(source: SourceOverride) -> u32 {
    (u32::from(source.level) * LEVEL) | (u32::from(source.low) * ACTIVE_LOW)
}
