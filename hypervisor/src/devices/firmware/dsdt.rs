// SPDX-License-Identifier: MIT OR Apache-2.0
//! The DSDT: how to be switched off, and the one device that no probing would find with its interrupt.

use super::OEM_ID;
use super::OEM_REVISION;
use super::OEM_TABLE_ID;
use crate::devices::power_management::SLEEP_TYPE_S5;
use crate::devices::uart;
use acpi_tables::Aml;
use acpi_tables::aml::Device;
use acpi_tables::aml::EISAName;
use acpi_tables::aml::IO;
use acpi_tables::aml::Interrupt;
use acpi_tables::aml::Name;
use acpi_tables::aml::Package;
use acpi_tables::aml::ResourceTemplate;
use acpi_tables::aml::Scope;
use acpi_tables::aml::ZERO;
use acpi_tables::sdt::Sdt;
use alloc::vec;
use alloc::vec::Vec;

/// The size of a table's header.
const HEADER: u32 = 36;

/// From revision 2 on integers have 64 bits (ACPI 6.5, 5.2.11.1).
const REVISION: u8 = 2;

/// The whole table.
pub(super) fn table() -> Sdt {
    let mut definitions = Vec::new();
    soft_off().to_aml_bytes(&mut definitions);
    Scope::new("_SB_".into(), vec![&Com1]).to_aml_bytes(&mut definitions);

    let mut table = Sdt::new(*b"DSDT", HEADER, REVISION, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    table.append_slice(&definitions);
    table
}

/// \_S5: the SLP_TYP of soft off; the second is for a second register, which is not there (ACPI 6.5, 7.4.2.6).
fn soft_off() -> Name {
    Name::new("_S5_".into(), &Package::new(vec![&SLEEP_TYPE_S5, &ZERO, &ZERO, &ZERO]))
}

/// \_SB.COM1: a 16550A. Its interrupt is told here because there is no PIC by which a driver could find it.
struct Com1;

impl Aml for Com1 {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        let ports = IO::new(uart::PORT, uart::PORT, 1, uart::PORTS);
        let (consumer, edge_triggered, active_low, shared) = (true, true, false, false);
        let interrupt = Interrupt::new(consumer, edge_triggered, active_low, shared, uart::GSI);
        let hardware_id = Name::new("_HID".into(), &EISAName::new("PNP0501"));
        let unique_id = Name::new("_UID".into(), &ZERO);
        let resources = Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ports, &interrupt]));
        Device::new("COM1".into(), vec![&hardware_id, &unique_id, &resources]).to_aml_bytes(sink);
    }
}
