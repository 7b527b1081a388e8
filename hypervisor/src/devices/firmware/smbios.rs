// SPDX-License-Identifier: MIT OR Apache-2.0
//! SMBIOS 3: what machine this is, its processors and its memory (DMTF DSP0134).

use crate::vm::memory_layout::MemoryLayout;
use alloc::vec::Vec;
use core::ops::Range;
use zerocopy::FromZeros;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::U16;
use zerocopy::byteorder::little_endian::U32;
use zerocopy::byteorder::little_endian::U64;

/// SMBIOS 3.0 (64-bit) Entry Point (DSP0134, 5.2.2). Systems look for it at multiples of 16 from 0xF0000 on.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct EntryPoint {
    anchor: [u8; 5],
    checksum: u8,
    length: u8,
    major_version: u8,
    minor_version: u8,
    document_revision: u8,
    entry_point_revision: u8,
    _reserved: u8,
    /// The most that the structures take, in bytes.
    structures_bytes: U32,
    structures: U64,
}

const _: () = assert!(size_of::<EntryPoint>() == 24);

impl EntryPoint {
    pub(super) fn new(structures: u64, bytes: u32) -> Self {
        let mut entry_point = Self {
            anchor: *b"_SM3_",
            checksum: 0,
            length: size_of::<Self>() as u8,
            major_version: 3,
            minor_version: 0,
            document_revision: 0,
            entry_point_revision: 1,
            _reserved: 0,
            structures_bytes: bytes.into(),
            structures: structures.into(),
        };
        entry_point.checksum = super::checksum(entry_point.as_bytes());
        entry_point
    }
}

/// The memory array's handle, by which others name it.
const MEMORY_ARRAY: u16 = 0x1000;

/// In place of a handle: there is nothing of the kind.
const NONE: U16 = U16::new(0xFFFF);
/// In place of a handle: nothing tells of errors.
const NO_ERRORS: U16 = U16::new(0xFFFE);
/// A width that nobody knows.
const UNKNOWN_WIDTH: U16 = U16::new(0xFFFF);

// In fields of one byte, with these values in all of them.
const OTHER: u8 = 1;
const UNKNOWN: u8 = 2;

// Strings of a structure are counted from 1.
const FIRST: u8 = 1;
const SECOND: u8 = 2;
const THIRD: u8 = 3;

const VENDOR: &str = "Satori";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Systems judge by the year whether they can trust what firmware says.
const DATE: &str = "01/01/2026";

/// BIOS Information, type 0.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Firmware {
    vendor: u8,
    version: u8,
    segment: U16,
    date: u8,
    /// 0 is 64 KiB.
    rom_size: u8,
    characteristics: U64,
    more_characteristics: [u8; 2],
    release: [u8; 2],
    embedded_controller_release: [u8; 2],
}

/// No BIOS characteristics are told, but that this is a virtual machine.
const NO_CHARACTERISTICS: u64 = 1 << 3;
const VIRTUAL_MACHINE: u8 = 1 << 4;

/// System Information, type 1.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct System {
    manufacturer: u8,
    product: u8,
    version: u8,
    serial_number: u8,
    /// Zeroes: there is none.
    uuid: [u8; 16],
    wake_up: u8,
    sku: u8,
    family: u8,
}

const POWER_SWITCH: u8 = 6;

/// System Enclosure, type 3.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct Chassis {
    manufacturer: u8,
    kind: u8,
    version: u8,
    serial_number: u8,
    asset_tag: u8,
    boot_up: u8,
    power_supply: u8,
    thermal: u8,
    security: u8,
    oem: U32,
    height: u8,
    power_cords: u8,
    contained: [u8; 2],
    sku: u8,
}

/// Processor Information, type 4: one socket.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct Processor {
    socket: u8,
    kind: u8,
    family: u8,
    manufacturer: u8,
    id: U64,
    version: u8,
    voltage: u8,
    external_clock: U16,
    max_speed: U16,
    current_speed: U16,
    status: u8,
    upgrade: u8,
    caches: [U16; 3],
    numbers: [u8; 3],
    cores: u8,
    cores_enabled: u8,
    threads: u8,
    characteristics: U16,
    family_2: U16,
    cores_2: U16,
    cores_enabled_2: U16,
    threads_2: U16,
}

const CENTRAL_PROCESSOR: u8 = 3;
const POPULATED_AND_ENABLED: u8 = 0x41;
const CAPABLE_OF_64_BITS: u16 = 1 << 2;

/// Physical Memory Array, type 16.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct MemoryArray {
    location: u8,
    usage: u8,
    error_correction: u8,
    /// In KiB.
    capacity: U32,
    errors: U16,
    devices: U16,
    /// In bytes.
    extended_capacity: U64,
}

const SYSTEM_MEMORY: u8 = 3;
const NO_ERROR_CORRECTION: u8 = 3;
/// The number is in the extended field.
const EXTENDED_CAPACITY: u32 = 1 << 31;

/// Memory Device, type 17: all memory is one.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
struct MemoryDevice {
    array: U16,
    errors: U16,
    total_width: U16,
    data_width: U16,
    /// In MiB.
    size: U16,
    form_factor: u8,
    set: u8,
    locator: u8,
    bank: u8,
    kind: u8,
    detail: U16,
    speed: U16,
    manufacturer: u8,
    numbers: [u8; 3],
    attributes: u8,
    /// In MiB.
    extended_size: U32,
    configured_speed: U16,
    voltages: [U16; 3],
}

const DIMM: u8 = 9;
const RAM: u8 = 7;
/// The number is in the extended field.
const EXTENDED_SIZE: u16 = 0x7FFF;

/// Memory Array Mapped Address, type 19.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct MappedAddress {
    start: U32,
    end: U32,
    array: U16,
    partition_width: u8,
    /// In bytes.
    extended_start: U64,
    /// The last byte's.
    extended_end: U64,
}

/// The addresses are in the extended fields.
const EXTENDED_ADDRESS: U32 = U32::new(u32::MAX);

/// System Boot Information, type 32: there were no errors.
const BOOTED: [u8; 7] = [0; 7];

const _: () = assert!(size_of::<Firmware>() == 0x18 - 4 && size_of::<System>() == 0x1B - 4);
const _: () = assert!(size_of::<Chassis>() == 0x16 - 4 && size_of::<Processor>() == 0x30 - 4);
const _: () = assert!(size_of::<MemoryArray>() == 0x17 - 4 && size_of::<MemoryDevice>() == 0x28 - 4);
const _: () = assert!(size_of::<MappedAddress>() == 0x1F - 4);

impl Firmware {
    fn new() -> Self {
        Self {
            vendor: FIRST,
            version: SECOND,
            segment: 0xF000.into(),
            date: THIRD,
            rom_size: 0,
            characteristics: NO_CHARACTERISTICS.into(),
            more_characteristics: [0, VIRTUAL_MACHINE],
            release: [0xFF; 2],
            embedded_controller_release: [0xFF; 2],
        }
    }
}

impl System {
    fn new() -> Self {
        Self {
            manufacturer: FIRST,
            product: SECOND,
            version: THIRD,
            serial_number: 0,
            uuid: [0; 16],
            wake_up: POWER_SWITCH,
            sku: 0,
            family: 0,
        }
    }
}

impl Chassis {
    fn new() -> Self {
        Self {
            manufacturer: FIRST,
            kind: OTHER,
            boot_up: UNKNOWN,
            power_supply: UNKNOWN,
            thermal: UNKNOWN,
            security: UNKNOWN,
            ..Self::new_zeroed()
        }
    }
}

impl Processor {
    fn new(cores: u8) -> Self {
        Self {
            socket: FIRST,
            kind: CENTRAL_PROCESSOR,
            family: OTHER,
            manufacturer: SECOND,
            status: POPULATED_AND_ENABLED,
            upgrade: OTHER,
            caches: [NONE; 3],
            cores,
            cores_enabled: cores,
            threads: cores,
            characteristics: CAPABLE_OF_64_BITS.into(),
            family_2: U16::from(u16::from(OTHER)),
            cores_2: u16::from(cores).into(),
            cores_enabled_2: u16::from(cores).into(),
            threads_2: u16::from(cores).into(),
            ..Self::new_zeroed()
        }
    }
}

impl MemoryArray {
    fn new(bytes: u64) -> Self {
        Self {
            location: OTHER,
            usage: SYSTEM_MEMORY,
            error_correction: NO_ERROR_CORRECTION,
            capacity: EXTENDED_CAPACITY.into(),
            errors: NO_ERRORS,
            devices: 1.into(),
            extended_capacity: bytes.into(),
        }
    }
}

impl MemoryDevice {
    fn new(bytes: u64) -> Self {
        let mebibytes = bytes >> 20;
        let size = u16::try_from(mebibytes).unwrap_or(EXTENDED_SIZE).min(EXTENDED_SIZE);
        Self {
            array: MEMORY_ARRAY.into(),
            errors: NO_ERRORS,
            total_width: UNKNOWN_WIDTH,
            data_width: UNKNOWN_WIDTH,
            size: size.into(),
            form_factor: DIMM,
            locator: FIRST,
            kind: RAM,
            detail: u16::from(UNKNOWN).into(),
            manufacturer: SECOND,
            extended_size: if size == EXTENDED_SIZE { (mebibytes as u32).into() } else { 0.into() },
            ..Self::new_zeroed()
        }
    }
}

impl MappedAddress {
    fn new(range: &Range<u64>) -> Self {
        Self {
            start: EXTENDED_ADDRESS,
            end: EXTENDED_ADDRESS,
            array: MEMORY_ARRAY.into(),
            partition_width: 1,
            extended_start: range.start.into(),
            extended_end: (range.end - 1).into(),
        }
    }
}

/// All structures of a machine with that memory, one after the other.
pub(super) fn structures(layout: MemoryLayout, vcpus: u8) -> Vec<u8> {
    let mut structures = Vec::new();
    let mut add = |kind: u8, handle: u16, formatted: &[u8], strings: &[&str]| {
        structures.extend_from_slice(&[kind, 4 + formatted.len() as u8]);
        structures.extend_from_slice(&handle.to_le_bytes());
        structures.extend_from_slice(formatted);
        for string in strings {
            structures.extend_from_slice(string.as_bytes());
            structures.push(0);
        }
        // An empty string ends them; where there is none at all, two zeroes do.
        structures.resize(structures.len() + 1 + usize::from(strings.is_empty()), 0);
    };
    add(0, 0, Firmware::new().as_bytes(), &[VENDOR, VERSION, DATE]);
    add(1, 0x100, System::new().as_bytes(), &[VENDOR, "virtual machine", VERSION]);
    add(3, 0x300, Chassis::new().as_bytes(), &[VENDOR]);
    add(4, 0x400, Processor::new(vcpus).as_bytes(), &["CPU 0", VENDOR]);
    add(16, MEMORY_ARRAY, MemoryArray::new(layout.bytes()).as_bytes(), &[]);
    add(17, 0x1100, MemoryDevice::new(layout.bytes()).as_bytes(), &["DIMM 0", VENDOR]);
    for (handle, range) in (0x1300..).zip(layout.below_4_gib_and_above()) {
        add(19, handle, MappedAddress::new(&range).as_bytes(), &[]);
    }
    add(32, 0x2000, &BOOTED, &[]);
    add(127, 0x7F00, &[], &[]);
    structures
}
