// SPDX-License-Identifier: MIT OR Apache-2.0
//! A virtual machine's MSR bitmap: the page that its vCPUs share, and how often it has changed. Those whose local APIC the processor
//! plays in x2APIC mode have another, which leaves that to it.
//!
//! An L0 with the enlightened MSR bitmap goes by what it made of the page until a vCPU's enlightened VMCS says that the page has
//! changed. So who changes it counts, and has every vCPU look; a vCPU that finds another count than the one that it has seen says
//! so to L0 before it enters its guest ([`Guest::see_msr_bitmap`](crate::vcpu::guest::Guest::see_msr_bitmap)).

use crate::memory::FRAME;
use crate::memory::Frames;
use crate::memory::OutOfFrames;
use crate::vcpu::msr_policy;
use crate::vcpu::msr_policy::MsrAccess;
use crate::vcpu::msr_policy::MsrIndex;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;

/// Which accesses to MSRs exit.
#[derive(Debug)]
pub struct MsrBitmap {
    page: Frames,
    /// The same, but for what the processor plays of x2APIC.
    x2apic_page: Frames,
    changes: AtomicU64,
}

impl MsrBitmap {
    /// What the policy says.
    pub fn new() -> Result<Self, OutOfFrames> {
        let mut content = [0; FRAME as usize];
        msr_policy::fill_bitmap(&mut content);
        let page = Frames::one()?;
        page.copy_in(0, &content);
        msr_policy::leave_x2apic_to_processor(&mut content);
        let x2apic_page = Frames::one()?;
        x2apic_page.copy_in(0, &content);
        Ok(Self { page, x2apic_page, changes: AtomicU64::new(0) })
    }

    /// Physical address of the page, for the VMCS of a vCPU: one whose local APIC the processor plays in x2APIC mode, or not.
    #[must_use]
    pub fn address(&self, plays_x2apic: bool) -> u64 {
        if plays_x2apic { self.x2apic_page.address() } else { self.page.address() }
    }

    /// How often it has changed. Who reads this sees the page as it was after that many changes, or later.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Has such accesses exit, or not. Tells whether that is new: then every vCPU has to look. An MSR without a bit exits always.
    #[must_use = "vCPUs that are not told go by the page as it was"]
    pub fn set(&self, msr: MsrIndex, access: MsrAccess, exits: bool) -> bool {
        let Some(bit) = msr_policy::bit_of(msr, access) else { return false };
        let mask = 1 << (bit % 64);
        let change = |page: &Frames| match exits {
            true => page.words()[bit / 64].fetch_or(mask, Ordering::Relaxed),
            false => page.words()[bit / 64].fetch_and(!mask, Ordering::Relaxed),
        };
        change(&self.x2apic_page);
        let changed = (change(&self.page) & mask != 0) != exits;
        if changed {
            self.changes.fetch_add(1, Ordering::Release);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// Whether an access exits, by the manual's rule (SDM vol. 3, "MSR-Bitmap Address").
    fn exits(bitmap: &MsrBitmap, msr: u32, access: MsrAccess) -> bool {
        let (range, bit) = if msr < 0xc000_0000 { (0, msr) } else { (1024, msr & 0x1fff) };
        let writes = if access == MsrAccess::Write { 2048 } else { 0 };
        let shown = [&bitmap.page, &bitmap.x2apic_page].map(|page| {
            let mut byte = [0];
            page.copy_out(u64::from(writes + range + bit / 8), &mut byte);
            byte[0] >> (bit % 8) & 1 != 0
        });
        assert_eq!(shown[0], shown[1], "what is not x2APIC's is alike");
        shown[0]
    }

    #[test]
    fn the_access_that_is_set_exits_and_no_other() {
        let bitmap = MsrBitmap::new().expect("the host has memory");
        let all = [0x174, 0x175, 0x1fff, 0xc000_0081, 0xc000_0101, 0xc000_0102, 0xc000_1fff];
        let everything =
            || [MsrAccess::Read, MsrAccess::Write].map(|access| all.map(|msr| exits(&bitmap, msr, access)));
        for (index, msr) in all.into_iter().enumerate() {
            for (access, row) in [(MsrAccess::Read, 0), (MsrAccess::Write, 1)] {
                let before = everything();
                let _ = bitmap.set(MsrIndex(msr), access, !before[row][index]);
                let mut expected = before;
                expected[row][index] = !before[row][index];
                assert_eq!(everything(), expected, "{msr:#x} {access:?}");
                let _ = bitmap.set(MsrIndex(msr), access, before[row][index]);
                assert_eq!(everything(), before);
            }
        }
    }

    #[test]
    fn what_is_as_it_was_is_no_change() {
        let bitmap = MsrBitmap::new().expect("the host has memory");
        let set = |msr, exits| (bitmap.set(msr, MsrAccess::Read, exits), bitmap.changes());
        assert_eq!(set(MsrIndex::KERNEL_GS_BASE, false), (false, 0));
        assert_eq!(set(MsrIndex::KERNEL_GS_BASE, true), (true, 1));
        assert_eq!(set(MsrIndex::KERNEL_GS_BASE, true), (false, 1));
        assert_eq!(set(MsrIndex::KERNEL_GS_BASE, false), (true, 2));
        assert_eq!(set(MsrIndex(0x4000_0000), false), (false, 2), "it has no bit");
        assert_eq!(set(MsrIndex(u32::MAX), true), (false, 2));
    }

    #[test]
    fn changes_by_several_at_once_are_all_made_and_counted() {
        let bitmap = MsrBitmap::new().expect("the host has memory");
        // Neighbours in one word.
        let msrs = [MsrIndex::FS_BASE, MsrIndex::GS_BASE, MsrIndex::KERNEL_GS_BASE];
        thread::scope(|scope| {
            for msr in msrs {
                let bitmap = &bitmap;
                scope.spawn(move || {
                    for round in 0..1001 {
                        assert!(bitmap.set(msr, MsrAccess::Read, round % 2 == 0));
                    }
                });
            }
        });
        assert_eq!(bitmap.changes(), 3003);
        assert!(msrs.iter().all(|msr| exits(&bitmap, msr.0, MsrAccess::Read)));
    }
}
