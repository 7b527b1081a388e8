// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the CPU's VMX offers, and whether that is enough; each lack in one line that says what to do about it.

use crate::cpu::hardware::MsrIo;
use core::arch::x86_64::CpuidResult;
use core::fmt;

/// IA32_FEATURE_CONTROL (SDM vol. 3, "Enabling and Entering VMX Operation").
pub const IA32_FEATURE_CONTROL: u32 = 0x3a;
/// IA32_VMX_BASIC (SDM vol. 3, A.1).
pub const IA32_VMX_BASIC: u32 = 0x480;
/// IA32_VMX_CR0_FIXED0 and the three after it (SDM vol. 3, A.7 and A.8).
pub const IA32_VMX_CR0_FIXED0: u32 = 0x486;
/// IA32_VMX_EPT_VPID_CAP (SDM vol. 3, A.10).
pub const IA32_VMX_EPT_VPID_CAP: u32 = 0x48c;
const IA32_VMX_CR4_FIXED1: u32 = 0x489;
const IA32_VMX_PROCBASED_CTLS: u32 = 0x482;
const IA32_VMX_PROCBASED_CTLS2: u32 = 0x48b;

/// Lock bit of IA32_FEATURE_CONTROL: until reset nobody changes it.
pub const LOCKED: u64 = 1 << 0;
/// VMXON outside of SMX is allowed.
pub const VMX_ENABLED: u64 = 1 << 2;

/// Why Satori cannot run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// CPUID.1:ECX.VMX is clear.
    NoVmx {
        /// Whether somebody below us says that it is a hypervisor.
        nested: bool,
    },
    /// Firmware has locked IA32_FEATURE_CONTROL with VMX off.
    LockedOff,
    /// CPUID.1:ECX.XSAVE is clear.
    NoXsave,
    /// No extended page tables.
    NoEpt,
    /// EPT without a form that we need.
    EptLacks(&'static str),
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVmx { nested: true } => write!(
                f,
                "no VMX: the hypervisor below offers no nested virtualization. On Azure take security type Standard and a \
                 size with nested virtualization; on Hyper-V Set-VMProcessor -ExposeVirtualizationExtensions $true; under \
                 QEMU `-cpu host,+vmx` and kvm_intel nested=1"
            ),
            Self::NoVmx { nested: false } => {
                write!(f, "no VMX: this CPU has none, or it is not an Intel CPU")
            }
            Self::LockedOff => write!(
                f,
                "VMX is locked off in IA32_FEATURE_CONTROL: turn on virtualization (VT-x) in the firmware's set-up; under \
                 QEMU `-cpu host,+vmx`"
            ),
            Self::NoXsave => write!(f, "no XSAVE: use a newer CPU model; under QEMU `-cpu host,+vmx`"),
            Self::NoEpt => write!(
                f,
                "VMX without extended page tables (EPT): use a newer CPU, or under QEMU `-cpu host,+vmx,+vmx-ept` and \
                 kvm_intel ept=1"
            ),
            Self::EptLacks(what) => {
                write!(f, "EPT without {what}: use a newer CPU, or let the hypervisor below offer it")
            }
        }
    }
}

/// IA32_VMX_EPT_VPID_CAP, as far as it concerns us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EptCapabilities(u64);

impl EptCapabilities {
    /// Whether a table entry may map 1 GiB.
    #[must_use]
    pub fn pages_1g(self) -> bool {
        self.0 >> 17 & 1 != 0
    }

    /// Whether the CPU sets accessed and dirty bits.
    #[must_use]
    pub fn accessed_dirty(self) -> bool {
        self.0 >> 21 & 1 != 0
    }

    /// Whether INVVPID of a single context is there.
    #[must_use]
    pub fn invvpid_single(self) -> bool {
        self.0 >> 32 & 1 != 0 && self.0 >> 41 & 1 != 0
    }

    /// What every hypervisor of today relies on: four levels, write-back, 2 MiB pages, INVEPT in both extents.
    fn missing(self) -> Option<&'static str> {
        [
            (6, "a page walk of four levels"),
            (14, "write-back memory"),
            (16, "2 MiB pages"),
            (20, "INVEPT"),
            (25, "single-context INVEPT"),
            (26, "all-context INVEPT"),
        ]
        .into_iter()
        .find_map(|(bit, what)| (self.0 >> bit & 1 == 0).then_some(what))
    }
}

/// What was found, all of it enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The identifier that each VMCS begins with.
    pub revision: u32,
    /// Forms of EPT and VPID.
    pub ept: EptCapabilities,
    /// CR4 bits that may be 1 in VMX operation, and so in a guest.
    pub cr4_has: u64,
    /// Whether IA32_FEATURE_CONTROL is still to be set and locked by us.
    pub unlocked: bool,
}

impl Capabilities {
    /// Looks, in the order in which one thing needs the other.
    pub fn read(cpuid: impl Fn(u32) -> CpuidResult, msrs: &impl MsrIo) -> Result<Self, Unsupported> {
        const VMX: u32 = 1 << 5;
        const XSAVE: u32 = 1 << 26;
        const HYPERVISOR: u32 = 1 << 31;
        let features = cpuid(1).ecx;
        if features & VMX == 0 {
            return Err(Unsupported::NoVmx { nested: features & HYPERVISOR != 0 });
        }
        let feature_control = msrs.read(IA32_FEATURE_CONTROL);
        if feature_control & LOCKED != 0 && feature_control & VMX_ENABLED == 0 {
            return Err(Unsupported::LockedOff);
        }
        if features & XSAVE == 0 {
            return Err(Unsupported::NoXsave);
        }
        // The upper half of a capability MSR says which controls may be 1: secondary ones, and among them EPT.
        let may_be_set = |msr, bit: u32| msrs.read(msr) >> 32 >> bit & 1 != 0;
        if !may_be_set(IA32_VMX_PROCBASED_CTLS, 31) || !may_be_set(IA32_VMX_PROCBASED_CTLS2, 1) {
            return Err(Unsupported::NoEpt);
        }
        let ept = EptCapabilities(msrs.read(IA32_VMX_EPT_VPID_CAP));
        if let Some(what) = ept.missing() {
            return Err(Unsupported::EptLacks(what));
        }
        let revision = msrs.read(IA32_VMX_BASIC) as u32 & 0x7fff_ffff;
        let cr4_has = msrs.read(IA32_VMX_CR4_FIXED1);
        Ok(Self { revision, ept, cr4_has, unlocked: feature_control & LOCKED == 0 })
    }

    /// Whether a VMCS that runs on one of two CPUs runs on the other as well, as far as this goes.
    #[must_use]
    pub fn alike(self, other: Self) -> bool {
        Self { unlocked: other.unlocked, ..self } == other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A CPU's MSRs; those not named are not there, and reading one fails the test.
    struct Model(BTreeMap<u32, u64>);

    impl MsrIo for Model {
        fn read(&self, msr: u32) -> u64 {
            *self.0.get(&msr).unwrap_or_else(|| panic!("MSR {msr:#x} is not there"))
        }
        #[expect(unsafe_code, reason = "the trait's")]
        unsafe fn write(&self, _msr: u32, _value: u64) {
            unreachable!("looking changes nothing")
        }
    }

    fn haswell() -> Model {
        Model(BTreeMap::from([
            (IA32_FEATURE_CONTROL, LOCKED | VMX_ENABLED),
            (IA32_VMX_BASIC, 0xda_0400_0000_002b),
            (IA32_VMX_PROCBASED_CTLS, 0xfff9_fffe_0401_e172),
            (IA32_VMX_PROCBASED_CTLS2, 0x7fff << 32),
            (IA32_VMX_EPT_VPID_CAP, 0xf01_0633_4141),
            (IA32_VMX_CR4_FIXED1, 0x37_27ff),
        ]))
    }

    fn cpuid(ecx: u32) -> impl Fn(u32) -> CpuidResult {
        move |_| CpuidResult { eax: 0, ebx: 0, ecx, edx: 0 }
    }

    fn read(msrs: &Model) -> Result<Capabilities, Unsupported> {
        Capabilities::read(cpuid(1 << 5 | 1 << 26), msrs)
    }

    #[test]
    fn a_usual_cpu_is_enough() {
        let found = read(&haswell()).unwrap();
        assert_eq!(found.revision, 0x2b);
        assert!(
            found.ept.pages_1g()
                && found.ept.accessed_dirty()
                && found.ept.invvpid_single()
                && !found.unlocked
        );
    }

    #[test]
    fn without_vmx_no_msr_is_read_and_the_line_depends_on_who_is_below() {
        let nothing = Model(BTreeMap::new());
        assert_eq!(Capabilities::read(cpuid(0), &nothing), Err(Unsupported::NoVmx { nested: false }));
        let nested = Capabilities::read(cpuid(1 << 31), &nothing).unwrap_err();
        assert!(nested.to_string().contains("security type Standard"));
    }

    #[test]
    fn without_xsave_there_is_a_line_and_no_panic() {
        assert_eq!(Capabilities::read(cpuid(1 << 5), &haswell()), Err(Unsupported::NoXsave));
    }

    #[test]
    fn locked_off_unlocked_and_no_ept_are_told_apart() {
        let mut msrs = haswell();
        msrs.0.insert(IA32_FEATURE_CONTROL, LOCKED);
        assert_eq!(read(&msrs), Err(Unsupported::LockedOff));
        msrs.0.insert(IA32_FEATURE_CONTROL, 0);
        assert!(read(&msrs).unwrap().unlocked);
        msrs.0.insert(IA32_VMX_PROCBASED_CTLS2, 0);
        assert_eq!(read(&msrs), Err(Unsupported::NoEpt));
        msrs.0.insert(IA32_VMX_PROCBASED_CTLS, 0);
        assert_eq!(read(&msrs), Err(Unsupported::NoEpt));
    }

    #[test]
    fn each_form_of_ept_that_is_needed_is_asked_for() {
        for bit in [6, 14, 16, 20, 25, 26] {
            let mut msrs = haswell();
            *msrs.0.get_mut(&IA32_VMX_EPT_VPID_CAP).unwrap() &= !(1 << bit);
            assert!(matches!(read(&msrs), Err(Unsupported::EptLacks(_))), "bit {bit}");
        }
    }
}
