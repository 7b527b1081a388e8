// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CPUID leaves by which a hypervisor says what it is and what it offers (TLFS, "Feature and Interface Discovery").
//!
//! Ask only where [`HYPERVISOR_PRESENT`] is set, and only for leaves up to [`VendorAndMaxLeaf::max_leaf`]: a CPU
//! answers a leaf that it does not know with the data of another one.

mod features;
mod limits;
mod nested;
mod recommendations;

pub use features::Features;
pub use features::MiscellaneousFeatures;
pub use features::PartitionPrivileges;
pub use features::PowerFeatures;
pub use limits::HardwareFeatures;
pub use limits::HardwareInUse;
pub use limits::ImplementationLimits;
pub use nested::NestedHypercallFeatures;
pub use nested::NestedHypervisorFeatures;
pub use nested::NestedMsrPrivileges;
pub use nested::NestedVirtualization;
pub use nested::NestedVirtualizationFeatures;
pub use nested::NestedVmcsFeatures;
pub use recommendations::PhysicalAddressWidth;
pub use recommendations::Recommendations;
pub use recommendations::RecommendedBehaviour;

use crate::layout::assert_layout;
use crate::open_set::open_set;
use bitfield_struct::bitfield;
use core::fmt;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// Leaf 1, ECX bit 31: some hypervisor is there, and leaves from 0x40000000 mean something.
pub const HYPERVISOR_PRESENT: u32 = 1 << 31;

/// Gives a leaf type its number, and the way to and from what the CPUID instruction returns.
macro_rules! cpuid_leaf {
    ($leaf:ident, $number:literal) => {
        impl $leaf {
            /// The number of the leaf, as in EAX before CPUID; its sub-leaf is 0.
            pub const LEAF: u32 = $number;

            /// Decodes what CPUID returned for this leaf.
            #[must_use]
            pub fn from_cpuid(registers: core::arch::x86_64::CpuidResult) -> Self {
                zerocopy::transmute!([registers.eax, registers.ebx, registers.ecx, registers.edx])
            }

            /// Encodes the leaf as CPUID is to return it.
            #[must_use]
            pub fn into_cpuid(self) -> core::arch::x86_64::CpuidResult {
                let [eax, ebx, ecx, edx]: [u32; 4] = zerocopy::transmute!(self);
                core::arch::x86_64::CpuidResult { eax, ebx, ecx, edx }
            }
        }
    };
}

use cpuid_leaf;

/// Leaf 0x40000000: who the hypervisor says it is, and how many leaves it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VendorAndMaxLeaf {
    /// The highest leaf that may be asked for.
    pub max_leaf: u32,
    /// The vendor's name; for reports only, never for decisions.
    pub vendor: Vendor,
}

assert_layout!(VendorAndMaxLeaf, 16, { max_leaf: 0, vendor: 4 });
cpuid_leaf!(VendorAndMaxLeaf, 0x4000_0000);

/// Twelve bytes of name, as EBX, ECX and EDX hold them, lowest byte first.
///
/// Hyper-V's name is also what other hypervisors give when they offer its interface, and some give another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Vendor(pub [u8; 12]);

impl Vendor {
    /// Hyper-V, and QEMU where it offers Hyper-V's interface.
    pub const MICROSOFT: Self = Self(*b"Microsoft Hv");
    /// KVM with Hyper-V's interface, where the VMM did not choose a name.
    pub const LINUX_KVM_HV: Self = Self(*b"Linux KVM Hv");
    /// KVM's own interface.
    pub const KVM: Self = Self(*b"KVMKVMKVM\0\0\0");
}

impl fmt::Display for Vendor {
    /// The name without what fills it up; what is not printable, escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.0.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        write!(f, "{}", self.0[..length].escape_ascii())
    }
}

/// The vendor-neutral signature that says what leaves 0x40000002 to 0x400000FF mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct InterfaceSignature(pub u32);

open_set! {
    InterfaceSignature(u32);
    /// "Hv#1": the interface that this crate describes. This, and nothing else, decides.
    HV1 = 0x3123_7648, "Hv#1";
}

/// Leaf 0x40000001: which interface the hypervisor conforms to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Interface {
    /// The signature; the leaves above this one are Hyper-V's where it is [`InterfaceSignature::HV1`].
    pub signature: InterfaceSignature,
    /// EBX to EDX, reserved.
    pub reserved: [u32; 3],
}

assert_layout!(Interface, 16, { signature: 0, reserved: 4 });
cpuid_leaf!(Interface, 0x4000_0001);

/// Leaf 0x40000002: the hypervisor's version. For reports only; what works is said by the leaves that follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Version {
    /// The build number.
    pub build: u32,
    /// Minor version, the lower half of EBX.
    pub minor: u16,
    /// Major version, the upper half of EBX.
    pub major: u16,
    /// The service pack.
    pub service_pack: u32,
    /// Branch and number of the servicing.
    pub service: ServiceVersion,
}

assert_layout!(Version, 16, { build: 0, minor: 4, major: 6, service_pack: 8, service: 12 });
cpuid_leaf!(Version, 0x4000_0002);

/// Leaf 0x40000002 EDX: what was changed since the main version.
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ServiceVersion {
    /// The service number.
    #[bits(24)]
    pub number: u32,
    /// The service branch.
    pub branch: u8,
}
