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
