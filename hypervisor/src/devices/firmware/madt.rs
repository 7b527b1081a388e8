// SPDX-License-Identifier: MIT OR Apache-2.0
//! The MADT: the guest's local APICs, its I/O APIC, and where that differs from the pair of PICs that it also has.

use super::OEM_ID;
use super::OEM_REVISION;
use super::OEM_TABLE_ID;
use crate::devices::pit;
use crate::devices::power_management;
use crate::vm::memory_layout::IO_APIC;
use crate::vm::memory_layout::LOCAL_APIC;
use acpi_tables::madt::EnabledStatus;
use acpi_tables::madt::IoApic;
use acpi_tables::madt::ProcessorLocalApic;
use acpi_tables::sdt::Sdt;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::U16;
use zerocopy::byteorder::little_endian::U32;

/// Size of the table before its structures: the header, the local APICs' address, flags.
const FIXED: u32 = 44;
const LOCAL_APIC_ADDRESS: usize = 36;
const FLAGS: usize = 40;

/// The revision that came with ACPI 6.0. What is newer has no meaning for this table.
const REVISION: u8 = 3;

/// There are two 8259s, too, which are to be masked where the I/O APIC is used.
const PCAT_COMPAT: u32 = 1;

/// ISA's IRQ 0, the PIT, is at this pin of the I/O APIC, where a PC has its PICs at pin 0.
const TIMER_GSI: u32 = pit::GSI as u32;

/// The SCI's IRQ and GSI.
const SCI: u8 = power_management::GSI as u8;

/// MPS INTI flags (ACPI 6.5, table 5.25): as usual on the bus, which for ISA is active high, edge triggered.
const AS_ON_BUS: u16 = 0;
const ACTIVE_HIGH_LEVEL: u16 = 0b11_01;

/// The local APIC's pin for NMIs, where a PC has it.
const NMI_PIN: u8 = 1;

/// Interrupt Source Override structure (ACPI 6.5, 5.2.12.5).
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct InterruptSourceOverride {
    kind: u8,
    length: u8,
    /// 0 is ISA.
    bus: u8,
    /// The IRQ on that bus.
    source: u8,
    gsi: U32,
    flags: U16,
}

/// Local APIC NMI structure (ACPI 6.5, 5.2.12.7).
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct LocalApicNmi {
    kind: u8,
    length: u8,
    /// 0xFF is all processors.
    processor_uid: u8,
    flags: U16,
    /// Number of the LINT pin.
    pin: u8,
}

const _: () = assert!(size_of::<InterruptSourceOverride>() == 10 && size_of::<LocalApicNmi>() == 6);

impl InterruptSourceOverride {
    fn new(source: u8, gsi: u32, flags: u16) -> Self {
        let length = size_of::<Self>() as u8;
        Self { kind: 2, length, bus: 0, source, gsi: gsi.into(), flags: flags.into() }
    }
}

/// The whole table. A vCPU's number is its APIC ID and its UID.
pub(super) fn table(vcpus: u8) -> Sdt {
    let mut table = Sdt::new(*b"APIC", FIXED, REVISION, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    table.write_bytes(LOCAL_APIC_ADDRESS, &(LOCAL_APIC.0 as u32).to_le_bytes());
    table.write_bytes(FLAGS, &PCAT_COMPAT.to_le_bytes());
    for id in 0..vcpus {
        table.append_slice(ProcessorLocalApic::new(id, id, EnabledStatus::Enabled).as_bytes());
    }
    table.append_slice(IoApic::new(0, IO_APIC.0 as u32, 0).as_bytes());
    table.append_slice(InterruptSourceOverride::new(0, TIMER_GSI, AS_ON_BUS).as_bytes());
    table.append_slice(InterruptSourceOverride::new(SCI, SCI.into(), ACTIVE_HIGH_LEVEL).as_bytes());
    let (processor_uid, flags) = (0xFF, AS_ON_BUS.into());
    table.append_slice(LocalApicNmi { kind: 4, length: 6, processor_uid, flags, pin: NMI_PIN }.as_bytes());
    table
}
