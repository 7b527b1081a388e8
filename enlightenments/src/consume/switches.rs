// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which features the operator has switched off, each by a name on the command line.

use super::Feature;

/// The features that are not to be used although L0 offers them, so that each can be measured and blamed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// A bit per feature, by its place in the enum.
    off: u32,
}

const _: () = assert!(Feature::COUNT < 32);

impl Switches {
    /// Whatever L0 offers may be used.
    pub const NONE_OFF: Self = Self { off: 0 };

    /// Nothing may be used.
    pub const ALL_OFF: Self = Self { off: (1 << Feature::COUNT) - 1 };

    /// Reads the value of `enlightenments=`: words between commas, of which `-NAME` switches one feature off and `none` all.
    /// Words that mean nothing are handed to `unknown` and otherwise ignored.
    #[must_use]
    pub fn parse(value: &str, mut unknown: impl FnMut(&str)) -> Self {
        let mut switches = Self::NONE_OFF;
        for word in value.split(',').filter(|word| !word.is_empty()) {
            match Self::meant_by(word) {
                Some(meant) => switches.off |= meant.off,
                None => unknown(word),
            }
        }
        switches
    }

    /// Whether a feature is switched off.
    #[must_use]
    pub const fn is_off(self, feature: Feature) -> bool {
        self.off & 1 << feature as u32 != 0
    }

    fn meant_by(word: &str) -> Option<Self> {
        if word == "none" {
            return Some(Self::ALL_OFF);
        }
        let name = word.strip_prefix('-')?;
        let feature = Feature::all().find(|feature| feature.switch() == name)?;
        Some(Self { off: 1 << feature as u32 })
    }
}

impl Feature {
    /// The name that switches it off on the command line, after a minus sign.
    #[must_use]
    pub const fn switch(self) -> &'static str {
        match self {
            Self::EnlightenedVmcs => "evmcs",
            Self::EnlightenedMsrBitmap => "msr-bitmap",
            Self::DirectVirtualFlush => "direct-flush",
            Self::GuestMappingFlush => "gpa-flush",
            Self::CombinedVirtualizationExceptions => "virtualization-exceptions",
            Self::GuestDebugctl => "debugctl",
            Self::PerfGlobalCtrl => "perf-global-ctrl",
            Self::HypercallPage => "hypercall",
            Self::VpIndex => "vp-index",
            Self::VpAssistPage => "assist-page",
            Self::RemoteFlushHypercalls => "remote-flush",
            Self::ClusterIpi => "cluster-ipi",
            Self::VpSets => "vp-sets",
            Self::SynIc => "synic",
            Self::SyntheticTimers => "synthetic-timers",
            Self::ReferenceCounter => "reference-counter",
            Self::ReferenceTsc => "reference-tsc",
            Self::FrequencyMsrs => "frequencies",
            Self::Reenlightenment => "reenlightenment",
            Self::TscInvariant => "invariant-tsc",
            Self::CrashMsrs => "crash",
            Self::RelaxedTiming => "relaxed-timing",
            Self::X2Apic => "x2apic",
            Self::NoCoreSharing => "no-core-sharing",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn off(value: &str) -> (Vec<Feature>, Vec<String>) {
        let mut unknown = Vec::new();
        let switches = Switches::parse(value, |word| unknown.push(word.to_string()));
        (Feature::all().filter(|feature| switches.is_off(*feature)).collect(), unknown)
    }

    #[test]
    fn names_switch_their_features_off() {
        assert_eq!(off("-evmcs"), (vec![Feature::EnlightenedVmcs], vec![]));
        assert_eq!(off("-gpa-flush,-evmcs").0, [Feature::EnlightenedVmcs, Feature::GuestMappingFlush]);
        for feature in Feature::all() {
            assert_eq!(off(&format!("-{}", feature.switch())).0, [feature]);
        }
    }

    #[test]
    fn none_is_all_of_them_and_nothing_is_none_of_them() {
        assert!(off("none").0.into_iter().eq(Feature::all()));
        assert_eq!(off(""), (vec![], vec![]));
        assert_eq!(off(",,"), (vec![], vec![]));
    }

    #[test]
    fn unknown_words_are_handed_on_and_the_others_count() {
        let (features, unknown) = off("evmcs,-vmcs,-crash,--evmcs,-,-none,EVMCS");
        assert_eq!(features, [Feature::CrashMsrs]);
        assert_eq!(unknown, ["evmcs", "-vmcs", "--evmcs", "-", "-none", "EVMCS"]);
    }

    #[test]
    fn names_are_the_published_ones_and_can_be_told_apart() {
        let documented = [
            (Feature::EnlightenedMsrBitmap, "msr-bitmap"),
            (Feature::DirectVirtualFlush, "direct-flush"),
            (Feature::HypercallPage, "hypercall"),
            (Feature::VpIndex, "vp-index"),
            (Feature::VpAssistPage, "assist-page"),
            (Feature::ReferenceTsc, "reference-tsc"),
            (Feature::ReferenceCounter, "reference-counter"),
            (Feature::FrequencyMsrs, "frequencies"),
            (Feature::Reenlightenment, "reenlightenment"),
            (Feature::TscInvariant, "invariant-tsc"),
            (Feature::CrashMsrs, "crash"),
        ];
        assert!(documented.iter().all(|(feature, name)| feature.switch() == *name));
        let names: std::collections::BTreeSet<&str> = Feature::all().map(Feature::switch).collect();
        assert_eq!(names.len(), Feature::COUNT);
    }

    proptest! {
        #[test]
        fn any_value_can_be_read(value in "(-?[a-z0-9-]{0,12},?){0,9}|.{0,40}") {
            let (_, unknown) = off(&value);
            prop_assert!(unknown.iter().all(|word| value.contains(word.as_str())));
        }
    }
}
