// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the lab needs, and how each part is had: every function here is quick when its part is there already.

pub mod apt;
pub mod archive;
pub mod bochs;
pub mod bzimage;
pub mod debian;
pub mod initramfs;
pub mod kvm_host;
pub mod modules;
pub mod packages;
pub mod rust_targets;
mod suite;

use anyhow::Result;

use crate::workshop::Workshop;

/// Brings everything that any command needs.
///
/// # Errors
/// In one line, what cannot be had and what to do about it.
pub fn everything(workshop: &Workshop) -> Result<()> {
    rust_targets::bring(workshop)?;
    packages::bring(workshop)?;
    bochs::bring(workshop)?;
    debian::linux(workshop)?;
    debian::busybox(workshop)?;
    packages::bring_qemu(workshop)?;
    kvm_host::kernel(workshop)?;
    Ok(())
}
