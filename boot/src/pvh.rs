// SPDX-License-Identifier: MIT OR Apache-2.0
//! PVH start information (Xen's `hvm_start_info`), as QEMU, Cloud Hypervisor and Firecracker leave it.

use crate::Error;
use crate::Physical;
use crate::text;
use hypervisor::acpi;
use hypervisor::boot_info::BootInfo;
use hypervisor::boot_info::MemoryRange;
use hypervisor::boot_info::Module;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::KnownLayout;

const MAGIC: u32 = 0x336e_c578;
/// E820 type of usable memory.
const USABLE: u32 = 1;
/// Bound on a command line that has no end.
const COMMAND_LINE_MAX: usize = 2048;
/// Bound on entries that are read from either list.
const ENTRIES_MAX: u32 = 256;

/// `struct hvm_start_info`, version 1.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    modules: u32,
    module_list: u64,
    command_line: u64,
    rsdp: u64,
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct ModuleEntry {
    address: u64,
    size: u64,
    command_line: u64,
    reserved: u64,
}

#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct MapEntry {
    address: u64,
    size: u64,
    kind: u32,
    reserved: u32,
}

const _: () =
    assert!(size_of::<StartInfo>() == 56 && size_of::<ModuleEntry>() == 32 && size_of::<MapEntry>() == 24);

/// Reads the start information at `start_info`.
pub fn parse(physical: Physical<'_>, start_info: u64) -> Result<BootInfo, Error> {
    let info: StartInfo = read(physical, start_info).ok_or(Error::Truncated("PVH start information"))?;
    if info.magic != MAGIC || info.version < 1 {
        return Err(Error::Unknown("PVH start information"));
    }
    let mut boot = BootInfo::new("PVH");
    for index in 0..info.memory_map_entries.min(ENTRIES_MAX) {
        let entry: MapEntry = read(physical, entry_address::<MapEntry>(info.memory_map, index))
            .ok_or(Error::Truncated("memory map"))?;
        let range = MemoryRange { start: entry.address, size: entry.size, usable: entry.kind == USABLE };
        if !boot.add_memory(range) {
            return Err(Error::LongMemoryMap);
        }
    }
    if boot.memory.is_empty() {
        return Err(Error::NoMemoryMap);
    }
    for index in 0..info.modules.min(ENTRIES_MAX) {
        let entry: ModuleEntry = read(physical, entry_address::<ModuleEntry>(info.module_list, index))
            .ok_or(Error::Truncated("module list"))?;
        boot.add_module(Module::new(string(physical, entry.command_line), entry.address, entry.size));
    }
    boot.set_command_line(string(physical, info.command_line));
    boot.acpi_root = physical(info.rsdp, acpi::RSDP_SIZE).and_then(acpi::RootTable::from_rsdp);
    Ok(boot)
}

fn entry_address<T>(list: u64, index: u32) -> u64 {
    list.saturating_add(u64::from(index) * size_of::<T>() as u64)
}

fn read<T: FromBytes>(physical: Physical<'_>, address: u64) -> Option<T> {
    T::read_from_bytes(physical(address, size_of::<T>())?).ok()
}

/// The string at `address`; empty where there is none.
fn string<'a>(physical: Physical<'a>, address: u64) -> &'a str {
    if address == 0 { "" } else { physical(address, COMMAND_LINE_MAX).map(text).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Start information at 0x1000 with one module, two map entries and a command line.
    fn memory() -> Vec<u8> {
        let mut memory = vec![0_u8; 0x4000];
        let mut put = |at: usize, words: &[u32]| {
            for (index, word) in words.iter().enumerate() {
                memory[at + index * 4..][..4].copy_from_slice(&word.to_le_bytes());
            }
        };
        put(0x1000, &[MAGIC, 1, 0, 1, 0x1100, 0, 0x1200, 0, 0, 0, 0x1300, 0, 2, 0]);
        put(0x1100, &[0x20_0000, 0, 0x5000, 0, 0x1280, 0, 0, 0]);
        put(0x1300, &[0, 0, 0x9_fc00, 0, USABLE, 0, 0xfec0_0000, 0, 0x1000, 0, 2, 0]);
        memory[0x1200..0x1204].copy_from_slice(b"quit");
        memory[0x1280..0x1286].copy_from_slice(b"bundle");
        memory
    }

    fn parse_at(memory: &'static [u8], at: u64) -> Result<BootInfo, Error> {
        parse(&|address, len| memory.get(address as usize..)?.get(..len), at)
    }

    #[test]
    fn a_start_information_becomes_boot_info() {
        let boot = parse_at(memory().leak(), 0x1000).unwrap();
        assert_eq!(boot.command_line.as_str(), "quit");
        assert_eq!(boot.memory[0], MemoryRange { start: 0, size: 0x9_fc00, usable: true });
        assert!(!boot.memory[1].usable);
        assert_eq!(
            (boot.modules[0].name.as_str(), boot.modules[0].start, boot.modules[0].size),
            ("bundle", 0x20_0000, 0x5000)
        );
    }

    #[test]
    fn wrong_magic_and_absent_map_are_errors() {
        assert_eq!(parse_at(memory().leak(), 0x2000).unwrap_err(), Error::Unknown("PVH start information"));
        let mut no_map = memory();
        no_map[0x1030] = 0;
        assert_eq!(parse_at(no_map.leak(), 0x1000).unwrap_err(), Error::NoMemoryMap);
        assert_eq!(parse_at(memory().leak(), 0x3ff0).unwrap_err(), Error::Truncated("PVH start information"));
    }

    #[test]
    fn a_list_that_leaves_memory_is_an_error() {
        let mut memory = memory();
        memory[0x1028..0x1030].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(parse_at(memory.leak(), 0x1000).unwrap_err(), Error::Truncated("memory map"));
    }
}
