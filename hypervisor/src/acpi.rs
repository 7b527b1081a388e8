// SPDX-License-Identifier: MIT OR Apache-2.0
//! The firmware's ACPI tables, as far as a hypervisor needs them: processors, I/O APIC, power.
//!
//! Written by firmware, which is as often wrong as any guest: lengths and checksums are verified, unknown entries are passed over.

use crate::cpu::number::MAX_CPUS;
use crate::little_endian::u16_at;
use crate::little_endian::u32_at;
use crate::little_endian::u64_at;
use crate::memory::PhysicalRead;
use alloc::vec::Vec;
use arrayvec::ArrayVec;

/// Bytes of an RSDP of revision 2; one of revision 0 has 20.
pub const RSDP_SIZE: usize = 36;

/// Bytes of the header that every table has.
const HEADER: usize = 36;
/// No table that we read is longer.
const TABLE_MAX: usize = 1 << 20;
/// Nor is a list of tables.
const TABLES_MAX: usize = 256;

/// Physical address of the table that lists the others (ACPI 6.5, 5.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootTable {
    /// The RSDT, with 32-bit addresses.
    Rsdt(u64),
    /// The XSDT, with 64-bit addresses.
    Xsdt(u64),
}

impl RootTable {
    /// What an RSDP points at; `None` if the bytes are no RSDP.
    #[must_use]
    pub fn from_rsdp(rsdp: &[u8]) -> Option<Self> {
        let first = rsdp.get(..20)?;
        if !first.starts_with(b"RSD PTR ") || checksum(first) != 0 {
            return None;
        }
        let extended = rsdp.get(..RSDP_SIZE).filter(|all| all[15] >= 2 && checksum(all) == 0);
        match extended.and_then(|all| u64_at(all, 24)).filter(|&address| address != 0) {
            Some(address) => Some(Self::Xsdt(address)),
            None => u32_at(first, 16)
                .filter(|&address| address != 0)
                .map(|address| Self::Rsdt(u64::from(address))),
        }
    }

    /// Looks for the RSDP between 0xE0000 and 1 MiB, at 16-byte boundaries (ACPI 6.5, 5.2.5.1). The extended BIOS data area
    /// is not searched: loaders tell where it is.
    #[must_use]
    pub fn search(physical: &impl PhysicalRead) -> Option<Self> {
        let area = physical.bytes(0xe_0000, 0x2_0000)?;
        (0..area.len()).step_by(16).find_map(|at| Self::from_rsdp(&area[at..]))
    }
}

/// A redirection of one of the 16 ISA interrupts (ACPI 6.5, 5.2.12.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceOverride {
    /// ISA interrupt.
    pub irq: u8,
    /// Global system interrupt that it arrives as.
    pub gsi: u32,
    /// Whether it is level triggered.
    pub level: bool,
    /// Whether it is active low.
    pub low: bool,
}

/// How to power the machine off: the PM1 control ports and the type of S5 for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerOff {
    /// Port of PM1a_CNT.
    pub pm1a_control: u16,
    /// Port of PM1b_CNT; 0 where there is none.
    pub pm1b_control: u16,
    /// SLP_TYPa and SLP_TYPb of `\_S5`.
    pub sleep_type: (u8, u8),
}

/// What the tables tell.
#[derive(Clone, Debug, Default)]
pub struct Platform {
    /// APIC ids of the CPUs that can be used, in the order of the tables, each once. What is only "online capable" is not
    /// among them: such a CPU is not there until somebody plugs it in.
    pub cpus: ArrayVec<u32, MAX_CPUS>,
    /// How many more there are than we use.
    pub cpus_beyond: usize,
    /// Physical address and first interrupt of the first I/O APIC.
    pub io_apic: Option<(u64, u32)>,
    /// Redirections of ISA interrupts.
    pub overrides: ArrayVec<SourceOverride, 16>,
    /// Port of the power-management timer (3.579545 MHz).
    pub pm_timer: Option<u16>,
    /// How to power off.
    pub power_off: Option<PowerOff>,
}

impl Platform {
    /// Reads all tables that `root` lists. What is missing or broken is absent from the answer.
    pub fn read(physical: &impl PhysicalRead, root: RootTable) -> Self {
        let mut platform = Self::default();
        let (list, width) = match root {
            RootTable::Rsdt(address) => (table(physical, address, b"RSDT"), 4),
            RootTable::Xsdt(address) => (table(physical, address, b"XSDT"), 8),
        };
        let list = list.unwrap_or_default();
        for entry in list.get(HEADER..).unwrap_or_default().chunks_exact(width).take(TABLES_MAX) {
            let address = entry.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
            if let Some(madt) = table(physical, address, b"APIC") {
                platform.read_madt(&madt);
            } else if let Some(fadt) = table(physical, address, b"FACP") {
                platform.read_fadt(physical, &fadt);
            }
        }
        platform
    }

    /// Where ISA interrupt `irq` arrives.
    #[must_use]
    pub fn isa_interrupt(&self, irq: u8) -> SourceOverride {
        let identity = SourceOverride { irq, gsi: u32::from(irq), level: false, low: false };
        self.overrides.iter().copied().find(|entry| entry.irq == irq).unwrap_or(identity)
    }

    /// APIC ids of all CPUs but the one that booted, in the order of the tables.
    pub fn other_cpus(&self, boot_apic_id: u32) -> impl Iterator<Item = u32> {
        self.cpus.iter().copied().filter(move |&apic_id| apic_id != boot_apic_id)
    }

    /// Some tables list a CPU in both of the ways that there are. `none` is the id that means that there is no CPU, since
    /// all CPUs answer to it.
    fn add_cpu(&mut self, apic_id: u32, none: u32) {
        if apic_id == none || self.cpus.contains(&apic_id) {
            return;
        }
        self.cpus_beyond += usize::from(self.cpus.try_push(apic_id).is_err());
    }

    fn read_madt(&mut self, madt: &[u8]) {
        let mut rest = madt.get(HEADER + 8..).unwrap_or_default();
        while let [kind, length, ..] = *rest {
            let Some(entry) = rest.get(..usize::from(length)).filter(|entry| entry.len() >= 2) else {
                return;
            };
            self.read_madt_entry(kind, entry);
            rest = &rest[entry.len()..];
        }
    }

    /// One interrupt controller structure (ACPI 6.5, 5.2.12).
    fn read_madt_entry(&mut self, kind: u8, entry: &[u8]) {
        const ENABLED: u32 = 1;
        match (kind, entry.len()) {
            (0, 8..) if u32_at(entry, 4).is_some_and(|flags| flags & ENABLED != 0) => {
                self.add_cpu(u32::from(entry[3]), 0xff);
            }
            (9, 16..) if u32_at(entry, 8).is_some_and(|flags| flags & ENABLED != 0) => {
                self.add_cpu(u32_at(entry, 4).unwrap_or(u32::MAX), u32::MAX);
            }
            (1, 12..) if self.io_apic.is_none() => {
                self.io_apic = u32_at(entry, 4).map(u64::from).zip(u32_at(entry, 8));
            }
            (2, 10..) => {
                let flags = u16_at(entry, 8).unwrap_or_default();
                let _ = self.overrides.try_push(SourceOverride {
                    irq: entry[3],
                    gsi: u32_at(entry, 4).unwrap_or_default(),
                    level: flags >> 2 & 3 == 3,
                    low: flags & 3 == 3,
                });
            }
            _ => {}
        }
    }

    /// Fixed hardware (ACPI 6.5, 5.2.9): the timer, and with the DSDT's `\_S5` the way to power off.
    fn read_fadt(&mut self, physical: &impl PhysicalRead, fadt: &[u8]) {
        let port = |at| u32_at(fadt, at).and_then(|port| u16::try_from(port).ok());
        self.pm_timer = port(76).filter(|&port| port != 0);
        let dsdt = u64_at(fadt, 140).filter(|&address| address != 0).or(u32_at(fadt, 40).map(u64::from));
        let sleep_type =
            dsdt.and_then(|address| table(physical, address, b"DSDT")).and_then(|dsdt| soft_off_type(&dsdt));
        if let (Some(pm1a_control @ 1..), Some(sleep_type)) = (port(64), sleep_type) {
            self.power_off = Some(PowerOff { pm1a_control, pm1b_control: port(68).unwrap_or(0), sleep_type });
        }
    }
}

/// SLP_TYPa and SLP_TYPb out of `Name (_S5, Package () { a, b, .. })`, found by its bytes: AML is not interpreted.
fn soft_off_type(dsdt: &[u8]) -> Option<(u8, u8)> {
    const NAME: &[u8] = b"_S5_\x12";
    // NameOp, with or without the root's prefix.
    let named = |at: usize| dsdt[..at].ends_with(b"\x08") || dsdt[..at].ends_with(b"\x08\\");
    let at = (0..dsdt.len()).find(|&at| dsdt[at..].starts_with(NAME) && named(at))? + NAME.len();
    // The package's length takes one to four bytes, told by the top two bits of the first; then the count of elements.
    let elements = dsdt.get(at + usize::from(dsdt.get(at)? >> 6) + 2..)?;
    let (first, rest) = small_integer(elements)?;
    let second = small_integer(rest).map_or(first, |(value, _)| value);
    Some((first, second))
}

/// An AML integer below 256: ZeroOp, OneOp, or a byte with its prefix.
fn small_integer(aml: &[u8]) -> Option<(u8, &[u8])> {
    match aml {
        [value @ (0 | 1), rest @ ..] | [0x0a, value, rest @ ..] => Some((*value, rest)),
        _ => None,
    }
}

/// The whole of the table at `address`, if it has that signature, and its length and checksum are right.
fn table(physical: &impl PhysicalRead, address: u64, signature: &[u8; 4]) -> Option<Vec<u8>> {
    let mut header = [0; HEADER];
    if !physical.read(address, &mut header) || !header.starts_with(signature) {
        return None;
    }
    let length = u32_at(&header, 4)? as usize;
    if !(HEADER..=TABLE_MAX).contains(&length) {
        return None;
    }
    physical.bytes(address, length).filter(|table| checksum(table) == 0)
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, &byte| sum.wrapping_add(byte))
}

#[cfg(test)]
mod tests;
