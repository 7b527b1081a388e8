// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables that lead to all others: RSDP, and RSDT and XSDT, which name the same tables.

use super::HEADER;
use super::OEM_ID;
use super::OEM_REVISION;
use super::OEM_TABLE_ID;
use acpi_tables::sdt::Sdt;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::U32;
use zerocopy::byteorder::little_endian::U64;

/// Root System Description Pointer (ACPI 6.5, 5.2.5.3).
#[derive(IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Rsdp {
    signature: [u8; 8],
    /// Of the first 20 bytes, which are all that ACPI 1.0 knows.
    checksum: u8,
    oem_id: [u8; 6],
    revision: u8,
    rsdt: U32,
    length: U32,
    xsdt: U64,
    /// Of all bytes.
    extended_checksum: u8,
    _reserved: [u8; 3],
}

const _: () = assert!(size_of::<Rsdp>() == 36);

impl Rsdp {
    pub(super) fn new(rsdt: u32, xsdt: u64) -> Self {
        let mut rsdp = Self {
            signature: *b"RSD PTR ",
            checksum: 0,
            oem_id: OEM_ID,
            revision: 2,
            rsdt: rsdt.into(),
            length: (size_of::<Self>() as u32).into(),
            xsdt: xsdt.into(),
            extended_checksum: 0,
            _reserved: [0; 3],
        };
        rsdp.checksum = super::checksum(&rsdp.as_bytes()[..20]);
        rsdp.extended_checksum = super::checksum(rsdp.as_bytes());
        rsdp
    }
}

/// The RSDT, for systems before ACPI 2.0 and for what looks no further.
pub(super) fn rsdt(tables: &[u32]) -> Sdt {
    let mut table = Sdt::new(*b"RSDT", HEADER, 1, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    tables.iter().for_each(|address| table.append_slice(&address.to_le_bytes()));
    table
}

/// The XSDT.
pub(super) fn xsdt(tables: &[u32]) -> Sdt {
    let mut table = Sdt::new(*b"XSDT", HEADER, 1, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    tables.iter().for_each(|&address| table.append_slice(&u64::from(address).to_le_bytes()));
    table
}
