// SPDX-License-Identifier: MIT OR Apache-2.0
//! The structures of Linux' x86 boot protocol: the setup header of a bzImage, and the boot parameters.

use crate::vm::memory_layout::MapEntry;
use core::mem::offset_of;
use zerocopy::FromBytes;
use zerocopy::FromZeros;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;
use zerocopy::byteorder::little_endian::U16;
use zerocopy::byteorder::little_endian::U32;
use zerocopy::byteorder::little_endian::U64;

/// Where the setup header is, in a bzImage and in the boot parameters alike.
pub(super) const SETUP_HEADER: usize = 0x1F1;

/// `boot_flag` of each bzImage.
pub(super) const BOOT_FLAG: u16 = 0xAA55;

/// `header` of each bzImage.
pub(super) const HEADER: [u8; 4] = *b"HdrS";

/// In `xloadflags`: the kernel has an entry for 64-bit mode.
pub(super) const XLF_KERNEL_64: u16 = 1 << 0;

/// As `type_of_loader`: a boot loader that has no number of its own.
pub(super) const UNKNOWN_LOADER: u8 = 0xFF;

/// The setup header as of protocol 2.15. Newer ones only append to it, older ones end sooner.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct SetupHeader {
    /// Size of the real-mode code behind the first sector, in sectors; 0 means 4.
    pub(super) setup_sects: u8,
    root_flags: U16,
    /// Size of the protected-mode code, in units of 16 bytes.
    pub(super) syssize: U32,
    ram_size: U16,
    vid_mode: U16,
    root_dev: U16,
    pub(super) boot_flag: U16,
    /// The opcode of a short jump across the header: its end is in `jump_distance`.
    jump: u8,
    /// Distance of the header's end from the end of this field.
    pub(super) jump_distance: u8,
    pub(super) header: [u8; 4],
    /// Protocol version: major in the high byte, minor in the low one.
    pub(super) version: U16,
    realmode_swtch: U32,
    start_sys_seg: U16,
    kernel_version: U16,
    pub(super) type_of_loader: u8,
    loadflags: u8,
    setup_move_size: U16,
    code32_start: U32,
    pub(super) ramdisk_image: U32,
    pub(super) ramdisk_size: U32,
    bootsect_kludge: U32,
    heap_end_ptr: U16,
    ext_loader_ver: u8,
    ext_loader_type: u8,
    pub(super) cmd_line_ptr: U32,
    /// The last address that the initrd may use.
    pub(super) initrd_addr_max: U32,
    /// The alignment that a relocatable kernel wants, in bytes.
    pub(super) kernel_alignment: U32,
    /// Not 0 when the kernel may be loaded above its preferred address.
    pub(super) relocatable_kernel: u8,
    min_alignment: u8,
    pub(super) xloadflags: U16,
    /// The longest command line in bytes, without the NUL.
    pub(super) cmdline_size: U32,
    hardware_subarch: U32,
    hardware_subarch_data: U64,
    payload_offset: U32,
    payload_length: U32,
    setup_data: U64,
    /// The address that the kernel is linked to run at.
    pub(super) pref_address: U64,
    /// How many bytes from its address on the kernel needs until it has read the memory map.
    pub(super) init_size: U32,
    handover_offset: U32,
    kernel_info_offset: U32,
}

/// The boot parameters ("zero page"), with names for what a loader fills in.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct BootParams {
    _screen_and_apm: [u8; 0x70],
    pub(super) acpi_rsdp_addr: U64,
    _drives_and_edid: [u8; 0x170],
    pub(super) e820_entries: u8,
    /// Among these are the high halves of addresses, and the sentinel; all of them stay 0.
    _more: [u8; 8],
    pub(super) hdr: SetupHeader,
    _edd_signatures: [u8; 0x64],
    pub(super) e820_table: [E820Entry; 128],
    _edd: [u8; 0x330],
}

/// A range in the memory map.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct E820Entry {
    address: U64,
    /// In bytes.
    size: U64,
    kind: U32,
}

const fn file_offset(in_header: usize) -> usize {
    SETUP_HEADER + in_header
}

const _: () = assert!(file_offset(offset_of!(SetupHeader, boot_flag)) == 0x1FE);
const _: () = assert!(file_offset(offset_of!(SetupHeader, header)) == 0x202);
const _: () = assert!(file_offset(offset_of!(SetupHeader, type_of_loader)) == 0x210);
const _: () = assert!(file_offset(offset_of!(SetupHeader, ramdisk_image)) == 0x218);
const _: () = assert!(file_offset(offset_of!(SetupHeader, cmd_line_ptr)) == 0x228);
const _: () = assert!(file_offset(offset_of!(SetupHeader, initrd_addr_max)) == 0x22C);
const _: () = assert!(file_offset(offset_of!(SetupHeader, xloadflags)) == 0x236);
const _: () = assert!(file_offset(offset_of!(SetupHeader, cmdline_size)) == 0x238);
const _: () = assert!(file_offset(offset_of!(SetupHeader, pref_address)) == 0x258);
const _: () = assert!(file_offset(offset_of!(SetupHeader, init_size)) == 0x260);
const _: () = assert!(file_offset(size_of::<SetupHeader>()) == 0x26C);
const _: () = assert!(offset_of!(BootParams, acpi_rsdp_addr) == 0x70);
const _: () = assert!(offset_of!(BootParams, e820_entries) == 0x1E8);
const _: () = assert!(offset_of!(BootParams, hdr) == SETUP_HEADER);
const _: () = assert!(offset_of!(BootParams, e820_table) == 0x2D0);
const _: () = assert!(size_of::<E820Entry>() == 20 && size_of::<BootParams>() == 4096);

impl SetupHeader {
    /// The header of the bzImage `content`, zero where an older one has ended; `None` where the file ends first.
    pub(super) fn read(content: &[u8]) -> Option<Self> {
        let (mut header, _) = Self::read_from_prefix(content.get(SETUP_HEADER..)?).ok()?;
        let end = offset_of!(Self, header) + usize::from(header.jump_distance);
        if let Some(beyond) = header.as_mut_bytes().get_mut(end..) {
            beyond.fill(0);
        }
        Some(header)
    }

    /// Size of what is in the file before the protected-mode code.
    pub(super) fn real_mode_bytes(&self) -> usize {
        let sectors = if self.setup_sects == 0 { 4 } else { self.setup_sects };
        (1 + usize::from(sectors)) * 512
    }

    /// Size of the protected-mode code.
    pub(super) fn protected_mode_bytes(&self) -> u64 {
        u64::from(self.syssize.get()) * 16
    }
}

impl BootParams {
    /// Fills in the memory map, of which as many entries count as there is room for.
    pub(super) fn set_map(&mut self, map: &[MapEntry]) {
        for (slot, entry) in self.e820_table.iter_mut().zip(map) {
            slot.address = entry.range.start.into();
            slot.size = (entry.range.end - entry.range.start).into();
            slot.kind = (entry.kind as u32).into();
            self.e820_entries += 1;
        }
    }
}

impl Default for BootParams {
    fn default() -> Self {
        Self::new_zeroed()
    }
}
