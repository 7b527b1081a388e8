// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest takes for firmware: ACPI tables in its memory, and a few bytes of code at the reset vector.
//!
//! There is an XSDT and no RSDT, which only systems before ACPI 2.0 look for.

mod dsdt;
mod fadt;
mod madt;
mod reset_vector;

use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::mmu::Unbacked;
use crate::vm::memory_layout::FIRMWARE_TABLES;
use acpi_tables::Aml;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::xsdt::XSDT;
use alloc::vec::Vec;
use core::fmt;

const OEM_ID: [u8; 6] = *b"SATORI";
const OEM_TABLE_ID: [u8; 8] = *b"SATORIVM";
const OEM_REVISION: u32 = 1;

/// Tables start at multiples of this; the RSDP must at multiples of 16 (ACPI 6.5, 5.2.5.1).
const ALIGNMENT: u64 = 64;

/// More vCPUs than this are refused: the tables would not fit in the firmware's area.
pub const MOST_VCPUS: u32 = 4096;

/// Why a guest has no firmware tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareError {
    /// The guest has this many vCPUs, more than [`MOST_VCPUS`].
    ManyVcpus(u32),
    /// The firmware's area is not RAM.
    Unbacked(Unbacked),
}

/// Writes the tables and the reset vector's code of a guest with `vcpus` vCPUs, of which each has its number as its APIC ID, into the area
/// [`FIRMWARE_TABLES`]. Gives the address of the RSDP, which is the area's first byte.
pub fn write_tables(memory: &impl GuestMemory, vcpus: u32) -> Result<GuestPhysical, FirmwareError> {
    if vcpus > MOST_VCPUS {
        return Err(FirmwareError::ManyVcpus(vcpus));
    }
    let rsdp = FIRMWARE_TABLES.start;
    let mut area = Area { memory, next: (rsdp + Rsdp::len() as u64).next_multiple_of(ALIGNMENT) };
    let dsdt = area.write(&dsdt::table())?;
    let fadt = area.write(&fadt::table(dsdt))?;
    let madt = area.write(&madt::table(vcpus))?;

    let mut xsdt = XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = area.write(&xsdt)?;

    let reset_vector = GuestPhysical(reset_vector::ADDRESS);
    memory.write(reset_vector, &reset_vector::CODE).map_err(FirmwareError::Unbacked)?;

    area.next = rsdp;
    area.write(&Rsdp::new(OEM_ID, xsdt)).map(GuestPhysical)
}

/// The part of the firmware's area that is still free.
struct Area<'a, M> {
    memory: &'a M,
    /// Address of the next table.
    next: u64,
}

impl<M: GuestMemory> Area<'_, M> {
    /// Writes a table and gives its address.
    fn write(&mut self, table: &dyn Aml) -> Result<u64, FirmwareError> {
        let mut bytes = Vec::new();
        table.to_aml_bytes(&mut bytes);
        let address = self.next;
        self.memory.write(GuestPhysical(address), &bytes).map_err(FirmwareError::Unbacked)?;
        self.next = (address + bytes.len() as u64).next_multiple_of(ALIGNMENT);
        assert!(
            self.next <= FIRMWARE_TABLES.end,
            "the tables of {MOST_VCPUS} vCPUs fit in the firmware's area"
        );
        Ok(address)
    }
}

impl fmt::Display for FirmwareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ManyVcpus(vcpus) => {
                write!(
                    f,
                    "firmware tables for {vcpus} vCPUs: there is room for {MOST_VCPUS}; give the VM fewer"
                )
            }
            Self::Unbacked(unbacked) => {
                write!(f, "firmware tables cannot be written to the guest: {unbacked}")
            }
        }
    }
}

impl core::error::Error for FirmwareError {}

#[cfg(test)]
mod tests;
