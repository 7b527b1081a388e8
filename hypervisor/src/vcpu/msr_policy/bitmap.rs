// SPDX-License-Identifier: MIT OR Apache-2.0
//! The MSR bitmap: which accesses exit, a bit each (SDM Vol. 3C, MSR-Bitmap Address).

use super::MsrIndex;
use super::POLICY;
use super::Policy;

/// The page that the VMCS points to. A set bit makes the access exit; an MSR without a bit always exits.
pub type MsrBitmap = [u8; 4096];

/// One bit for each of this many MSRs, in each of the four parts.
const RANGE: u32 = 0x2000;
/// Where the upper of the two ranges of MSRs starts.
const HIGH: u32 = 0xC000_0000;
/// The bytes of one part. They are, in order: reads low, reads high, writes low, writes high.
const PART: usize = RANGE as usize / 8;

/// Makes everything exit but what the policy passes through.
pub fn fill_bitmap(page: &mut MsrBitmap) {
    page.fill(0xFF);
    for row in POLICY.iter().filter(|row| matches!(row.policy, Policy::PassThrough(_))) {
        for index in row.first.0..=row.last.0 {
            pass_through(page, MsrIndex(index));
        }
    }
}

fn pass_through(page: &mut MsrBitmap, msr: MsrIndex) {
    let (reads, number) = match msr.0 {
        index @ 0..RANGE => (0, index as usize),
        index @ HIGH.. if index - HIGH < RANGE => (PART, (index - HIGH) as usize),
        _ => unreachable!("the table passes {msr} through, which has no bit"),
    };
    let writes = reads + 2 * PART;
    for part in [reads, writes] {
        page[part + number / 8] &= !(1 << (number % 8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vcpu::msr_policy::policy_of;

    /// Whether an access exits, by the manual's rule.
    fn exits(page: &MsrBitmap, msr: u32, write: bool) -> bool {
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
