// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest takes for firmware: ACPI and SMBIOS tables in its memory, a few bytes where a BIOS has its data, and code at
//! the reset vector.
//!
//! | where | what |
//! |---|---|
//! | 0x400 | the BIOS data area: where COM1 is, where the extended one is, KiB of conventional memory |
//! | 0x9FC00 | the extended BIOS data area: its size, and nothing else |
//! | 0xE0000 | the RSDP, then RSDT, XSDT, FACS, DSDT, FADT, MADT and MCFG, then SMBIOS structures |
//! | 0xF0000 | the SMBIOS entry point |
//! | 0xFFFF0 | the reset vector, as real mode reaches it |

mod bios_data;
mod dsdt;
mod fadt;
mod madt;
mod reset_vector;
mod rsdp;
mod smbios;

use self::rsdp::Rsdp;
use crate::devices::pci;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::mmu::Unbacked;
use crate::vm::memory_layout::FIRMWARE_TABLES;
use crate::vm::memory_layout::MemoryLayout;
use acpi_tables::Aml;
use acpi_tables::facs::FACS;
use acpi_tables::mcfg::MCFG;
use alloc::vec::Vec;
use core::fmt;
use zerocopy::IntoBytes;

const OEM_ID: [u8; 6] = *b"SATORI";
const OEM_TABLE_ID: [u8; 8] = *b"SATORIVM";
const OEM_REVISION: u32 = 1;

/// The size of a table's header (ACPI 6.5, 5.2.6).
const HEADER: u32 = 36;

/// Tables start at multiples of this, as the FACS must; the RSDP must at multiples of 16 (ACPI 6.5, 5.2.5.1 and 5.2.10).
const ALIGNMENT: u64 = 64;

/// Where the SMBIOS entry point is, and the tables have ended.
const SMBIOS_ENTRY_POINT: u64 = 0xF_0000;

/// More vCPUs than this are refused: from 255 on they would need other entries in the MADT, for x2APIC alone.
pub const MOST_VCPUS: u32 = 254;

const _: () = assert!(FIRMWARE_TABLES.start < SMBIOS_ENTRY_POINT && SMBIOS_ENTRY_POINT < FIRMWARE_TABLES.end);

/// Why a guest has no firmware tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareError {
    /// The guest has this many vCPUs, more than [`MOST_VCPUS`].
    ManyVcpus(u32),
    /// The firmware's area is not RAM.
    Unbacked(Unbacked),
}

impl From<Unbacked> for FirmwareError {
    fn from(unbacked: Unbacked) -> Self {
        Self::Unbacked(unbacked)
    }
}

/// Writes all that a guest with that memory and `vcpus` vCPUs finds of firmware; each vCPU has its number as its APIC ID. Gives
/// the address of the RSDP, which is the first byte of [`FIRMWARE_TABLES`].
pub fn write_tables(
    memory: &impl GuestMemory,
    layout: MemoryLayout,
    vcpus: u32,
) -> Result<GuestPhysical, FirmwareError> {
    let count = u8::try_from(vcpus).ok().filter(|_| vcpus <= MOST_VCPUS);
    let vcpus = count.ok_or(FirmwareError::ManyVcpus(vcpus))?;
    let rsdp = GuestPhysical(FIRMWARE_TABLES.start);
    let mut area = Area { memory, next: (rsdp.0 + size_of::<Rsdp>() as u64).next_multiple_of(ALIGNMENT) };
    let facs = area.write_table(&FACS::new())?;
    let dsdt = area.write_table(&dsdt::table())?;
    let tables = [
        area.write_table(&fadt::table(facs, dsdt))?,
        area.write_table(&madt::table(vcpus))?,
        area.write_table(&mcfg())?,
    ];
    let rsdt = area.write_table(&rsdp::rsdt(&tables))?;
    let xsdt = area.write_table(&rsdp::xsdt(&tables))?;
    memory.write(rsdp, Rsdp::new(rsdt, xsdt.into()).as_bytes())?;

    let structures = smbios::structures(layout, vcpus);
    let address = area.write(&structures)?;
    let entry_point = smbios::EntryPoint::new(address.into(), structures.len() as u32);
    memory.write(GuestPhysical(SMBIOS_ENTRY_POINT), entry_point.as_bytes())?;

    bios_data::write(memory)?;
    memory.write(GuestPhysical(reset_vector::ADDRESS), &reset_vector::CODE)?;
    Ok(rsdp)
}

fn mcfg() -> MCFG {
    let mut table = MCFG::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    let (segment, first_bus, last_bus) = (0, 0, 0);
    table.add_ecam(pci::ECAM.start, segment, first_bus, last_bus);
    table
}

/// What makes the sum of all bytes 0 when it stands in their place for it.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, &byte| sum.wrapping_sub(byte))
}

/// The part of the firmware's area that is still free.
struct Area<'a, M> {
    memory: &'a M,
    /// Address of the next table.
    next: u64,
}

impl<M: GuestMemory> Area<'_, M> {
    /// Writes a table and gives its address.
    fn write_table(&mut self, table: &dyn Aml) -> Result<u32, FirmwareError> {
        let mut bytes = Vec::new();
        table.to_aml_bytes(&mut bytes);
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<u32, FirmwareError> {
        let address = self.next;
        self.next = (address + bytes.len() as u64).next_multiple_of(ALIGNMENT);
        assert!(
            self.next <= SMBIOS_ENTRY_POINT,
            "the tables of {MOST_VCPUS} vCPUs fit in the firmware's area"
        );
        self.memory.write(GuestPhysical(address), bytes)?;
        Ok(address as u32)
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
