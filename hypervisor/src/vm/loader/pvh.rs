// SPDX-License-Identifier: MIT OR Apache-2.0
//! An ELF kernel that is entered by PVH: in 32-bit protected mode, where its Xen note says.

use super::BOOT_INFORMATION;
use super::EntryState;
use super::Handover;
use super::Reason;
use super::image::Image;
use super::start_info::StartInfoPage;
use crate::mmu::GuestMemory;
use zerocopy::IntoBytes;

/// Writes the kernel and what it is told.
pub(super) fn write(
    image: &Image<'_>,
    memory: &impl GuestMemory,
    handover: &Handover<'_>,
) -> Result<EntryState, Reason> {
    image.write(memory)?;
    memory.write(BOOT_INFORMATION, StartInfoPage::new(handover).as_bytes())?;
    Ok(EntryState::Protected32 { eip: image.entry, eax: 0, ebx: BOOT_INFORMATION.0 as u32 })
}
