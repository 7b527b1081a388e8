// SPDX-License-Identifier: MIT OR Apache-2.0
//! The view of what is offered, what is in use, and why not, feature by feature.

use super::Capability;
use super::Feature;
use super::HyperV;
use super::Obstacle;
use super::Surroundings;
use super::Switches;
use super::WhyNot;
use core::fmt;

/// What we know of each [`Feature`]. Its `Display` is a table with one row per feature.
///
/// Whoever makes use of a feature asks [`may_use`](Self::may_use) first and [settles](Self::settle) afterwards how it went; what nobody
/// settled is not in use.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    hyperv: Option<HyperV>,
    switches: Switches,
    attempts: [Attempt; Feature::COUNT],
}

/// How it went to use a feature.
#[derive(Clone, Copy, Debug)]
enum Attempt {
    None,
    Succeeded,
    Failed { cpu: Option<u32>, obstacle: Obstacle },
}

impl Capabilities {
    /// Decides from what was discovered, and what the operator wants.
    #[must_use]
    pub fn of(surroundings: &Surroundings, switches: Switches) -> Self {
        Self { hyperv: surroundings.hyperv().copied(), switches, attempts: [Attempt::None; Feature::COUNT] }
    }

    /// What is known of one feature.
    #[must_use]
    pub fn get(&self, feature: Feature) -> Capability {
        let why_not = self.obstacle(feature).or(match self.attempts[feature as usize] {
            Attempt::Succeeded => None,
            _ if is_known(feature) => Some(WhyNot::NotTried),
            _ => Some(WhyNot::NotUsedByThisVersion),
        });
        Capability { feature, why_not }
    }

    /// Whether it makes sense to try: L0 offers it, this version knows how to use it, and nothing that is known so far keeps us from it
    /// or from what it needs.
    #[must_use]
    pub fn may_use(&self, feature: Feature) -> bool {
        is_known(feature) && self.obstacle(feature).is_none()
    }

    /// Whether we use it.
    #[must_use]
    pub fn is_in_use(&self, feature: Feature) -> bool {
        self.get(feature).is_in_use()
    }

    /// Whether this machine runs on enlightened VMCSs: L0 recommends them, in our version, and every CPU has its assist page, which has
    /// to be [settled](Self::settle_on_every_cpu) before. One CPU without it, and there are none at all.
    #[must_use]
    pub fn calls_for_enlightened_vmcs(&self) -> bool {
        self.may_use(Feature::EnlightenedVmcs) && self.is_in_use(Feature::VpAssistPage)
    }

    /// Says how it went: the feature is in use, or not and why.
    ///
    /// The first obstacle is the one that counts: what may not be used, be it for a failure before, stays as it is. What is in use may
    /// still fail later.
    pub fn settle(&mut self, feature: Feature, outcome: Result<(), Obstacle>) {
        self.note(
            feature,
            match outcome {
                Ok(()) => Attempt::Succeeded,
                Err(obstacle) => Attempt::Failed { cpu: None, obstacle },
            },
        );
    }

    /// Says how it went with something that every CPU has to have: the number of each, and its outcome. Without CPUs nothing is settled.
    pub fn settle_on_every_cpu(
        &mut self,
        feature: Feature,
        outcomes: impl IntoIterator<Item = (u32, Result<(), Obstacle>)>,
    ) {
        let mut attempt = Attempt::None;
        for (cpu, outcome) in outcomes {
            attempt = Attempt::Succeeded;
            if let Err(obstacle) = outcome {
                attempt = Attempt::Failed { cpu: Some(cpu), obstacle };
                break;
            }
        }
        self.note(feature, attempt);
    }

    fn note(&mut self, feature: Feature, attempt: Attempt) {
        if self.may_use(feature) {
            self.attempts[feature as usize] = attempt;
        }
    }

    /// What keeps us from using a feature, whether we know how to or not.
    fn obstacle(&self, feature: Feature) -> Option<WhyNot> {
        if let Some(missing) = feature.missing(self.hyperv.as_ref()) {
            return Some(WhyNot::NotOffered(missing));
        }
        if self.switches.is_off(feature) {
            return Some(WhyNot::SwitchedOff);
        }
        if let Attempt::Failed { cpu, obstacle } = self.attempts[feature as usize] {
            return Some(WhyNot::Refused { cpu, obstacle });
        }
        let unmet = feature.needs().iter().find(|needed| self.obstacle(**needed).is_some());
        unmet.map(|needed| WhyNot::Needs(*needed))
    }
}

/// Whether this version knows how to use it.
const fn is_known(feature: Feature) -> bool {
    matches!(
        feature,
        Feature::EnlightenedVmcs
            | Feature::EnlightenedMsrBitmap
            | Feature::DirectVirtualFlush
            | Feature::GuestMappingFlush
            | Feature::HypercallPage
            | Feature::VpIndex
            | Feature::VpAssistPage
            | Feature::ReferenceTsc
            | Feature::ReferenceCounter
            | Feature::FrequencyMsrs
            | Feature::Reenlightenment
            | Feature::TscInvariant
            | Feature::CrashMsrs
    )
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<36} {:<8} {:<7} why not", "feature", "offered", "in use")?;
        Feature::all().try_for_each(|feature| write!(f, "\n{}", self.get(feature)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::ModelCpuid;
    use super::*;
    use hyperv_bindings::hypercall::Status;
    use proptest::prelude::*;

    fn capabilities(cpuid: &ModelCpuid) -> Capabilities {
        Capabilities::of(&Surroundings::discover(cpuid), Switches::NONE_OFF)
    }

    fn offered(cpuid: &ModelCpuid) -> Vec<Feature> {
        Feature::all().filter(|feature| capabilities(cpuid).get(*feature).is_offered()).collect()
    }

    fn why_not(cpuid: &ModelCpuid, feature: Feature) -> String {
        capabilities(cpuid).get(feature).why_not.unwrap().to_string()
    }

    fn everything_but(features: &[Feature]) -> Vec<Feature> {
        Feature::all().filter(|feature| !features.contains(feature)).collect()
    }

    /// Whether one is of no use without the other, directly or not.
    fn needs(feature: Feature, other: Feature) -> bool {
        feature.needs().iter().any(|needed| *needed == other || needs(*needed, other))
    }

    #[test]
    fn nothing_is_offered_without_the_interface() {
        for cpuid in [ModelCpuid::bare_metal(), ModelCpuid::kvm()] {
            assert_eq!(offered(&cpuid), []);
            assert_eq!(why_not(&cpuid, Feature::HypercallPage), "not offered: no Hv#1 interface");
        }
    }

    #[test]
    fn kvm_offers_no_guest_mapping_flush() {
        let lacking = [
            Feature::GuestMappingFlush,
            Feature::CombinedVirtualizationExceptions,
            Feature::GuestDebugctl,
            Feature::X2Apic,
            Feature::NoCoreSharing,
        ];
        assert_eq!(offered(&ModelCpuid::kvm_with_hyperv()), everything_but(&lacking));
    }

    #[test]
    fn hyperv_on_intel_offers_all_but_what_its_log_has_not() {
        let lacking = [Feature::PerfGlobalCtrl, Feature::NoCoreSharing];
        assert_eq!(offered(&ModelCpuid::hyperv_intel()), everything_but(&lacking));
        assert_eq!(offered(&ModelCpuid::everything()), everything_but(&[]));
    }

    #[test]
    fn hyperv_on_amd_offers_no_enlightened_vmcs() {
        let cpuid = ModelCpuid::hyperv_amd();
        assert_eq!(why_not(&cpuid, Feature::EnlightenedVmcs), "not offered: 0x40000004.EAX[14] is clear");
        assert_eq!(why_not(&cpuid, Feature::EnlightenedMsrBitmap), "needs enlightened VMCS");
        assert_eq!(why_not(&cpuid, Feature::GuestMappingFlush), "not offered: 0x4000000A.EAX[18] is clear");
    }

    #[test]
    fn no_nested_feature_is_offered_where_leaf_a_is_empty() {
        let offered = offered(&ModelCpuid::hyperv_without_nesting());
        assert!(offered.contains(&Feature::VpAssistPage));
        assert!(!offered.contains(&Feature::EnlightenedVmcs));
        assert!(offered.iter().all(|feature| feature.bits().iter().all(|bit| bit.leaf != 0x4000_000A)));
    }

    #[test]
    fn no_nested_feature_is_offered_where_leaf_a_is_missing() {
        let cpuid = ModelCpuid::everything().with_max_leaf(0x4000_0009);
        for feature in Feature::all() {
            let from_leaf_a = feature == Feature::EnlightenedVmcs || feature.bits()[0].leaf == 0x4000_000A;
            assert_eq!(capabilities(&cpuid).get(feature).is_offered(), !from_leaf_a, "{feature:?}");
            if from_leaf_a {
                assert_eq!(why_not(&cpuid, feature), "not offered: leaf 0x4000000A is missing");
            }
        }
    }

    #[test]
    fn evmcs_is_offered_where_its_versions_include_1() {
        let with_versions = |versions: u32| {
            ModelCpuid::everything().with_leaf(0x4000_000A, [0x003E_0000 | versions, 1, 0, 0])
        };
        for versions in [0x0101, 0x0201, 0xFF01, 0x0200] {
            assert_eq!(why_not(&with_versions(versions), Feature::EnlightenedVmcs), "not tried");
        }
        for (versions, reason) in [
            (0x0302, "not offered: versions 2 to 3, not 1"),
            (0x0202, "not offered: versions 2 to 2, not 1"),
            (0x0102, "not offered: versions 2 to 1, not 1"),
            (0x0000, "not offered: versions 0 to 0, not 1"),
        ] {
            assert_eq!(why_not(&with_versions(versions), Feature::EnlightenedVmcs), reason);
        }
    }

    #[test]
    fn hint_and_version_of_evmcs_are_both_needed() {
        let no_hint = ModelCpuid::everything().with_leaf(0x4000_0004, [0x000E_0E24, 0xFFF, 46, 0]);
        assert_eq!(why_not(&no_hint, Feature::EnlightenedVmcs), "not offered: 0x40000004.EAX[14] is clear");
        assert_eq!(offered(&no_hint), everything_but(&[Feature::EnlightenedVmcs]));
    }

    #[test]
    fn clearing_a_bit_takes_the_features_that_name_it_and_no_other() {
        for bit in Feature::all().flat_map(Feature::bits) {
            let cpuid = ModelCpuid::everything().without(bit);
            let named_by =
                |feature: &Feature| feature.bits().iter().any(|named| named.to_string() == bit.to_string());
            let lost: Vec<Feature> = Feature::all().filter(named_by).collect();
            assert_eq!(offered(&cpuid), everything_but(&lost));
            for feature in lost {
                assert_eq!(why_not(&cpuid, feature), format!("not offered: {bit} is clear"));
            }
        }
    }

    #[test]
    fn what_needs_a_lost_feature_says_so() {
        for lost in Feature::all() {
            let cpuid = ModelCpuid::everything().without(&lost.bits()[0]);
            for feature in Feature::all().filter(|feature| *feature != lost) {
                let needs_it = matches!(capabilities(&cpuid).get(feature).why_not, Some(WhyNot::Needs(_)));
                assert_eq!(needs_it, needs(feature, lost), "{feature:?} without {lost:?}");
            }
        }
    }

    #[test]
    fn nothing_is_in_use_that_was_not_settled() {
        let capabilities = capabilities(&ModelCpuid::everything());
        for feature in Feature::all() {
            assert!(!capabilities.is_in_use(feature));
            let expected =
                if capabilities.may_use(feature) { "not tried" } else { "not used by this version" };
            assert_eq!(capabilities.get(feature).why_not.unwrap().to_string(), expected);
        }
    }

    #[test]
    fn what_this_version_knows_needs_nothing_that_it_does_not() {
        let known = Feature::all().filter(|feature| is_known(*feature));
        assert!(known.flat_map(Feature::needs).all(|needed| is_known(*needed)));
    }

    #[test]
    fn in_use_is_what_was_settled_and_only_while_what_it_needs_is_not_refused() {
        let mut capabilities = capabilities(&ModelCpuid::everything());
        capabilities.settle(Feature::HypercallPage, Ok(()));
        capabilities.settle(Feature::GuestMappingFlush, Ok(()));
        assert!(capabilities.is_in_use(Feature::GuestMappingFlush));
        capabilities.settle(Feature::HypercallPage, Err(Obstacle::Other("gone")));
        assert!(!capabilities.is_in_use(Feature::GuestMappingFlush));
        let row = capabilities.get(Feature::GuestMappingFlush).why_not.unwrap().to_string();
        assert_eq!(row, "needs hypercall page");
    }

    #[test]
    fn first_obstacle_is_the_one_that_counts() {
        let mut capabilities = capabilities(&ModelCpuid::everything());
        capabilities.settle(Feature::CrashMsrs, Err(Obstacle::Call(Status::INVALID_PARAMETER)));
        capabilities.settle(Feature::CrashMsrs, Err(Obstacle::NotTried));
        capabilities.settle(Feature::CrashMsrs, Ok(()));
        let row = capabilities.get(Feature::CrashMsrs).to_string();
        assert!(
            row.ends_with(" yes      no      refused: the call ends with invalid parameter (0x5)"),
            "{row}"
        );
    }

    #[test]
    fn what_may_not_be_used_cannot_be_settled() {
        let surroundings = Surroundings::discover(&ModelCpuid::kvm_with_hyperv());
        let mut capabilities = Capabilities::of(&surroundings, Switches::parse("-crash", |_| {}));
        for feature in [Feature::CrashMsrs, Feature::GuestMappingFlush, Feature::SynIc] {
            let row = capabilities.get(feature).to_string();
            for outcome in [Ok(()), Err(Obstacle::NotTried)] {
                capabilities.settle(feature, outcome);
                assert_eq!(capabilities.get(feature).to_string(), row);
            }
        }
    }

    #[test]
    fn one_cpu_without_it_is_enough() {
        let refused = Err(Obstacle::Other("no"));
        let why_not = |outcomes: &[(u32, Result<(), Obstacle>)]| {
            let mut capabilities = capabilities(&ModelCpuid::everything());
            capabilities.settle_on_every_cpu(Feature::VpAssistPage, outcomes.iter().copied());
            let enlightened = capabilities.calls_for_enlightened_vmcs();
            assert_eq!(enlightened, capabilities.is_in_use(Feature::VpAssistPage));
            capabilities.get(Feature::VpAssistPage).why_not.map(|why_not| why_not.to_string())
        };
        assert_eq!(why_not(&[(0, Ok(())), (1, Ok(()))]), None);
        let row = Some("refused on CPU 1: no".into());
        assert_eq!(why_not(&[(0, Ok(())), (1, refused), (2, Ok(()))]), row);
        assert_eq!(why_not(&[(0, Ok(())), (1, refused), (2, refused)]), row);
        assert_eq!(why_not(&[]), Some("not tried".into()));
    }

    #[test]
    fn table_has_a_row_per_feature_in_columns() {
        let table = capabilities(&ModelCpuid::kvm_with_hyperv()).to_string();
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(rows.len(), 1 + Feature::all().count());
        assert_eq!(rows[0], "feature                              offered  in use  why not");
        assert_eq!(rows[1], "enlightened VMCS                     yes      no      not tried");
        assert_eq!(
            rows[4],
            "guest-mapping flush                  no       no      not offered: 0x4000000A.EAX[18] is clear"
        );
    }

    #[test]
    fn names_fit_their_column() {
        assert!(Feature::all().all(|feature| feature.name().len() <= 36));
    }

    proptest! {
        #[test]
        fn any_answers_end_in_a_whole_table(answers: [[u32; 4]; 3], max_leaf: u32) {
            let leaves = [0x4000_0003, 0x4000_0004, 0x4000_000A];
            let cpuid = leaves.into_iter().zip(answers).fold(ModelCpuid::everything(), |cpuid, (leaf, registers)| {
                cpuid.with_leaf(leaf, registers)
            });
            let table = capabilities(&cpuid.with_max_leaf(max_leaf)).to_string();
            prop_assert_eq!(table.lines().count(), 1 + Feature::all().count());
        }
    }
}
