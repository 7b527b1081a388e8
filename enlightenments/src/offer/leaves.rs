// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CPUID leaves by which a guest learns what it is offered (TLFS, "Feature and Interface Discovery").

use super::MOST_PROCESSORS;
use super::Offering;
use core::arch::x86_64::CpuidResult;
use hyperv_bindings::cpuid::Features;
use hyperv_bindings::cpuid::ImplementationLimits;
use hyperv_bindings::cpuid::Interface;
use hyperv_bindings::cpuid::InterfaceSignature;
use hyperv_bindings::cpuid::MiscellaneousFeatures;
use hyperv_bindings::cpuid::PartitionPrivileges;
use hyperv_bindings::cpuid::Recommendations;
use hyperv_bindings::cpuid::RecommendedBehaviour;
use hyperv_bindings::cpuid::Vendor;
use hyperv_bindings::cpuid::VendorAndMaxLeaf;
use hyperv_bindings::cpuid::Version;

/// The first leaf.
pub const FIRST: u32 = VendorAndMaxLeaf::LEAF;
/// The last one that there is.
pub const LAST: u32 = ImplementationLimits::LEAF;

/// What CPUID answers for a leaf; `None` beyond [`LAST`].
#[must_use]
pub fn leaf(number: u32, offering: Offering) -> Option<CpuidResult> {
    Some(match number {
        // Linux uses the interface by this name alone, whatever the signature says.
        VendorAndMaxLeaf::LEAF => VendorAndMaxLeaf { max_leaf: LAST, vendor: Vendor::MICROSOFT }.into_cpuid(),
        Interface::LEAF => Interface { signature: InterfaceSignature::HV1, reserved: [0; 3] }.into_cpuid(),
        // No version of Hyper-V is a claim of ours, and what works is said by the other leaves.
        Version::LEAF => Version::default().into_cpuid(),
        Features::LEAF => features(offering).into_cpuid(),
        Recommendations::LEAF => recommendations().into_cpuid(),
        ImplementationLimits::LEAF => {
            ImplementationLimits { max_virtual_processors: MOST_PROCESSORS, ..Default::default() }
                .into_cpuid()
        }
        _ => return None,
    })
}

fn features(Offering { invariant_tsc, xmm_input }: Offering) -> Features {
    let privileges = PartitionPrivileges::new()
        .with_hypercall_msrs(true)
        .with_vp_index(true)
        .with_tsc_invariant_controls(invariant_tsc);
    let miscellaneous = MiscellaneousFeatures::new()
        .with_xmm_hypercall_input(xmm_input)
        .with_extended_gva_ranges(true)
        .with_hypercall_msr_lock(true);
    let mut features = Features::default().with_privileges(privileges);
    features.miscellaneous = miscellaneous;
    features
}

fn recommendations() -> Recommendations {
    let behaviour = RecommendedBehaviour::new()
        .with_local_flush_hypercall(true)
        .with_remote_flush_hypercall(true)
        .with_vp_set_hypercalls(true);
    Recommendations { behaviour, spin_retries: Recommendations::NEVER_NOTIFY, ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(number: u32, offering: Offering) -> [u32; 4] {
        let CpuidResult { eax, ebx, ecx, edx } = leaf(number, offering).unwrap();
        [eax, ebx, ecx, edx]
    }

    /// The published bits, not those of the types.
    #[test]
    fn what_is_offered_is_the_least_that_flushes_take() {
        let offering = Offering::default();
        let [max, name @ ..] = registers(0x4000_0000, offering);
        assert_eq!(
            (max, name.map(u32::to_le_bytes).concat().as_slice()),
            (0x4000_0005, &b"Microsoft Hv"[..])
        );
        assert_eq!(registers(0x4000_0001, offering), [u32::from_le_bytes(*b"Hv#1"), 0, 0, 0]);
        assert_eq!(registers(0x4000_0002, offering), [0; 4]);
        assert_eq!(registers(0x4000_0003, offering), [1 << 5 | 1 << 6, 0, 0, 1 << 14 | 1 << 18]);
        assert_eq!(registers(0x4000_0004, offering), [1 << 1 | 1 << 2 | 1 << 11, u32::MAX, 0, 0]);
        assert_eq!(registers(0x4000_0005, offering), [64, 0, 0, 0]);
    }

    #[test]
    fn what_depends_on_the_machine_is_offered_where_it_can_be_kept() {
        let [eax, .., edx] = registers(0x4000_0003, Offering { invariant_tsc: true, xmm_input: true });
        assert_eq!((eax, edx), (1 << 5 | 1 << 6 | 1 << 15, 1 << 4 | 1 << 14 | 1 << 18));
    }

    #[test]
    fn there_is_nothing_beyond_the_last_leaf() {
        assert!(
            [FIRST - 1, LAST + 1, 0x4000_000a, 0, u32::MAX].iter().all(|&number| leaf(
                number,
                Offering::default()
            )
            .is_none())
        );
    }
}
