// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inputs of calls 0x000B and 0x0015: an interrupt for many processors at once.

use super::VpSetHeader;
use crate::layout::assert_layout;
use bitfield_struct::bitfield;
use core::ops::RangeInclusive;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// The vectors that can be sent. No other can, and NMIs cannot.
pub const CLUSTER_IPI_VECTORS: RangeInclusive<u32> = 0x10..=0xFF;

/// Which virtual trust level is meant (TLFS, `HV_INPUT_VTL`).
#[bitfield(u8)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct InputVtl {
    /// The level.
    #[bits(4)]
    pub target_vtl: u8,
    /// `target_vtl` counts; else the caller's own level is meant.
    pub use_target_vtl: bool,
    #[bits(3)]
    __: u8,
}

/// Input of call 0x000B. As a fast call: the first quad word in RDX, the mask in R8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SendSyntheticClusterIpi {
    /// One of [`CLUSTER_IPI_VECTORS`].
    pub vector: u32,
    /// Which level of the target.
    pub target_vtl: InputVtl,
    /// Padding; zero.
    pub padding: [u8; 3],
    /// VP indices 0 to 63, a bit each.
    pub processor_mask: u64,
}

assert_layout!(SendSyntheticClusterIpi, 16, { vector: 0, target_vtl: 4, padding: 5, processor_mask: 8 });

/// Fixed part of the input of call 0x0015. The banks of the VP set follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SendSyntheticClusterIpiEx {
    /// One of [`CLUSTER_IPI_VECTORS`].
    pub vector: u32,
    /// Which level of the target.
    pub target_vtl: InputVtl,
    /// Padding; zero.
    pub padding: [u8; 3],
    /// Who gets it.
    pub processor_set: VpSetHeader,
}

assert_layout!(SendSyntheticClusterIpiEx, 24, { vector: 0, target_vtl: 4, padding: 5, processor_set: 8 });
