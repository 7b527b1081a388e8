// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hypercall: what is in RCX before it and in RAX after it, and the inputs in memory (TLFS, "Hypercall Interface").
//!
//! A memory-based call passes the input value in RCX, the input's guest-physical address in RDX and the output's in
//! R8. A fast call passes the first two quad words of its input in RDX and R8. Inputs are 8-aligned and do not cross
//! a page. A hypercall is made through the page that [`HYPERCALL`](crate::msr::HYPERCALL) places, at CPL 0.

mod cluster_ipi;
mod flush_guest_physical;
mod flush_virtual;
mod page_range;
mod status;
mod vp_set;

pub use cluster_ipi::CLUSTER_IPI_VECTORS;
pub use cluster_ipi::InputVtl;
pub use cluster_ipi::SendSyntheticClusterIpi;
pub use cluster_ipi::SendSyntheticClusterIpiEx;
pub use flush_guest_physical::FlushGuestPhysicalAddress;
pub use flush_guest_physical::FlushGuestPhysicalAddressList;
pub use flush_guest_physical::MAX_GUEST_PHYSICAL_RANGES;
pub use flush_virtual::FlushFlags;
pub use flush_virtual::FlushVirtualAddress;
pub use flush_virtual::FlushVirtualAddressEx;
pub use flush_virtual::MAX_BANKS_AND_VIRTUAL_RANGES;
pub use flush_virtual::MAX_VIRTUAL_RANGES;
pub use page_range::ExtendedPageRange;
pub use page_range::LargePageRange;
pub use page_range::MAX_PAGES_PER_RANGE;
pub use page_range::PageRange;
pub use page_range::PageRanges;
pub use page_range::PageSpan;
pub use page_range::SimplePageRange;
pub use status::Status;
pub use vp_set::MAX_BANKS;
pub use vp_set::SparseVpSet;
pub use vp_set::VPS_PER_BANK;
pub use vp_set::VpIndexTooLarge;
pub use vp_set::VpSet;
pub use vp_set::VpSetError;
pub use vp_set::VpSetFormat;
pub use vp_set::VpSetHeader;

use crate::open_set::open_set;
use bitfield_struct::bitfield;

/// What is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CallCode(pub u16);

open_set! {
    CallCode(u16);
    /// Flush an address space of this partition on processors in a mask.
    FLUSH_VIRTUAL_ADDRESS_SPACE = 0x0002, "FlushVirtualAddressSpace";
    /// Flush ranges of an address space of this partition on processors in a mask.
    FLUSH_VIRTUAL_ADDRESS_LIST = 0x0003, "FlushVirtualAddressList";
    /// Say that a spinlock is long in coming.
    NOTIFY_LONG_SPIN_WAIT = 0x0008, "NotifyLongSpinWait";
    /// Send an interrupt to processors in a mask.
    SEND_SYNTHETIC_CLUSTER_IPI = 0x000B, "SendSyntheticClusterIpi";
    /// Like [`Self::FLUSH_VIRTUAL_ADDRESS_SPACE`], with a VP set.
    FLUSH_VIRTUAL_ADDRESS_SPACE_EX = 0x0013, "FlushVirtualAddressSpaceEx";
    /// Like [`Self::FLUSH_VIRTUAL_ADDRESS_LIST`], with a VP set.
    FLUSH_VIRTUAL_ADDRESS_LIST_EX = 0x0014, "FlushVirtualAddressListEx";
    /// Like [`Self::SEND_SYNTHETIC_CLUSTER_IPI`], with a VP set.
    SEND_SYNTHETIC_CLUSTER_IPI_EX = 0x0015, "SendSyntheticClusterIpiEx";
    /// Flush what was derived from one EPT root, on all processors.
    FLUSH_GUEST_PHYSICAL_ADDRESS_SPACE = 0x00AF, "FlushGuestPhysicalAddressSpace";
    /// Flush ranges of what was derived from one EPT root, on all processors.
    FLUSH_GUEST_PHYSICAL_ADDRESS_LIST = 0x00B0, "FlushGuestPhysicalAddressList";
}

/// The hypercall input value, in RCX.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct InputValue {
    /// What is called.
    #[bits(16)]
    pub code: CallCode,
    /// The input is in registers.
    pub fast: bool,
    /// Quad words of input header beyond its fixed part, such as the banks of a VP set.
    #[bits(10)]
    pub variable_header_size: u16,
    #[bits(4)]
    __: u8,
    /// For the hypervisor below the one that runs this (root) partition.
    pub nested: bool,
    /// Elements in the list of a rep call, and 0 in others.
    #[bits(12)]
    pub rep_count: u16,
    #[bits(4)]
    __: u8,
    /// The first element that is not done yet. The hypervisor advances it where it returns early.
    #[bits(12)]
    pub rep_start: u16,
    #[bits(4)]
    __: u8,
}

impl InputValue {
    /// The bits that have to be zero; else the call ends with [`Status::INVALID_HYPERCALL_INPUT`].
    pub const RESERVED: u64 = 0xF000_F000_7800_0000;
}

/// The hypercall result value, in RAX.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct ResultValue {
    /// How the call ended.
    #[bits(16)]
    pub status: Status,
    __: u16,
    /// Elements that are done, counted from the start of the list, not from `rep_start`.
    #[bits(12)]
    pub reps_completed: u16,
    #[bits(20)]
    __: u32,
}
