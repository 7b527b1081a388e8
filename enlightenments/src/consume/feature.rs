// SPDX-License-Identifier: MIT OR Apache-2.0
//! The features of Hyper-V that matter to a nested hypervisor, and by which bits L0 offers each.

use super::HyperV;
use super::bit::Bit;
use super::bit::hint;
use super::bit::miscellaneous;
use super::bit::nested;
use super::bit::nested_vmcs;
use super::bit::privilege;
use core::fmt;
use hyperv_bindings::cpuid::NestedVirtualization;

/// The version of the enlightened VMCS that we speak.
const EVMCS_VERSION: u8 = 1;

/// Something that L0 may offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feature {
    /// A VMCS in memory, without VMREAD, VMWRITE and VMPTRLD.
    EnlightenedVmcs,
    /// L0 reads our MSR bitmap again only when we say so.
    EnlightenedMsrBitmap,
    /// Our guest's TLB flush hypercalls go straight to L0.
    DirectVirtualFlush,
    /// One hypercall flushes an EPT root on all processors.
    GuestMappingFlush,
    /// Virtualization exceptions count as page faults.
    CombinedVirtualizationExceptions,
    /// GUEST_IA32_DEBUGCTL may be other than zero.
    GuestDebugctl,
    /// The enlightened VMCS has IA32_PERF_GLOBAL_CTRL.
    PerfGlobalCtrl,
    /// Hypercalls.
    HypercallPage,
    /// The numbers by which masks and sets name processors.
    VpIndex,
    /// Where L0 looks for the current enlightened VMCS.
    VpAssistPage,
    /// TLB flushes of our own linear mappings on other processors.
    RemoteFlushHypercalls,
    /// IPIs to many processors at once.
    ClusterIpi,
    /// Sets of more than 64 processors in hypercalls.
    VpSets,
    /// Messages and events from L0.
    SynIc,
    /// Timers in reference time.
    SyntheticTimers,
    /// Reference time by an MSR.
    ReferenceCounter,
    /// Reference time from the TSC, without an exit.
    ReferenceTsc,
    /// Frequencies of TSC and APIC timer, without calibration.
    FrequencyMsrs,
    /// An interrupt after a live migration.
    Reenlightenment,
    /// CPUID can be told to show an invariant TSC.
    TscInvariant,
    /// A place to report a panic to.
    CrashMsrs,
    /// Interrupts may come late: no watchdogs.
    RelaxedTiming,
    /// L0 wants the APIC in x2APIC mode.
    X2Apic,
    /// No stranger runs on the other hyper-thread of our core.
    NoCoreSharing,
}

/// What there is to know of a feature.
struct Definition {
    feature: Feature,
    name: &'static str,
    bits: &'static [Bit],
    needs: &'static [Feature],
}

/// One feature each, in the order in which they are reported: its name, the bits that have to be set for it, and the
/// features without which it is of no use.
static DEFINITIONS: [Definition; Feature::COUNT] = [
    define(
        Feature::EnlightenedVmcs,
        "enlightened VMCS",
        &[hint(14, |l0| l0.recommendations.behaviour.enlightened_vmcs())],
        &[Feature::VpAssistPage],
    ),
    define(
        Feature::EnlightenedMsrBitmap,
        "enlightened MSR bitmap",
        &[nested(19, |l0| l0.nested.features.enlightened_msr_bitmap())],
        &[Feature::EnlightenedVmcs],
    ),
    define(
        Feature::DirectVirtualFlush,
        "direct virtual flush",
        &[nested(17, |l0| l0.nested.features.direct_virtual_flush())],
        // Without a name and a hypercall page there is no interface to carry out the guests' calls by.
        &[Feature::EnlightenedVmcs, Feature::HypercallPage],
    ),
    define(
        Feature::GuestMappingFlush,
        "guest-mapping flush",
        &[nested(18, |l0| l0.nested.features.guest_physical_flush())],
        &[Feature::HypercallPage],
    ),
    define(
        Feature::CombinedVirtualizationExceptions,
        "combined virtualization exceptions",
        &[nested(20, |l0| l0.nested.features.combined_virtualization_exceptions())],
        &[Feature::VpAssistPage],
    ),
    define(
        Feature::GuestDebugctl,
        "guest DEBUGCTL",
        &[nested(21, |l0| l0.nested.features.guest_debugctl())],
        &[],
    ),
    define(
        Feature::PerfGlobalCtrl,
        "PERF_GLOBAL_CTRL in enlightened VMCS",
        &[nested_vmcs(0, |l0| l0.nested.vmcs.perf_global_ctrl())],
        &[Feature::EnlightenedVmcs],
    ),
    define(
        Feature::HypercallPage,
        "hypercall page",
        &[privilege(5, |l0| l0.features.privileges().hypercall_msrs())],
        &[],
    ),
    define(Feature::VpIndex, "VP index", &[privilege(6, |l0| l0.features.privileges().vp_index())], &[]),
    define(
        Feature::VpAssistPage,
        "VP assist page",
        &[privilege(4, |l0| l0.features.privileges().apic_msrs())],
        &[],
    ),
    define(
        Feature::RemoteFlushHypercalls,
        "remote flush hypercalls",
        &[hint(2, |l0| l0.recommendations.behaviour.remote_flush_hypercall())],
        &[Feature::HypercallPage, Feature::VpIndex],
    ),
    define(
        Feature::ClusterIpi,
        "cluster IPI hypercall",
        &[hint(10, |l0| l0.recommendations.behaviour.cluster_ipi_hypercall())],
        &[Feature::HypercallPage, Feature::VpIndex],
    ),
    define(
        Feature::VpSets,
        "VP sets in hypercalls",
        &[hint(11, |l0| l0.recommendations.behaviour.vp_set_hypercalls())],
        &[Feature::HypercallPage, Feature::VpIndex],
    ),
    define(Feature::SynIc, "SynIC", &[privilege(2, |l0| l0.features.privileges().synic())], &[]),
    define(
        Feature::SyntheticTimers,
        "synthetic timers",
        &[privilege(3, |l0| l0.features.privileges().synthetic_timers())],
        &[],
    ),
    define(
        Feature::ReferenceCounter,
        "reference counter",
        &[privilege(1, |l0| l0.features.privileges().time_ref_count())],
        &[],
    ),
    define(
        Feature::ReferenceTsc,
        "reference TSC page",
        &[privilege(9, |l0| l0.features.privileges().reference_tsc())],
        &[],
    ),
    define(
        Feature::FrequencyMsrs,
        "frequency MSRs",
        &[
            privilege(11, |l0| l0.features.privileges().frequency_msrs()),
            miscellaneous(8, |l0| l0.features.miscellaneous.frequency_msrs()),
        ],
        &[],
    ),
    define(
        Feature::Reenlightenment,
        "re-enlightenment",
        &[privilege(13, |l0| l0.features.privileges().reenlightenment())],
        // Who has the TSC exchanged has to know what it ticks at then.
        &[Feature::VpIndex, Feature::FrequencyMsrs],
    ),
    define(
        Feature::TscInvariant,
        "TSC invariant control",
        &[privilege(15, |l0| l0.features.privileges().tsc_invariant_controls())],
        &[],
    ),
    define(
        Feature::CrashMsrs,
        "crash MSRs",
        &[miscellaneous(10, |l0| l0.features.miscellaneous.crash_msrs())],
        &[],
    ),
    define(
        Feature::RelaxedTiming,
        "relaxed timing hint",
        &[hint(5, |l0| l0.recommendations.behaviour.relaxed_timing())],
        &[],
    ),
    define(Feature::X2Apic, "x2APIC hint", &[hint(19, |l0| l0.recommendations.behaviour.x2apic())], &[]),
    define(
        Feature::NoCoreSharing,
        "no core sharing",
        &[hint(18, |l0| l0.recommendations.behaviour.no_non_architectural_core_sharing())],
        &[],
    ),
];

const fn define(
    feature: Feature,
    name: &'static str,
    bits: &'static [Bit],
    needs: &'static [Feature],
) -> Definition {
    Definition { feature, name, bits, needs }
}

/// Each definition is at the place that its feature has in the enum.
const _: () = {
    let mut place = 0;
    while place < DEFINITIONS.len() {
        assert!(DEFINITIONS[place].feature as usize == place);
        place += 1;
    }
};

impl Feature {
    /// How many there are.
    pub(super) const COUNT: usize = 24;

    /// All of them, in the order in which they are reported.
    pub fn all() -> impl Iterator<Item = Self> {
        DEFINITIONS.iter().map(|definition| definition.feature)
    }

    /// What the report calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        DEFINITIONS[self as usize].name
    }

    /// The bits that have to be set for it to be offered.
    #[must_use]
    pub const fn bits(self) -> &'static [Bit] {
        DEFINITIONS[self as usize].bits
    }

    /// The features without which it is of no use.
    #[must_use]
    pub const fn needs(self) -> &'static [Self] {
        DEFINITIONS[self as usize].needs
    }

    /// Why L0 does not offer it, or `None` where it does.
    #[must_use]
    pub fn missing(self, hyperv: Option<&HyperV>) -> Option<Missing> {
        let Some(hyperv) = hyperv else { return Some(Missing::Interface) };
        let missing = self.bits().iter().find_map(|bit| missing_bit(bit, hyperv));
        match self {
            Self::EnlightenedVmcs => missing.or_else(|| missing_evmcs_version(hyperv)),
            _ => missing,
        }
    }
}

fn missing_bit(bit: &Bit, hyperv: &HyperV) -> Option<Missing> {
    if hyperv.max_leaf < bit.leaf {
        return Some(Missing::Leaf(bit.leaf));
    }
    (!bit.is_set(hyperv)).then_some(Missing::Bit(*bit))
}

/// The hint to use enlightened VMCSs does not say in which version; leaf 0x4000000A does.
fn missing_evmcs_version(hyperv: &HyperV) -> Option<Missing> {
    if hyperv.max_leaf < NestedVirtualization::LEAF {
        return Some(Missing::Leaf(NestedVirtualization::LEAF));
    }
    let features = hyperv.nested.features;
    (!features.supports_evmcs_version(EVMCS_VERSION)).then(|| Missing::EvmcsVersion {
        lowest: features.lowest_evmcs_version(),
        highest: features.highest_evmcs_version(),
    })
}

/// Why L0 does not offer a feature.
#[derive(Clone, Copy, Debug)]
pub enum Missing {
    /// There is no Hyper-V interface.
    Interface,
    /// The leaf that would offer it is beyond the last one.
    Leaf(u32),
    /// The bit that would offer it is clear.
    Bit(Bit),
    /// Enlightened VMCSs are offered, but not in the version that we speak.
    EvmcsVersion {
        /// The lowest version that is offered.
        lowest: u8,
        /// The highest version that is offered.
        highest: u8,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface => f.write_str("no Hv#1 interface"),
            Self::Leaf(leaf) => write!(f, "leaf {leaf:#X} is missing"),
            Self::Bit(bit) => write!(f, "{bit} is clear"),
            Self::EvmcsVersion { lowest, highest } => {
                write!(f, "versions {lowest} to {highest}, not {EVMCS_VERSION}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Feature;

    #[test]
    fn features_are_offered_by_the_published_bits() {
        let published = [
            (Feature::EnlightenedVmcs, "0x40000004.EAX[14]"),
            (Feature::EnlightenedMsrBitmap, "0x4000000A.EAX[19]"),
            (Feature::DirectVirtualFlush, "0x4000000A.EAX[17]"),
            (Feature::GuestMappingFlush, "0x4000000A.EAX[18]"),
            (Feature::CombinedVirtualizationExceptions, "0x4000000A.EAX[20]"),
            (Feature::GuestDebugctl, "0x4000000A.EAX[21]"),
            (Feature::PerfGlobalCtrl, "0x4000000A.EBX[0]"),
            (Feature::HypercallPage, "0x40000003.EAX[5]"),
            (Feature::VpIndex, "0x40000003.EAX[6]"),
            (Feature::VpAssistPage, "0x40000003.EAX[4]"),
            (Feature::RemoteFlushHypercalls, "0x40000004.EAX[2]"),
            (Feature::ClusterIpi, "0x40000004.EAX[10]"),
            (Feature::VpSets, "0x40000004.EAX[11]"),
            (Feature::SynIc, "0x40000003.EAX[2]"),
            (Feature::SyntheticTimers, "0x40000003.EAX[3]"),
            (Feature::ReferenceCounter, "0x40000003.EAX[1]"),
            (Feature::ReferenceTsc, "0x40000003.EAX[9]"),
            (Feature::FrequencyMsrs, "0x40000003.EAX[11] 0x40000003.EDX[8]"),
            (Feature::Reenlightenment, "0x40000003.EAX[13]"),
            (Feature::TscInvariant, "0x40000003.EAX[15]"),
            (Feature::CrashMsrs, "0x40000003.EDX[10]"),
            (Feature::RelaxedTiming, "0x40000004.EAX[5]"),
            (Feature::X2Apic, "0x40000004.EAX[19]"),
            (Feature::NoCoreSharing, "0x40000004.EAX[18]"),
        ];
        assert!(Feature::all().eq(published.map(|(feature, _)| feature)));
        for (feature, published) in published {
            let bits: Vec<String> = feature.bits().iter().map(ToString::to_string).collect();
            assert_eq!(bits.join(" "), published, "{feature:?}");
        }
    }

    #[test]
    fn features_need_each_other() {
        let evmcs: &[Feature] = &[Feature::EnlightenedVmcs];
        let assist_page: &[Feature] = &[Feature::VpAssistPage];
        let hypercalls_by_index: &[Feature] = &[Feature::HypercallPage, Feature::VpIndex];
        for feature in Feature::all() {
            let needed = match feature {
                Feature::EnlightenedVmcs | Feature::CombinedVirtualizationExceptions => assist_page,
                Feature::EnlightenedMsrBitmap | Feature::PerfGlobalCtrl => evmcs,
                Feature::DirectVirtualFlush => &[Feature::EnlightenedVmcs, Feature::HypercallPage],
                Feature::GuestMappingFlush => &[Feature::HypercallPage],
                Feature::RemoteFlushHypercalls | Feature::ClusterIpi | Feature::VpSets => hypercalls_by_index,
                Feature::Reenlightenment => &[Feature::VpIndex, Feature::FrequencyMsrs],
                _ => &[],
            };
            assert_eq!(feature.needs(), needed, "{feature:?}");
        }
    }
}
