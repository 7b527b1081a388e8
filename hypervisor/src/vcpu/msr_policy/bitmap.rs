// SPDX-License-Identifier: MIT OR Apache-2.0
//! The MSR bitmap: which accesses exit, a bit each (SDM Vol. 3C, MSR-Bitmap Address).

use super::MsrIndex;
use super::POLICY;
use super::Policy;

/// The page that the VMCS points to. A set bit makes the access exit; an MSR without a bit always exits.
pub type BitmapPage = [u8; 4096];

/// What is done to an MSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsrAccess {
    /// RDMSR.
    Read,
    /// WRMSR.
    Write,
}

/// One bit for each of this many MSRs, in each of the four parts.
const RANGE: u32 = 0x2000;
/// Where the upper of the two ranges of MSRs starts.
const HIGH: u32 = 0xC000_0000;

/// Makes everything exit but what the policy passes through.
pub fn fill_bitmap(page: &mut BitmapPage) {
    page.fill(0xFF);
    for row in POLICY.iter().filter(|row| matches!(row.policy, Policy::PassThrough(_))) {
        for index in row.first.0..=row.last.0 {
            pass_through(page, MsrIndex(index));
        }
    }
}

/// The accesses to x2APIC's MSRs that a processor plays with "virtualize x2APIC mode" and virtual-interrupt delivery, and without
/// these must exit: they would reach the CPU's own local APIC (SDM vol. 3, "Virtualizing MSR-Based APIC Accesses").
const PLAYED: [(MsrIndex, MsrAccess); 4] = [
    (MsrIndex::X2APIC_TASK_PRIORITY, MsrAccess::Read),
    (MsrIndex::X2APIC_TASK_PRIORITY, MsrAccess::Write),
    (MsrIndex::X2APIC_END_OF_INTERRUPT, MsrAccess::Write),
    (MsrIndex::X2APIC_SELF_IPI, MsrAccess::Write),
];

/// Leaves to the processor what it plays of a local APIC in x2APIC mode.
pub fn leave_x2apic_to_processor(page: &mut BitmapPage) {
    PLAYED.into_iter().for_each(|(msr, access)| clear(page, msr, access));
}

fn pass_through(page: &mut BitmapPage, msr: MsrIndex) {
    [MsrAccess::Read, MsrAccess::Write].into_iter().for_each(|access| clear(page, msr, access));
}

fn clear(page: &mut BitmapPage, msr: MsrIndex, access: MsrAccess) {
    let Some(bit) = bit_of(msr, access) else { unreachable!("{msr} has no bit, and always exits") };
    page[bit / 8] &= !(1 << (bit % 8));
}

/// Which bit of the page says whether an access exits; `None` for an MSR of which all accesses do.
#[must_use]
pub const fn bit_of(msr: MsrIndex, access: MsrAccess) -> Option<usize> {
    // The parts are, in order: reads low, reads high, writes low, writes high.
    let in_part = match msr.0 {
        index @ 0..RANGE => index,
        index @ HIGH.. if index - HIGH < RANGE => RANGE + (index - HIGH),
        _ => return None,
    };
    let part = match access {
        MsrAccess::Read => 0,
        MsrAccess::Write => 2 * RANGE,
    };
    Some((part + in_part) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vcpu::msr_policy::policy_of;

    /// Whether an access exits, by the manual's rule.
    fn exits(page: &BitmapPage, msr: u32, write: bool) -> bool {
        let (range, bit) = match msr {
            0x0000_0000..=0x0000_1FFF => (0, msr),
            0xC000_0000..=0xC000_1FFF => (1, msr & 0x1FFF),
            _ => return true,
        };
        let byte = u32::from(write) * 2048 + range * 1024 + bit / 8;
        page[byte as usize] >> (bit % 8) & 1 != 0
    }

    #[test]
    fn every_bit_says_what_the_policy_says() {
        let mut page = [0; 4096];
        fill_bitmap(&mut page);
        for msr in (0..0x2000).chain(0xC000_0000..0xC000_2000) {
            let through = matches!(policy_of(MsrIndex(msr)), Policy::PassThrough(_));
            assert_eq!(exits(&page, msr, false), !through, "read of {msr:#x}");
            assert_eq!(exits(&page, msr, true), !through, "write of {msr:#x}");
        }
    }

    #[test]
    fn only_the_named_bits_are_clear() {
        let mut page = [0; 4096];
        fill_bitmap(&mut page);
        let clear: u32 = page.iter().map(|byte| byte.count_zeros()).sum();
        assert_eq!(clear, 2 * 11);
        assert!(!exits(&page, 0xC000_0101, true), "GS_BASE");
        assert!(exits(&page, 0xC000_0080, true), "EFER");
        assert!(exits(&page, 0x6E0, true), "TSC_DEADLINE");
    }

    #[test]
    fn the_processor_is_left_task_priority_eoi_and_self_ipi_and_no_more() {
        let (mut page, mut played) = ([0; 4096], [0; 4096]);
        fill_bitmap(&mut page);
        fill_bitmap(&mut played);
        leave_x2apic_to_processor(&mut played);
        for msr in (0..0x2000).chain(0xC000_0000..0xC000_2000) {
            for (write, left) in [(false, &[0x808][..]), (true, &[0x808, 0x80B, 0x83F])] {
                let expected = exits(&page, msr, write) && !left.contains(&msr);
                assert_eq!(exits(&played, msr, write), expected, "{msr:#x}");
            }
        }
    }
}
