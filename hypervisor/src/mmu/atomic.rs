// SPDX-License-Identifier: MIT OR Apache-2.0
//! Atomics of the protocols that are model-checked: the processor's, or loom's while it explores them.

#[cfg(not(feature = "loom"))]
pub use core::hint::spin_loop;
#[cfg(not(feature = "loom"))]
pub use core::sync::atomic::AtomicPtr;
#[cfg(not(feature = "loom"))]
pub use core::sync::atomic::AtomicU64;
#[cfg(not(feature = "loom"))]
pub use core::sync::atomic::fence;
#[cfg(feature = "loom")]
pub use loom::hint::spin_loop;
#[cfg(feature = "loom")]
pub use loom::sync::atomic::AtomicPtr;
#[cfg(feature = "loom")]
pub use loom::sync::atomic::AtomicU64;
#[cfg(feature = "loom")]
pub use loom::sync::atomic::fence;

pub use core::sync::atomic::Ordering;
