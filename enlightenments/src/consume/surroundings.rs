// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who is under us: nobody, some hypervisor, or one that has Hyper-V's interface.

use super::CpuidSource;
use core::fmt;
use core::ops::RangeInclusive;
use hyperv_bindings::cpuid::Features;
use hyperv_bindings::cpuid::HYPERVISOR_PRESENT;
use hyperv_bindings::cpuid::Interface;
use hyperv_bindings::cpuid::InterfaceSignature;
use hyperv_bindings::cpuid::NestedVirtualization;
use hyperv_bindings::cpuid::Recommendations;
use hyperv_bindings::cpuid::Vendor;
use hyperv_bindings::cpuid::VendorAndMaxLeaf;
use hyperv_bindings::cpuid::Version;

/// What the highest leaf of a hypervisor that has leaves can be.
const HYPERVISOR_LEAVES: RangeInclusive<u32> = 0x4000_0000..=0x4000_FFFF;

/// Where KVM's own leaves start: the second place is theirs where the first one is Hyper-V's.
const KVM_LEAVES: [u32; 2] = [0x4000_0000, 0x4000_0100];

/// What CPUID says of the machine under us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surroundings {
    /// No hypervisor shows itself: bare metal, or one that hides.
    NoHypervisor,
    /// A hypervisor is there.
    Hypervisor(Hypervisor),
}

/// A hypervisor that shows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hypervisor {
    /// The name that it gives itself, if it has leaves at all. For reports only.
    pub vendor: Option<Vendor>,
    /// The leaf at which KVM's own interface starts, where there is one. For reports only.
    pub kvm_leaf: Option<u32>,
    /// Hyper-V's interface, where its signature is there.
    pub hyperv: Option<HyperV>,
}

/// The leaves of Hyper-V's interface that we go by. Those beyond `max_leaf` were not read, and are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HyperV {
    /// The highest leaf that there is.
    pub max_leaf: u32,
    /// Leaf 0x40000002, for reports only.
    pub version: Version,
    /// Leaf 0x40000003.
    pub features: Features,
    /// Leaf 0x40000004.
    pub recommendations: Recommendations,
    /// Leaf 0x4000000A.
    pub nested: NestedVirtualization,
}

impl Surroundings {
    /// Asks CPUID. The leaves of a hypervisor are read only where one is present, and only up to its last one.
    #[must_use]
    pub fn discover(cpuid: &impl CpuidSource) -> Self {
        if cpuid.cpuid(1, 0).ecx & HYPERVISOR_PRESENT == 0 {
            return Self::NoHypervisor;
        }
        let VendorAndMaxLeaf { max_leaf, vendor } =
            VendorAndMaxLeaf::from_cpuid(cpuid.cpuid(VendorAndMaxLeaf::LEAF, 0));
        // One that hides its leaves answers as for any leaf that is not there: with the data of another.
        let has_leaves = HYPERVISOR_LEAVES.contains(&max_leaf);
        Self::Hypervisor(Hypervisor {
            vendor: has_leaves.then_some(vendor),
            kvm_leaf: kvm_leaf(cpuid),
            hyperv: HyperV::read(cpuid, max_leaf),
        })
    }

    /// Hyper-V's interface, whoever offers it.
    #[must_use]
    pub const fn hyperv(&self) -> Option<&HyperV> {
        match self {
            Self::Hypervisor(Hypervisor { hyperv: Some(hyperv), .. }) => Some(hyperv),
            Self::Hypervisor(_) | Self::NoHypervisor => None,
        }
    }
}

impl HyperV {
    /// `None` where the signature is not there. The vendor does not matter.
    fn read(cpuid: &impl CpuidSource, max_leaf: u32) -> Option<Self> {
        let leaf = |number| (number <= max_leaf).then(|| cpuid.cpuid(number, 0));
        if Interface::from_cpuid(leaf(Interface::LEAF)?).signature != InterfaceSignature::HV1 {
            return None;
        }
        Some(Self {
            max_leaf,
            version: leaf(Version::LEAF).map(Version::from_cpuid).unwrap_or_default(),
            features: leaf(Features::LEAF).map(Features::from_cpuid).unwrap_or_default(),
            recommendations: leaf(Recommendations::LEAF).map(Recommendations::from_cpuid).unwrap_or_default(),
            nested: leaf(NestedVirtualization::LEAF)
                .map(NestedVirtualization::from_cpuid)
                .unwrap_or_default(),
        })
    }
}

fn kvm_leaf(cpuid: &impl CpuidSource) -> Option<u32> {
    KVM_LEAVES
        .into_iter()
        .find(|leaf| VendorAndMaxLeaf::from_cpuid(cpuid.cpuid(*leaf, 0)).vendor == Vendor::KVM)
}

impl fmt::Display for Surroundings {
    /// One line for the boot report.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHypervisor => f.write_str("no hypervisor (CPUID.1:ECX[31] is clear)"),
            Self::Hypervisor(hypervisor) => hypervisor.fmt(f),
        }
    }
}

impl fmt::Display for Hypervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vendor {
            Some(vendor) => write!(f, "hypervisor \"{vendor}\", ")?,
            None => f.write_str("hypervisor without a name, ")?,
        }
        match &self.hyperv {
            Some(hyperv) => write!(f, "interface {hyperv}")?,
            None => f.write_str("without the interface Hv#1")?,
        }
        if let Some(leaf) = self.kvm_leaf {
            write!(f, ", KVM's leaves at {leaf:#x}")?;
        }
        Ok(())
    }
}

impl fmt::Display for HyperV {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Version { major, minor, build, service_pack, service } = self.version;
        let (branch, number) = (service.branch(), service.number());
        write!(f, "Hv#1 version {major}.{minor}.{build}-{service_pack}-{branch}-{number}")?;
        if self.recommendations.behaviour.hypervisor_is_nested() {
            f.write_str(" (nested itself)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::ModelCpuid;
    use super::HyperV;
    use super::Surroundings;
    use proptest::prelude::*;

    /// QEMU with `kvm=off` and no `hv-*`: leaf 0x40000000 has the data of the highest basic leaf.
    #[test]
    fn one_that_hides_its_leaves_has_no_name() {
        let hidden = ModelCpuid::hyperv_intel().with_max_leaf(7).with_vendor(b"@\x02\0\0@\x03\0\0\0\0\0\0");
        let said = Surroundings::discover(&hidden).to_string();
        assert_eq!(said, "hypervisor without a name, without the interface Hv#1");
    }

    #[test]
    fn nobody_is_asked_where_no_hypervisor_is_present() {
        let cpuid = ModelCpuid::bare_metal();
        assert_eq!(Surroundings::discover(&cpuid), Surroundings::NoHypervisor);
        assert_eq!(cpuid.asked(), [1]);
    }

    #[test]
    fn each_machine_is_told_apart() {
        let lines = [
            (ModelCpuid::bare_metal(), "no hypervisor (CPUID.1:ECX[31] is clear)"),
            (
                ModelCpuid::kvm(),
                "hypervisor \"KVMKVMKVM\", without the interface Hv#1, KVM's leaves at 0x40000000",
            ),
            (
                ModelCpuid::kvm_with_hyperv(),
                "hypervisor \"Microsoft Hv\", interface Hv#1 version 10.0.14393-0-0-0, KVM's leaves at 0x40000100",
            ),
            (
                ModelCpuid::hyperv_intel(),
                "hypervisor \"Microsoft Hv\", interface Hv#1 version 10.0.22621-3-0-3447",
            ),
        ];
        for (cpuid, line) in lines {
            assert_eq!(Surroundings::discover(&cpuid).to_string(), line);
        }
    }

    #[test]
    fn signature_decides_and_the_vendor_does_not() {
        let strange_vendor = ModelCpuid::hyperv_intel().with_vendor(b"XenVMMXenVMM");
        assert_eq!(
            Surroundings::discover(&strange_vendor).hyperv(),
            Surroundings::discover(&ModelCpuid::hyperv_intel()).hyperv()
        );
        let microsoft_without_signature = ModelCpuid::hyperv_intel().with_leaf(0x4000_0001, [0; 4]);
        assert_eq!(Surroundings::discover(&microsoft_without_signature).hyperv(), None);
    }

    #[test]
    fn no_leaf_beyond_the_last_is_read() {
        for max_leaf in 0x4000_0000..=0x4000_000B {
            let cpuid = ModelCpuid::hyperv_intel().with_max_leaf(max_leaf);
            let surroundings = Surroundings::discover(&cpuid);
            // KVM's own leaves are looked for beyond, by a signature that nothing else has.
            assert!(cpuid.asked().iter().all(|leaf| *leaf <= max_leaf || *leaf == 0x4000_0100));
            assert_eq!(surroundings.hyperv().is_some(), max_leaf >= 0x4000_0001);
            let read = surroundings.hyperv().copied().unwrap_or_default();
            assert_eq!(read.features != Default::default(), max_leaf >= 0x4000_0003);
            assert_eq!(read.recommendations != Default::default(), max_leaf >= 0x4000_0004);
            assert_eq!(read.nested != Default::default(), max_leaf >= 0x4000_000A);
        }
    }

    #[test]
    fn nested_hypervisor_is_reported() {
        let mut hyperv = HyperV::default();
        hyperv.recommendations.behaviour.set_hypervisor_is_nested(true);
        assert!(hyperv.to_string().ends_with("(nested itself)"));
    }

    proptest! {
        #[test]
        fn any_answers_can_be_read_and_printed(answers: [[u32; 4]; 7], max_leaf in 0x4000_0000..0x4000_0010_u32) {
            let leaves = [1, 0x4000_0000, 0x4000_0002, 0x4000_0003, 0x4000_0004, 0x4000_000A, 0x4000_0100];
            let cpuid = leaves.into_iter().zip(answers).fold(ModelCpuid::hyperv_intel(), |cpuid, (leaf, registers)| {
                cpuid.with_leaf(leaf, registers)
            });
            let line = Surroundings::discover(&cpuid.with_max_leaf(max_leaf)).to_string();
            prop_assert!(line.bytes().all(|byte| (0x20..0x7F).contains(&byte)));
        }
    }
}
