// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one table of what a guest may do with each MSR. It serves the exits and fills the MSR bitmap.
//!
//! What is not in the table gets #GP(0). So do the MTRRs, machine-check banks and counters that CPUID hides,
//! and FEATURE_CONTROL and PLATFORM_INFO, which kernels read prepared for a fault.

mod bitmap;
mod index;
mod values;

pub use self::bitmap::BitmapPage;
pub use self::bitmap::MsrAccess;
pub use self::bitmap::bit_of;
pub use self::bitmap::fill_bitmap;
pub use self::bitmap::leave_x2apic_to_processor;
pub use self::index::MsrIndex;
pub use self::values::DEBUGCTL_SUPPORTED;
pub use self::values::EFER_SUPPORTED;
pub use self::values::GeneralProtection;
pub use self::values::MISC_ENABLE_AT_RESET;
pub use self::values::PAT_AT_RESET;
pub use self::values::checked_debugctl;
pub use self::values::checked_efer;
pub use self::values::checked_misc_enable;
pub use self::values::checked_pat;
pub use self::values::checked_xcr0;

use self::Policy::Constant;
use self::Policy::Emulated;
use self::Policy::PassThrough;

/// What an access to an MSR gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It reaches the processor without an exit. Any value of a guest is harmless there, or is #GP by itself.
    PassThrough(HeldBy),
    /// It exits, and Satori plays the register.
    Emulated(Register),
    /// It exits; reads get `value`.
    Constant {
        /// What a read gets.
        value: u64,
        /// What a write gets.
        writes: Writes,
    },
    /// It exits, and the guest gets #GP(0).
    Refused,
}

/// Who keeps the guest's value of a passed-through MSR while Satori or another guest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBy {
    /// The guest-state area of the VMCS, from and to which VM entry and exit load and save it.
    Vmcs,
    /// Only the processor: whoever switches vCPUs has to save and load it. Satori itself uses none of these.
    Processor,
}

/// The registers that Satori plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// IA32_APIC_BASE. The local APIC judges what is written.
    ApicBase,
    /// IA32_DEBUGCTL; see [`checked_debugctl`].
    DebugCtl,
    /// IA32_EFER; see [`checked_efer`].
    Efer,
    /// IA32_MISC_ENABLE; see [`checked_misc_enable`].
    MiscEnable,
    /// IA32_PAT; see [`checked_pat`].
    Pat,
    /// IA32_TIME_STAMP_COUNTER: any value, kept as an offset.
    Tsc,
    /// IA32_TSC_ADJUST: any value; its change also changes the offset of the TSC.
    TscAdjust,
    /// IA32_TSC_DEADLINE: any value.
    TscDeadline,
    /// One of the 256 MSRs from 800H on; the local APIC says which of them there are.
    X2Apic,
    /// One of the 512 MSRs from 40000000H on; the machine says which of them there are: often none.
    Synthetic,
}

/// What a write to a constant gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// Nothing happens.
    Ignored,
    /// #GP(0).
    Refused,
}

/// Some MSRs that follow each other and have one policy.
#[derive(Clone, Copy, Debug)]
struct Row {
    first: MsrIndex,
    last: MsrIndex,
    policy: Policy,
}

const fn one(msr: MsrIndex, policy: Policy) -> Row {
    Row { first: msr, last: msr, policy }
}

/// Ordered by index.
const POLICY: &[Row] = &[
    one(MsrIndex::TIME_STAMP_COUNTER, Emulated(Register::Tsc)),
    one(MsrIndex::PLATFORM_ID, Constant { value: 0, writes: Writes::Refused }),
    one(MsrIndex::APIC_BASE, Emulated(Register::ApicBase)),
    one(MsrIndex::TSC_ADJUST, Emulated(Register::TscAdjust)),
    // Microcode revision. To learn it software first writes zero here, then executes CPUID.
    one(MsrIndex::BIOS_SIGN_ID, Constant { value: 0, writes: Writes::Ignored }),
    one(MsrIndex::SYSENTER_CS, PassThrough(HeldBy::Vmcs)),
    one(MsrIndex::SYSENTER_ESP, PassThrough(HeldBy::Vmcs)),
    one(MsrIndex::SYSENTER_EIP, PassThrough(HeldBy::Vmcs)),
    // No machine-check banks.
    one(MsrIndex::MCG_CAP, Constant { value: 0, writes: Writes::Refused }),
    one(MsrIndex::MISC_ENABLE, Emulated(Register::MiscEnable)),
    one(MsrIndex::DEBUGCTL, Emulated(Register::DebugCtl)),
    one(MsrIndex::PAT, Emulated(Register::Pat)),
    one(MsrIndex::TSC_DEADLINE, Emulated(Register::TscDeadline)),
    Row { first: MsrIndex::X2APIC_FIRST, last: MsrIndex::X2APIC_LAST, policy: Emulated(Register::X2Apic) },
    Row {
        first: MsrIndex::SYNTHETIC_FIRST,
        last: MsrIndex::SYNTHETIC_LAST,
        policy: Emulated(Register::Synthetic),
    },
    one(MsrIndex::EFER, Emulated(Register::Efer)),
    one(MsrIndex::STAR, PassThrough(HeldBy::Processor)),
    one(MsrIndex::LSTAR, PassThrough(HeldBy::Processor)),
    one(MsrIndex::CSTAR, PassThrough(HeldBy::Processor)),
    one(MsrIndex::FMASK, PassThrough(HeldBy::Processor)),
    one(MsrIndex::FS_BASE, PassThrough(HeldBy::Vmcs)),
    one(MsrIndex::GS_BASE, PassThrough(HeldBy::Vmcs)),
    one(MsrIndex::KERNEL_GS_BASE, PassThrough(HeldBy::Processor)),
    one(MsrIndex::TSC_AUX, PassThrough(HeldBy::Processor)),
];

/// What an access to `msr` gets.
///
/// A busy guest writes to its local APIC most; that is found without a search.
#[inline]
#[must_use]
pub fn policy_of(msr: MsrIndex) -> Policy {
    if (MsrIndex::X2APIC_FIRST..=MsrIndex::X2APIC_LAST).contains(&msr) {
        Emulated(Register::X2Apic)
    } else {
        search(msr)
    }
}

/// The MSRs that whoever switches vCPUs has to save and load.
pub fn held_by_processor() -> impl Iterator<Item = MsrIndex> {
    POLICY.iter().filter(|row| row.policy == PassThrough(HeldBy::Processor)).map(|row| row.first)
}

fn search(msr: MsrIndex) -> Policy {
    let after = POLICY.partition_point(|row| row.first <= msr);
    match after.checked_sub(1).map(|row| &POLICY[row]) {
        Some(row) if msr <= row.last => row.policy,
        _ => Policy::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every index of the table, and those around its rows.
    fn interesting() -> impl Iterator<Item = MsrIndex> {
        let ends = POLICY.iter().flat_map(|row| [row.first.0, row.last.0]);
        ends.flat_map(|index| index.saturating_sub(2)..=index.saturating_add(2)).map(MsrIndex)
    }

    #[test]
    fn table_is_ordered_and_rows_do_not_overlap() {
        assert!(POLICY.iter().all(|row| row.first <= row.last));
        assert!(POLICY.is_sorted_by(|a, b| a.last < b.first));
    }

    #[test]
    fn lookup_agrees_with_the_table() {
        let by_scan = |msr| {
            let row = POLICY.iter().find(|row| row.first <= msr && msr <= row.last);
            row.map_or(Policy::Refused, |row| row.policy)
        };
        for msr in (0..0x2000)
            .chain(0x4000_0000..0x4000_0300)
            .chain(0xC000_0000..0xC000_2000)
            .map(MsrIndex)
            .chain(interesting())
        {
            assert_eq!(policy_of(msr), by_scan(msr), "{msr}");
        }
    }

    #[test]
    fn what_cpuid_hides_is_refused() {
        let hidden = [
            ("FEATURE_CONTROL", 0x3A),
            ("SPEC_CTRL", 0x48),
            ("PMC0", 0xC1),
            ("MTRRCAP", 0xFE),
            ("ARCH_CAPABILITIES", 0x10A),
            ("MTRR_PHYSBASE0", 0x200),
            ("MTRR_DEF_TYPE", 0x2FF),
            ("PERF_GLOBAL_CTRL", 0x38F),
            ("MC0_CTL", 0x400),
            ("VMX_BASIC", 0x480),
            ("XSS", 0xDA0),
            ("a MSR of other hypervisors", 0x4b56_4d00),
            ("a MSR of another vendor", 0xC001_0015),
            ("the last index of all", u32::MAX),
        ];
        for (name, index) in hidden {
            assert_eq!(policy_of(MsrIndex(index)), Policy::Refused, "{name}");
        }
    }

    #[test]
    fn what_only_the_processor_holds_is_listed_for_the_switch() {
        let held: Vec<u32> = held_by_processor().map(|msr| msr.0).collect();
        assert_eq!(held, [0xC000_0081, 0xC000_0082, 0xC000_0083, 0xC000_0084, 0xC000_0102, 0xC000_0103]);
    }
}
