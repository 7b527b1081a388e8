// SPDX-License-Identifier: MIT OR Apache-2.0
//! Our own memory: physical frames, the heap, and the page tables that we run on.

pub mod address_space;
pub mod bring_up;
mod commitment;
pub mod frame_bitmap;
pub mod frames;
#[cfg(target_os = "none")]
pub mod heap;
pub mod physical;

pub use commitment::Commitment;
pub use frames::Frames;
pub use frames::OutOfFrames;
pub use physical::PhysicalRead;

/// Bytes of a frame.
pub const FRAME: u64 = 4 << 10;
/// Bytes of a 2 MiB page.
pub const PAGE_2M: u64 = 2 << 20;
/// Bytes of a 1 GiB page.
pub const PAGE_1G: u64 = 1 << 30;

/// Runs `act`, which may allocate, on the path of a guest's exit, where else nothing does.
#[cfg(target_os = "none")]
pub fn with_heap<R>(act: impl FnOnce() -> R) -> R {
    crate::cpu::per_cpu::serving(false, act)
}

/// Runs `act`. On the host, everything may allocate.
#[cfg(not(target_os = "none"))]
pub fn with_heap<R>(act: impl FnOnce() -> R) -> R {
    act()
}
