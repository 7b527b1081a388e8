// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the firmware configuration device tells: items by their keys, and files by their names.
//!
//! | key | what |
//! |---|---|
//! | 0x00 | the signature `QEMU` |
//! | 0x01 | what the device has: bit 0 the ports, bit 1 DMA |
//! | 0x03 | bytes of RAM, 64 bits |
//! | 0x04 | 1: there are no graphics, 16 bits |
//! | 0x05, 0x0F | how many CPUs there are, and can be; 16 bits |
//! | 0x14, 0x15 | the kernel's command line: its size with the NUL, 32 bits; and it |
//! | 0x19 | the directory of files |
//! | 0x8002 | 1: IRQ 0 is at pin 2 of the I/O APIC, 32 bits |
//!
//! Files: `etc/e820` is the memory map, `etc/system-states` the states of ACPI that the machine has.

use crate::vm::memory_layout::MemoryLayout;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian;

const SIGNATURE: u16 = 0x00;
const ID: u16 = 0x01;
const RAM_SIZE: u16 = 0x03;
const NO_GRAPHICS: u16 = 0x04;
const NB_CPUS: u16 = 0x05;
const MAX_CPUS: u16 = 0x0F;
const COMMAND_LINE_SIZE: u16 = 0x14;
const COMMAND_LINE_DATA: u16 = 0x15;
const FILE_DIRECTORY: u16 = 0x19;
const FIRST_FILE: u16 = 0x20;
const IRQ0_OVERRIDE: u16 = 0x8002;

const HAS_PORTS_AND_DMA: u32 = 0b11;

/// A byte for each of S0 to S5: bit 7 where the machine has it, and its SLP_TYP.
const SYSTEM_STATES: [u8; 6] = [1 << 7, 0, 0, 0, 0, 1 << 7];

/// An entry of the directory (`FWCfgFile`).
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct FileEntry {
    /// In bytes.
    size: big_endian::U32,
    key: big_endian::U16,
    _reserved: [u8; 2],
    /// It ends with a NUL.
    name: [u8; 56],
}

const _: () = assert!(size_of::<FileEntry>() == 64);

/// All items by their keys.
#[derive(Debug)]
pub(super) struct Items {
    items: BTreeMap<u16, Vec<u8>>,
}

impl Items {
    pub(super) fn new(layout: MemoryLayout, vcpus: u32, command_line: &str) -> Self {
        let vcpus = (vcpus as u16).to_le_bytes();
        let mut command_line = Vec::from(command_line);
        command_line.push(0);
        let mut items: BTreeMap<u16, Vec<u8>> = [
            (SIGNATURE, Vec::from(b"QEMU")),
            (ID, Vec::from(HAS_PORTS_AND_DMA.to_le_bytes())),
            (RAM_SIZE, Vec::from(layout.bytes().to_le_bytes())),
            (NO_GRAPHICS, Vec::from(1u16.to_le_bytes())),
            (NB_CPUS, Vec::from(vcpus)),
            (MAX_CPUS, Vec::from(vcpus)),
            (COMMAND_LINE_SIZE, Vec::from((command_line.len() as u32).to_le_bytes())),
            (COMMAND_LINE_DATA, command_line),
            (IRQ0_OVERRIDE, Vec::from(1u32.to_le_bytes())),
        ]
        .into();
        // By name, as QEMU has them.
        let files = [("etc/e820", e820(layout)), ("etc/system-states", Vec::from(SYSTEM_STATES))];
        let mut directory = Vec::from((files.len() as u32).to_be_bytes());
        for (key, (name, content)) in (FIRST_FILE..).zip(files) {
            directory.extend_from_slice(FileEntry::new(key, name, &content).as_bytes());
            items.insert(key, content);
        }
        items.insert(FILE_DIRECTORY, directory);
        Self { items }
    }

    /// The item of that key. One that is not there is empty.
    pub(super) fn get(&self, key: u16) -> &[u8] {
        self.items.get(&key).map_or(&[], Vec::as_slice)
    }
}

impl FileEntry {
    fn new(key: u16, file_name: &str, content: &[u8]) -> Self {
        let mut name = [0; 56];
        name[..file_name.len()].copy_from_slice(file_name.as_bytes());
        Self { size: (content.len() as u32).into(), key: key.into(), _reserved: [0; 2], name }
    }
}

/// The memory map, in entries of 20 bytes.
fn e820(layout: MemoryLayout) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in layout.map() {
        bytes.extend_from_slice(&entry.range.start.to_le_bytes());
        bytes.extend_from_slice(&(entry.range.end - entry.range.start).to_le_bytes());
        bytes.extend_from_slice(&(entry.kind as u32).to_le_bytes());
    }
    bytes
}
