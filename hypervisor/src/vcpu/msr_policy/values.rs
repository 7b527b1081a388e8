// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest may write to the MSRs that Satori plays, and to XCR0.

use core::fmt;

use crate::architecture::efer;
use crate::vcpu::cpuid::xstate;

/// The value is refused as a processor refuses it: nothing changes, and the guest gets #GP(0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralProtection;

impl fmt::Display for GeneralProtection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that the register does not take; inject #GP(0) into the guest")
    }
}

/// The bits of IA32_EFER that a guest may set: SCE, LME, NXE, and LMA, which follows LME and paging.
pub const EFER_SUPPORTED: u64 = efer::SCE | efer::LME | efer::LMA | efer::NXE;

/// The bits of IA32_DEBUGCTL that a guest may set: BTF. Branch records and counters are not offered.
pub const DEBUGCTL_SUPPORTED: u64 = 1 << 1;

/// IA32_PAT after RESET: WB, WT, UC-, UC, twice (SDM Vol. 3A, Programming the PAT).
pub const PAT_AT_RESET: u64 = 0x0007_0406_0007_0406;

const MISC_ENABLE_FAST_STRINGS: u64 = 1 << 0;
const MISC_ENABLE_BTS_UNAVAILABLE: u64 = 1 << 11;
const MISC_ENABLE_PEBS_UNAVAILABLE: u64 = 1 << 12;

/// IA32_MISC_ENABLE after RESET: fast strings, no branch trace store and no PEBS.
pub const MISC_ENABLE_AT_RESET: u64 =
    MISC_ENABLE_FAST_STRINGS | MISC_ENABLE_BTS_UNAVAILABLE | MISC_ENABLE_PEBS_UNAVAILABLE;

/// What IA32_EFER becomes when `written` goes to it (SDM Vol. 3A, "Extended Feature Enable Register").
///
/// LMA is read-only and keeps its value. LME must not change while `paging` (CR0.PG) is on.
pub fn checked_efer(current: u64, written: u64, paging: bool) -> Result<u64, GeneralProtection> {
    let reserved = written & !EFER_SUPPORTED != 0;
    let mode_changes = (current ^ written) & efer::LME != 0;
    if reserved || (mode_changes && paging) {
        return Err(GeneralProtection);
    }
    Ok(written & !efer::LMA | current & efer::LMA)
}

/// Whether IA32_PAT takes the value: each byte is a memory type, UC, WC, WT, WP, WB or UC-.
pub fn checked_pat(written: u64) -> Result<(), GeneralProtection> {
    let legal = |entry| matches!(entry, 0 | 1 | 4..=7);
    if written.to_le_bytes().into_iter().all(legal) { Ok(()) } else { Err(GeneralProtection) }
}

/// Whether IA32_DEBUGCTL takes the value.
pub fn checked_debugctl(written: u64) -> Result<(), GeneralProtection> {
    if written & !DEBUGCTL_SUPPORTED == 0 { Ok(()) } else { Err(GeneralProtection) }
}

/// Whether IA32_MISC_ENABLE takes the value: only fast strings can be switched, the rest is as after RESET.
pub fn checked_misc_enable(written: u64) -> Result<(), GeneralProtection> {
    let changed = written ^ MISC_ENABLE_AT_RESET;
    if changed & !MISC_ENABLE_FAST_STRINGS == 0 { Ok(()) } else { Err(GeneralProtection) }
}

/// Whether XSETBV may load XCR0 with the value (SDM Vol. 1, "Enabling the XSAVE Feature Set and XSAVE-Enabled Features"), where `supported` is what the guest's
/// CPUID says: x87 always, AVX only with SSE, and AVX-512 whole and only with AVX.
pub fn checked_xcr0(written: u64, supported: u64) -> Result<(), GeneralProtection> {
    let has = |state| written & state == state;
    let lacks = |state| written & state == 0;
    let legal = written & !supported == 0
        && has(xstate::X87)
        && (lacks(xstate::AVX) || has(xstate::SSE))
        && (lacks(xstate::AVX512) || has(xstate::AVX512 | xstate::AVX));
    if legal { Ok(()) } else { Err(GeneralProtection) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn efer_refuses_reserved_bits() {
        for bit in (0..64).filter(|bit| ![0, 8, 10, 11].contains(bit)) {
            assert_eq!(checked_efer(0, 1 << bit, false), Err(GeneralProtection), "bit {bit}");
        }
        assert_eq!(
            checked_efer(0, efer::SCE | efer::NXE | efer::LME, false),
            Ok(efer::SCE | efer::NXE | efer::LME)
        );
    }

    #[test]
    fn efer_keeps_lme_while_paging_is_on() {
        assert_eq!(checked_efer(0, efer::LME, true), Err(GeneralProtection));
        assert_eq!(checked_efer(efer::LME | efer::LMA, 0, true), Err(GeneralProtection));
        assert_eq!(
            checked_efer(efer::LME | efer::LMA, efer::LME | efer::SCE, true),
            Ok(efer::LME | efer::LMA | efer::SCE)
        );
        assert_eq!(checked_efer(efer::LME, 0, false), Ok(0));
    }

    #[test]
    fn efer_lma_cannot_be_written() {
        assert_eq!(checked_efer(0, efer::LMA, false), Ok(0));
        assert_eq!(checked_efer(efer::LMA | efer::LME, efer::LME, true), Ok(efer::LMA | efer::LME));
    }

    #[test]
    fn pat_takes_only_memory_types() {
        assert_eq!(checked_pat(PAT_AT_RESET), Ok(()));
        for position in 0..8 {
            for entry in 0..=0xFF_u64 {
                let value = PAT_AT_RESET & !(0xFF << (8 * position)) | entry << (8 * position);
                let legal = [0, 1, 4, 5, 6, 7].contains(&entry);
                assert_eq!(checked_pat(value).is_ok(), legal, "{value:#x}");
            }
        }
    }

    #[test]
    fn debugctl_takes_single_step_on_branches_and_nothing_else() {
        assert_eq!(checked_debugctl(0), Ok(()));
        for bit in 0..64 {
            assert_eq!(checked_debugctl(1 << bit).is_ok(), bit == 1, "bit {bit}");
        }
    }

    #[test]
    fn misc_enable_switches_fast_strings_and_nothing_else() {
        assert_eq!(checked_misc_enable(MISC_ENABLE_AT_RESET), Ok(()));
        for bit in 0..64 {
            assert_eq!(checked_misc_enable(MISC_ENABLE_AT_RESET ^ 1 << bit).is_ok(), bit == 0, "bit {bit}");
        }
    }

    /// The legal values are few enough to write down.
    #[test]
    fn xcr0_takes_exactly_the_legal_combinations() {
        let check = |supported: u64, legal: &[u64]| {
            for value in 0..=0xFFF {
                assert_eq!(checked_xcr0(value, supported).is_ok(), legal.contains(&value), "{value:#x}");
            }
        };
        check(0xE7, &[0x01, 0x03, 0x07, 0xE7]);
        check(0x07, &[0x01, 0x03, 0x07]);
        check(0x03, &[0x01, 0x03]);
        check(0x00, &[]);
        assert_eq!(checked_xcr0(1 << 63 | 1, 0xE7), Err(GeneralProtection));
    }
}
