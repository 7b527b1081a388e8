// SPDX-License-Identifier: MIT OR Apache-2.0
//! The MADT: the guest's local APICs and its I/O APIC. There are no PICs (PCAT_COMPAT is clear).

use super::OEM_ID;
use super::OEM_REVISION;
use super::OEM_TABLE_ID;
use crate::vm::memory_layout::IO_APIC;
use crate::vm::memory_layout::LOCAL_APIC;
use acpi_tables::Aml;
use acpi_tables::AmlSink;
use acpi_tables::madt::EnabledStatus;
use acpi_tables::madt::IoApic;
use acpi_tables::madt::LocalInterruptController;
use acpi_tables::madt::MADT;
use acpi_tables::madt::ProcessorLocalApic;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::U16;
use zerocopy::byteorder::little_endian::U32;

/// The lowest APIC ID that needs an x2APIC entry; 255 addresses all local APICs (ACPI 6.5, 5.2.12.12).
const FIRST_X2APIC_ID: u32 = 255;

/// The local APIC's pin for NMIs, where a PC has it.
const NMI_PIN: u8 = 1;

/// Processor Local x2APIC structure (ACPI 6.5, 5.2.12.12).
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
struct LocalX2Apic {
    kind: u8,
    length: u8,
    _reserved: U16,
    x2apic_id: U32,
    /// Bit 0: enabled.
    flags: U32,
    processor_uid: U32,
}

/// Local APIC NMI structure (ACPI 6.5, 5.2.12.7).
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
struct LocalApicNmi {
    kind: u8,
    length: u8,
    /// 0xFF is all processors.
    processor_uid: u8,
    /// Polarity and trigger mode; 0 is as usual on the bus.
    flags: U16,
    /// Number of the LINT pin.
    pin: u8,
}

/// Local x2APIC NMI structure (ACPI 6.5, 5.2.12.13).
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
struct LocalX2ApicNmi {
    kind: u8,
    length: u8,
    /// Polarity and trigger mode; 0 is as usual on the bus.
    flags: U16,
    /// All ones is all processors.
    processor_uid: U32,
    /// Number of the LINT pin.
    pin: u8,
    _reserved: [u8; 3],
}

const _: () = assert!(size_of::<LocalX2Apic>() == 16);
const _: () = assert!(size_of::<LocalApicNmi>() == 6);
const _: () = assert!(size_of::<LocalX2ApicNmi>() == 12);

impl Aml for LocalX2Apic {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(self.as_bytes());
    }
}

impl Aml for LocalApicNmi {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(self.as_bytes());
    }
}

impl Aml for LocalX2ApicNmi {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(self.as_bytes());
    }
}

/// The whole table. A vCPU's number is its APIC ID and its UID.
pub(super) fn table(vcpus: u32) -> MADT {
    let local_apic = LocalInterruptController::Address(LOCAL_APIC.0 as u32);
    let mut table = MADT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION, local_apic);
    for id in 0..vcpus.min(FIRST_X2APIC_ID) {
        table.add_structure(ProcessorLocalApic::new(id as u8, id as u8, EnabledStatus::Enabled));
    }
    for id in FIRST_X2APIC_ID..vcpus {
        let (x2apic_id, processor_uid) = (id.into(), id.into());
        let _reserved = 0.into();
        table.add_structure(LocalX2Apic {
            kind: 9,
            length: 16,
            _reserved,
            x2apic_id,
            flags: 1.into(),
            processor_uid,
        });
    }
    table.add_structure(IoApic::new(0, IO_APIC.0 as u32, 0));
    let flags = 0.into();
    table.add_structure(LocalApicNmi { kind: 4, length: 6, processor_uid: 0xFF, flags, pin: NMI_PIN });
    if vcpus > FIRST_X2APIC_ID {
        let processor_uid = u32::MAX.into();
        let _reserved = [0; 3];
        table.add_structure(LocalX2ApicNmi {
            kind: 10,
            length: 12,
            flags,
            processor_uid,
            pin: NMI_PIN,
            _reserved,
        });
    }
    table
}
