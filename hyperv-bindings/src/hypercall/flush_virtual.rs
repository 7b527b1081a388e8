// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inputs of calls 0x0002, 0x0003, 0x0013 and 0x0014: flush this partition's linear mappings.

use super::VpSetHeader;
use crate::PAGE_SIZE;
use crate::layout::assert_layout;
use bitfield_struct::bitfield;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// Which mappings a flush is about. Reserved bits have to be zero.
#[bitfield(u64)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FlushFlags {
    /// On all processors; mask or set do not count.
    pub all_processors: bool,
    /// In all address spaces; the one that is named does not count.
    pub all_virtual_address_spaces: bool,
    /// Global mappings may stay. Not valid for the list calls.
    pub non_global_mappings_only: bool,
    /// The list has [`ExtendedPageRange`](super::ExtendedPageRange)s, not
    /// [`SimplePageRange`](super::SimplePageRange)s. Needs
    /// [`extended_gva_ranges`](crate::cpuid::MiscellaneousFeatures::extended_gva_ranges).
    pub extended_range_format: bool,
    #[bits(60)]
    __: u64,
}

/// Input of call 0x0002; also that of 0x0003, where the list of ranges follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlushVirtualAddress {
    /// The value of CR3.
    pub address_space: u64,
    /// What is flushed.
    pub flags: FlushFlags,
    /// VP indices 0 to 63, a bit each. An empty mask is best never sent: KVM takes it for all processors.
    pub processor_mask: u64,
}

assert_layout!(FlushVirtualAddress, 24, { address_space: 0, flags: 8, processor_mask: 16 });

/// Ranges that fit behind a [`FlushVirtualAddress`] in its page.
pub const MAX_VIRTUAL_RANGES: usize = 509;
const _: () = assert!(size_of::<FlushVirtualAddress>() + 8 * MAX_VIRTUAL_RANGES == PAGE_SIZE);

/// Fixed part of the input of calls 0x0013 and 0x0014. The banks of the VP set follow, then the list of ranges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlushVirtualAddressEx {
    /// The value of CR3.
    pub address_space: u64,
    /// What is flushed.
    pub flags: FlushFlags,
    /// On which processors.
    pub processor_set: VpSetHeader,
}

assert_layout!(FlushVirtualAddressEx, 32, { address_space: 0, flags: 8, processor_set: 16 });

/// Banks and ranges together that fit behind a [`FlushVirtualAddressEx`] in its page.
pub const MAX_BANKS_AND_VIRTUAL_RANGES: usize = 508;
const _: () = assert!(size_of::<FlushVirtualAddressEx>() + 8 * MAX_BANKS_AND_VIRTUAL_RANGES == PAGE_SIZE);
