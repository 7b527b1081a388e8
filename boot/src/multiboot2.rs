// SPDX-License-Identifier: MIT OR Apache-2.0
//! Multiboot2 boot information, as GRUB leaves it: a list of tags, each aligned to 8 bytes.

use crate::Error;
use crate::Physical;
use crate::text;
use hypervisor::acpi;
use hypervisor::boot_info::BootInfo;
use hypervisor::boot_info::MemoryRange;
use hypervisor::boot_info::Module;
use hypervisor::little_endian::u32_at;
use hypervisor::little_endian::u64_at;

/// Bound on the whole of the information: GRUB's is a few KiB.
const SIZE_MAX: usize = 1 << 20;

const TAG_END: u32 = 0;
const TAG_COMMAND_LINE: u32 = 1;
const TAG_MODULE: u32 = 3;
const TAG_MEMORY_MAP: u32 = 6;
const TAG_RSDP_V1: u32 = 14;
const TAG_RSDP_V2: u32 = 15;
/// Memory map type of usable memory.
const AVAILABLE: u32 = 1;

/// Reads the boot information at `address`.
pub fn parse(physical: Physical<'_>, address: u64) -> Result<BootInfo, Error> {
    const WHAT: Error = Error::Truncated("multiboot2 information");
    let size = physical(address, 8).and_then(|head| u32_at(head, 0)).ok_or(WHAT)? as usize;
    let all = physical(address, size.min(SIZE_MAX)).ok_or(WHAT)?;
    let mut boot = BootInfo::new("multiboot2");
    let mut rest = all.get(8..).ok_or(WHAT)?;
    while let (Some(kind), Some(size)) = (u32_at(rest, 0), u32_at(rest, 4)) {
        let body = rest.get(8..size as usize).ok_or(WHAT)?;
        if kind == TAG_END {
            break;
        }
        read_tag(&mut boot, kind, body)?;
        rest = rest.get((size as usize).next_multiple_of(8)..).unwrap_or_default();
    }
    if boot.memory.is_empty() { Err(Error::NoMemoryMap) } else { Ok(boot) }
}

fn read_tag(boot: &mut BootInfo, kind: u32, body: &[u8]) -> Result<(), Error> {
    match kind {
        TAG_COMMAND_LINE => boot.set_command_line(text(body)),
        TAG_MODULE => {
            if let (Some(start), Some(end), Some(name)) = (u32_at(body, 0), u32_at(body, 4), body.get(8..)) {
                boot.add_module(Module::new(
                    text(name),
                    u64::from(start),
                    u64::from(end.saturating_sub(start)),
                ));
            }
        }
        TAG_MEMORY_MAP => return read_memory_map(boot, body),
        // The second version is the first with the XSDT's address added: it wins, whichever comes first.
        TAG_RSDP_V1 => boot.acpi_root = boot.acpi_root.or(acpi::RootTable::from_rsdp(body)),
        TAG_RSDP_V2 => boot.acpi_root = acpi::RootTable::from_rsdp(body).or(boot.acpi_root),
        _ => {}
    }
    Ok(())
}

fn read_memory_map(boot: &mut BootInfo, body: &[u8]) -> Result<(), Error> {
    let entry_size = u32_at(body, 0).unwrap_or(0) as usize;
    if entry_size < 24 {
        return Err(Error::Truncated("memory map"));
    }
    for entry in body.get(8..).unwrap_or_default().chunks_exact(entry_size) {
        if let (Some(start), Some(size), Some(kind)) = (u64_at(entry, 0), u64_at(entry, 8), u32_at(entry, 16))
            && !boot.add_memory(MemoryRange { start, size, usable: kind == AVAILABLE })
        {
            return Err(Error::LongMemoryMap);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(kind: u32, body: &[u8]) -> Vec<u8> {
        let mut tag = [kind.to_le_bytes(), (body.len() as u32 + 8).to_le_bytes()].concat();
        tag.extend(body);
        tag.resize(tag.len().next_multiple_of(8), 0);
        tag
    }

    fn map() -> Vec<u8> {
        let mut body = [24_u32.to_le_bytes(), 0_u32.to_le_bytes()].concat();
        body.extend([0x10_0000_u64.to_le_bytes(), 0x700_0000_u64.to_le_bytes()].concat());
        body.extend([1_u32.to_le_bytes(), 0_u32.to_le_bytes()].concat());
        tag(TAG_MEMORY_MAP, &body)
    }

    fn information(tags: &[Vec<u8>]) -> &'static [u8] {
        let mut all = tags.concat();
        all.extend(tag(TAG_END, &[]));
        let mut whole = [(all.len() as u32 + 8).to_le_bytes(), [0; 4]].concat();
        whole.extend(all);
        whole.leak()
    }

    fn parse_all(bytes: &'static [u8]) -> Result<BootInfo, Error> {
        parse(&|address, len| bytes.get(address as usize..)?.get(..len), 0)
    }

    #[test]
    fn tags_become_boot_info() {
        let module = [&0x20_0000_u32.to_le_bytes()[..], &0x20_5000_u32.to_le_bytes(), b"bundle\0"].concat();
        let boot = parse_all(information(&[
            tag(TAG_COMMAND_LINE, b"when-done=power-off\0"),
            map(),
            tag(TAG_MODULE, &module),
        ]));
        let boot = boot.unwrap();
        assert_eq!(boot.command_line.as_str(), "when-done=power-off");
        assert_eq!(boot.memory[..], [MemoryRange { start: 0x10_0000, size: 0x700_0000, usable: true }]);
        assert_eq!((boot.modules[0].name.as_str(), boot.modules[0].size), ("bundle", 0x5000));
    }

    #[test]
    fn a_tag_that_leaves_the_information_is_an_error() {
        let mut bytes = information(&[map()]).to_vec();
        bytes[12..16].copy_from_slice(&0x1000_u32.to_le_bytes());
        assert_eq!(parse_all(bytes.leak()).unwrap_err(), Error::Truncated("multiboot2 information"));
    }

    #[test]
    fn a_tag_of_no_size_ends_the_walk() {
        let mut bytes = information(&[map(), tag(TAG_COMMAND_LINE, b"x\0")]).to_vec();
        bytes[12..16].copy_from_slice(&0_u32.to_le_bytes());
        assert_eq!(parse_all(bytes.leak()).unwrap_err(), Error::Truncated("multiboot2 information"));
    }

    #[test]
    fn no_memory_map_is_an_error() {
        assert_eq!(parse_all(information(&[])).unwrap_err(), Error::NoMemoryMap);
    }
}
