// SPDX-License-Identifier: MIT OR Apache-2.0
//! The DSDT: how to be switched off, what PCI has of ports, memory and interrupts, and which devices no probing would find.

use super::HEADER;
use super::OEM_ID;
use super::OEM_REVISION;
use super::OEM_TABLE_ID;
use crate::devices::fw_cfg;
use crate::devices::pci;
use crate::devices::pci::intx;
use crate::devices::power_management;
use crate::devices::power_management::SLEEP_TYPE_S5;
use crate::devices::uart;
use acpi_tables::Aml;
use acpi_tables::AmlSink;
use acpi_tables::aml::AddressSpace;
use acpi_tables::aml::AddressSpaceCacheable;
use acpi_tables::aml::Device;
use acpi_tables::aml::EISAName;
use acpi_tables::aml::IO;
use acpi_tables::aml::Memory32Fixed;
use acpi_tables::aml::Name;
use acpi_tables::aml::Package;
use acpi_tables::aml::PackageBuilder;
use acpi_tables::aml::ResourceTemplate;
use acpi_tables::aml::Scope;
use acpi_tables::aml::ZERO;
use acpi_tables::sdt::Sdt;
use alloc::vec;
use alloc::vec::Vec;

/// From revision 2 on integers have 64 bits (ACPI 6.5, 5.2.11.1).
const REVISION: u8 = 2;

/// Devices on a PCI bus, and the pins by which each may interrupt.
const PCI_DEVICES: u8 = 32;
const PCI_PINS: u8 = 4;

/// The whole table.
pub(super) fn table() -> Sdt {
    let mut definitions = Vec::new();
    soft_off().to_aml_bytes(&mut definitions);
    Scope::new("_SB_".into(), vec![&PciRoot, &Motherboard, &Legacy, &FwCfg]).to_aml_bytes(&mut definitions);

    let mut table = Sdt::new(*b"DSDT", HEADER, REVISION, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    table.append_slice(&definitions);
    table
}

/// \_S5: the SLP_TYP of soft off; the second is for a second register, which is not there (ACPI 6.5, 7.4.2.6).
fn soft_off() -> Name {
    Name::new("_S5_".into(), &Package::new(vec![&SLEEP_TYPE_S5, &ZERO, &ZERO, &ZERO]))
}

/// \_SB.PCI0: the bus, what of ports and memory its functions may have, and where their interrupts lead.
struct PciRoot;

impl Aml for PciRoot {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        let hardware_id = Name::new("_HID".into(), &EISAName::new("PNP0A08"));
        let compatible_id = Name::new("_CID".into(), &EISAName::new("PNP0A03"));
        let unique_id = Name::new("_UID".into(), &ZERO);
        let bus = AddressSpace::new_bus_number(0u16, 0);
        let configuration = IO::new(pci::CONFIG_ADDRESS, pci::CONFIG_ADDRESS, 1, 8);
        let ports = pci::IO_WINDOW.start as u16..=(pci::IO_WINDOW.end - 1) as u16;
        let ports = AddressSpace::new_io(*ports.start(), *ports.end(), None);
        let memory = pci::MEMORY_WINDOW.start as u32..=(pci::MEMORY_WINDOW.end - 1) as u32;
        let cacheable = AddressSpaceCacheable::NotCacheable;
        let memory = AddressSpace::new_memory(cacheable, true, *memory.start(), *memory.end(), None);
        let resources = ResourceTemplate::new(vec![&bus, &configuration, &ports, &memory]);
        let resources = Name::new("_CRS".into(), &resources);
        let routing = Name::new("_PRT".into(), &routing());
        let children: Vec<&dyn Aml> = vec![&hardware_id, &compatible_id, &unique_id, &resources, &routing];
        Device::new("PCI0".into(), children).to_aml_bytes(sink);
    }
}

/// Device and pin, and the GSI that they lead to: the pins of a device take those of the next ones (ACPI 6.5, 6.2.13).
fn routing() -> PackageBuilder {
    const ANY_FUNCTION: u32 = 0xFFFF;
    let mut table = PackageBuilder::new();
    for device in 0..PCI_DEVICES {
        for pin in 0..PCI_PINS {
            let address = u32::from(device) << 16 | ANY_FUNCTION;
            let gsi = intx::gsi(device + pin);
            table.add_element(&Package::new(vec![&address, &pin, &ZERO, &gsi]));
        }
    }
    table
}

/// \_SB.MBRD: what belongs to no device. Systems believe the MCFG where its memory is reserved here.
struct Motherboard;

impl Aml for Motherboard {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        let ecam = (pci::ECAM.start as u32, (pci::ECAM.end - pci::ECAM.start) as u32);
        let ecam = Memory32Fixed::new(true, ecam.0, ecam.1);
        let first = power_management::STATUS;
        let power_management = IO::new(first, first, 1, (power_management::LAST - first + 1) as u8);
        device(sink, "MBRD", "PNP0C02", vec![&ecam, &power_management]);
    }
}

/// What a PC has had since before there was PCI.
struct Legacy;

impl Aml for Legacy {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        let ports = |first, count| IO::new(first, first, 1, count);
        device(
            sink,
            "PIC_",
            "PNP0000",
            vec![&ports(0x20, 2), &ports(0xA0, 2), &ports(0x4D0, 2), &IsaInterrupt(2)],
        );
        device(sink, "TIMR", "PNP0100", vec![&ports(0x40, 4), &IsaInterrupt(0)]);
        device(sink, "SPKR", "PNP0800", vec![&ports(0x61, 1)]);
        device(sink, "RTC_", "PNP0B00", vec![&ports(0x70, 2), &IsaInterrupt(8)]);
        device(
            sink,
            "COM1",
            "PNP0501",
            vec![&ports(uart::PORT, uart::PORTS), &IsaInterrupt(uart::GSI as u8)],
        );
    }
}

/// \_SB.FWCF: by this Linux' driver finds it.
struct FwCfg;

impl Aml for FwCfg {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        let hardware_id = Name::new("_HID".into(), &"QEMU0002");
        // Present and decoding its ports, but not for a user to see.
        let status = Name::new("_STA".into(), &0x0Bu8);
        let ports = IO::new(fw_cfg::PORT, fw_cfg::PORT, 1, fw_cfg::PORTS);
        let resources = Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ports]));
        Device::new("FWCF".into(), vec![&hardware_id, &status, &resources]).to_aml_bytes(sink);
    }
}

/// A device with an EISA ID and what it occupies; each ID is there once.
fn device(sink: &mut dyn AmlSink, name: &str, eisa_id: &str, resources: Vec<&dyn Aml>) {
    let hardware_id = Name::new("_HID".into(), &EISAName::new(eisa_id));
    let unique_id = Name::new("_UID".into(), &ZERO);
    let resources = Name::new("_CRS".into(), &ResourceTemplate::new(resources));
    Device::new(name.into(), vec![&hardware_id, &unique_id, &resources]).to_aml_bytes(sink);
}

/// IRQ descriptor: an ISA interrupt, edge triggered, active high, not shared (ACPI 6.5, 6.4.2.1).
struct IsaInterrupt(u8);

impl Aml for IsaInterrupt {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.byte(0x22);
        sink.word(1 << self.0);
    }
}
