// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inputs of calls 0x00AF and 0x00B0: flush what L0 derived from one of our EPT roots, on all processors.

use super::PageRange;
use crate::PAGE_SIZE;
use crate::layout::assert_layout;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// Input of call 0x00AF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlushGuestPhysicalAddress {
    /// The address of the root table: bits 51:12 of the EPT pointer, the others clear. The TLFS also calls it the
    /// whole EPT pointer; KVM passes the bare address, and L0 takes it.
    pub address_space: u64,
    /// Reserved; zero.
    pub flags: u64,
}

assert_layout!(FlushGuestPhysicalAddress, 16, { address_space: 0, flags: 8 });

/// Ranges that one call 0x00B0 can take; more need a flush of the whole space, or another call.
pub const MAX_GUEST_PHYSICAL_RANGES: usize = 510;

/// Input of call 0x00B0: a whole page, of which the call's rep count says how many ranges are in use.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
pub struct FlushGuestPhysicalAddressList {
    /// Which space.
    pub space: FlushGuestPhysicalAddress,
    /// Which parts of it.
    pub ranges: [PageRange; MAX_GUEST_PHYSICAL_RANGES],
}

assert_layout!(FlushGuestPhysicalAddressList, 4096, { space: 0, ranges: 16 });
const _: () = assert!(align_of::<FlushGuestPhysicalAddressList>() == PAGE_SIZE);
