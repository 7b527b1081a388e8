// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine's I/O APIC: one device interrupt routed to one CPU.

// UNSAFETY: memory-mapped registers.
#![expect(unsafe_code)]

use crate::acpi::Platform;
use crate::memory::OutOfFrames;
use crate::memory::address_space;

/// Version register; bits 23:16 tell the last entry.
const VERSION: u32 = 1;
/// Redirection table, two registers an entry.
const REDIRECTION: u32 = 0x10;
const MASKED: u32 = 1 << 16;
const ACTIVE_LOW: u32 = 1 << 13;

/// The machine's I/O APIC.
#[derive(Debug)]
struct IoApic {
    /// IOREGSEL; IOWIN is 16 bytes on.
    select: *mut u32,
}

impl IoApic {
    fn read(&self, register: u32) -> u32 {
        // SAFETY: IOREGSEL and IOWIN, mapped uncached by `route`.
        unsafe {
            self.select.write_volatile(register);
            self.select.add(4).read_volatile()
        }
    }

    fn write(&self, register: u32, value: u32) {
        // SAFETY: as for `read`.
        unsafe {
            self.select.write_volatile(register);
            self.select.add(4).write_volatile(value);
        }
    }
}

/// Masks every interrupt that firmware left on, and sends ISA interrupt `irq` as `vector` to the CPU with that APIC id.
/// `false` where the machine has no I/O APIC for it.
///
/// It is taken for edge triggered whatever the tables say: its device is always served until its line falls.
pub fn route(platform: &Platform, irq: u8, vector: u8, apic_id: u32) -> Result<bool, OutOfFrames> {
    let source = platform.isa_interrupt(irq);
    let Some((address, first)) = platform.io_apic else { return Ok(false) };
    let io_apic = IoApic { select: address_space::map_device(address, 0x20)?.as_mut_ptr() };
    let last = io_apic.read(VERSION) >> 16 & 0xff;
    for pin in 0..=last {
        io_apic.write(REDIRECTION + 2 * pin, MASKED);
    }
    // Destinations of an I/O APIC without interrupt remapping have eight bits.
    let pin = source.gsi.checked_sub(first).filter(|&pin| pin <= last);
    let (Some(pin), Ok(destination)) = (pin, u8::try_from(apic_id)) else { return Ok(false) };
    io_apic.write(REDIRECTION + 2 * pin + 1, u32::from(destination) << 24);
    io_apic.write(REDIRECTION + 2 * pin, (u32::from(source.low) * ACTIVE_LOW) | u32::from(vector));
    Ok(true)
}
