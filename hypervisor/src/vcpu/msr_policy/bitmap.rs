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

fn pass_through(page: &mut BitmapPage, msr: MsrIndex) {
    for access in [MsrAccess::Read, MsrAccess::Write] {
        let Some(bit) = bit_of(msr, access) else {
            unreachable!("the table passes {msr} through, which has no bit")
        };
        page[bit / 8] &= !(1 << (bit % 8));
    }
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
}
