// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CPUID values that are worked out when a VM is created, from its profile and the host.

use super::CpuidResult;
use super::NOTHING;
use super::Profile;
use super::feature::advanced_power_edx;
use super::feature::xsave_eax;
use super::policy::FIRST_HYPERVISOR;
use super::policy::Given;
use super::policy::MAX_HYPERVISOR;
use super::policy::Row;
use super::policy::Rule;
use super::policy::Subleaves;
use super::xstate;
use super::xstate::XstateSizes;
use enlightenments::offer::Offering;
use enlightenments::offer::leaves;

/// Leaf 0BH, ECX of sub-leaf 0: level 0 is of type 1, threads.
pub(super) const LEVEL_THREAD: u32 = 1 << 8;

/// Leaf 0BH, ECX of sub-leaf 1: level 1 is of type 2, cores.
pub(super) const LEVEL_CORE: u32 = (2 << 8) | 1;

/// Who we are, and nothing else that a guest could use.
const SATORI: CpuidResult = CpuidResult {
    eax: FIRST_HYPERVISOR,
    ebx: u32::from_le_bytes(*b"Sato"),
    ecx: u32::from_le_bytes(*b"riSa"),
    edx: u32::from_le_bytes(*b"tori"),
};

/// What the values of a table are worked out from.
pub(super) struct Inputs<'a> {
    processor: &'a dyn Fn(u32, u32) -> CpuidResult,
    profile: Profile,
    max_basic: u32,
    max_extended: u32,
    /// The bits that the guest may set in XCR0.
    pub xcr0: u64,
}

impl<'a> Inputs<'a> {
    pub fn new(processor: &'a dyn Fn(u32, u32) -> CpuidResult, profile: Profile) -> Self {
        let max_basic = processor(0, 0).eax;
        let max_extended = processor(0x8000_0000, 0).eax;
        let mut inputs = Self { processor, profile, max_basic, max_extended, xcr0: 0 };
        inputs.xcr0 = xstate::supported(&|leaf, subleaf| inputs.processor(leaf, subleaf));
        inputs
    }

    /// What the guest is offered of Hyper-V's interface, if it sees that.
    pub fn hyperv(&self) -> Option<Offering> {
        let invariant_tsc = self.processor(0x8000_0007, 0).edx & advanced_power_edx::INVARIANT_TSC != 0;
        let xmm_input = self.xcr0 & xstate::SSE != 0;
        self.profile.hyperv.then_some(Offering { invariant_tsc, xmm_input })
    }

    /// What a row of the table draws on: the host's value, or in the range of hypervisors our own.
    fn source(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        match (leaf, self.hyperv()) {
            (FIRST_HYPERVISOR..=MAX_HYPERVISOR, Some(offering)) => {
                leaves::leaf(leaf, offering).unwrap_or(NOTHING)
            }
            (FIRST_HYPERVISOR, None) => SATORI,
            _ => self.processor(leaf, subleaf),
        }
    }

    /// The host's value, or zeros where its leaf is beyond those that it has.
    pub fn processor(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        let max = if leaf < 0x8000_0000 { self.max_basic } else { self.max_extended };
        if leaf <= max { (self.processor)(leaf, subleaf) } else { NOTHING }
    }

    /// One sub-leaf of a row.
    pub fn evaluate(&self, row: &Row, subleaf: u32) -> CpuidResult {
        let host = self.source(row.leaf, subleaf);
        CpuidResult {
            eax: self.register(row.eax, host.eax, subleaf),
            ebx: self.register(row.ebx, host.ebx, subleaf),
            ecx: self.register(row.ecx, host.ecx, subleaf),
            edx: self.register(row.edx, host.edx, subleaf),
        }
    }

    /// The sizes of the XSAVE area, for the leaf that is completed when it is asked for.
    pub fn xstate_sizes(&self) -> XstateSizes {
        let sizes = XstateSizes::new(self.xcr0, &|component| self.processor(0xD, component));
        let xsaves = self.visible(Given::Xsaves, xsave_eax::XSAVES);
        let compacts = self.processor(0xD, 1).eax & (xsave_eax::XSAVEC | xsaves) != 0;
        if compacts { sizes } else { sizes.without_compaction() }
    }

    fn register(&self, rule: Rule, host: u32, subleaf: u32) -> u32 {
        match rule {
            Rule::Fixed(value) => value,
            Rule::Processor(mask) => host & mask,
            Rule::Features(groups) => {
                groups.iter().fold(0, |bits, &(given, mask)| bits | (mask & self.visible(given, host)))
            }
            Rule::Computed(compute) => compute(self, subleaf),
        }
    }

    /// Of the features that depend on `given`, those to be seen where the host has those in `host`.
    fn visible(&self, given: Given, host: u32) -> u32 {
        let offered = self.profile.offered;
        let if_host_and = |condition: bool| if condition { host } else { 0 };
        match given {
            Given::Host => host,
            Given::Satori => u32::MAX,
            Given::Multiprocessor if self.profile.vcpus > 1 => u32::MAX,
            Given::Multiprocessor => 0,
            Given::Xsave => if_host_and(self.xcr0 != 0),
            Given::Avx => if_host_and(self.xcr0 & xstate::AVX != 0),
            Given::Avx512 => if_host_and(self.xcr0 & xstate::AVX512 != 0),
            Given::Pcid => if_host_and(offered.pcid),
            Given::Invpcid => if_host_and(offered.invpcid),
            Given::Rdtscp => if_host_and(offered.rdtscp),
            Given::Xsaves => if_host_and(offered.xsaves && self.xcr0 != 0),
        }
    }

    /// How many APIC IDs a package spans: the vCPUs, rounded up to a power of two.
    fn apic_ids(&self) -> u32 {
        u32::from(self.profile.vcpus).next_power_of_two()
    }

    fn clock(&self) -> CrystalClock {
        CrystalClock::of(self.profile.tsc_hz)
    }
}

/// The core crystal clock that makes leaf 15H true of the guest's time-stamp counter.
///
/// A guest takes the crystal clock for the input of its APIC timer, so that has to run at this frequency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrystalClock {
    /// Its frequency in hertz.
    pub hertz: u32,
    /// Ticks of the TSC to one tick of the crystal clock.
    pub tsc_ticks: u32,
}

impl CrystalClock {
    /// The clock for a TSC of `tsc_hz`: the TSC itself up to 4.29 GHz, as that fits the register; else the
    /// largest fraction of it that does. A TSC that is no multiple of that is told low by less than
    /// `tsc_ticks` Hz.
    #[must_use]
    pub fn of(tsc_hz: u64) -> Self {
        let longest = u64::from(u32::MAX);
        let tsc_ticks = tsc_hz.div_ceil(longest).clamp(1, longest);
        let hertz = u32::try_from(tsc_hz / tsc_ticks).unwrap_or(u32::MAX);
        Self { hertz, tsc_ticks: u32::try_from(tsc_ticks).unwrap_or(u32::MAX) }
    }
}

/// Leaf 01H, EBX: brand index and CLFLUSH line of the host, and how many APIC IDs the package spans.
pub(super) fn version_ebx(inputs: &Inputs<'_>, _: u32) -> u32 {
    (inputs.processor(0x1, 0).ebx & 0xFFFF) | (inputs.apic_ids().min(0xFF) << 16)
}

/// Leaf 04H, EAX: the host's cache, shared as the guest's topology has it: the last level by all vCPUs, the
/// others by none.
pub(super) fn cache_eax(inputs: &Inputs<'_>, subleaf: u32) -> u32 {
    let cache = inputs.processor(0x4, subleaf).eax & 0x3FF;
    let (kind, level) = (cache & 0x1F, (cache >> 5) & 0b111);
    if kind == 0 {
        return 0;
    }
    let others = inputs.apic_ids() - 1;
    let sharing = if level >= 3 { others.min(0xFFF) } else { 0 };
    cache | (sharing << 14) | (others.min(0x3F) << 26)
}

/// Leaf 07H, EAX: its highest sub-leaf.
pub(super) fn structured_max_subleaf(inputs: &Inputs<'_>, _: u32) -> u32 {
    inputs.processor(0x7, 0).eax.min(1)
}

/// Leaf 0BH, EAX of the core level: by how many bits the APIC ID is shifted to get at the package.
pub(super) fn core_level_shift(inputs: &Inputs<'_>, _: u32) -> u32 {
    inputs.apic_ids().trailing_zeros()
}

/// Leaf 0BH, EBX of the core level: the logical processors in the package.
pub(super) fn core_level_processors(inputs: &Inputs<'_>, _: u32) -> u32 {
    u32::from(inputs.profile.vcpus)
}

/// Leaf 0DH, EAX: the bits that may be set in XCR0. All that we offer are among the low 32.
pub(super) fn xcr0_low(inputs: &Inputs<'_>, _: u32) -> u32 {
    u32::try_from(inputs.xcr0).unwrap_or(0)
}

/// Leaf 0DH, ECX: the size in bytes of an XSAVE area with everything that may be enabled.
pub(super) fn xsave_size_of_all(inputs: &Inputs<'_>, _: u32) -> u32 {
    inputs.xstate_sizes().standard(inputs.xcr0)
}

/// Leaf 0DH, EAX of a state component: its size in bytes.
pub(super) fn component_size(inputs: &Inputs<'_>, component: u32) -> u32 {
    offered_component(inputs, component).eax
}

/// Leaf 0DH, EBX of a state component: its offset in the standard format.
pub(super) fn component_offset(inputs: &Inputs<'_>, component: u32) -> u32 {
    offered_component(inputs, component).ebx
}

/// Leaf 0DH, ECX of a state component: bit 1, whether it is aligned to 64 bytes in the compacted format.
pub(super) fn component_flags(inputs: &Inputs<'_>, component: u32) -> u32 {
    offered_component(inputs, component).ecx & xstate::ALIGNED
}

fn offered_component(inputs: &Inputs<'_>, component: u32) -> CpuidResult {
    if inputs.xcr0 >> component & 1 == 0 { NOTHING } else { inputs.processor(0xD, component) }
}

/// Leaf 15H, EBX: ticks of the TSC to one of the crystal clock.
pub(super) fn tsc_numerator(inputs: &Inputs<'_>, _: u32) -> u32 {
    inputs.clock().tsc_ticks
}

/// Leaf 15H, ECX: the frequency of the crystal clock.
pub(super) fn crystal_hz(inputs: &Inputs<'_>, _: u32) -> u32 {
    inputs.clock().hertz
}

/// Leaf 16H, EAX and EBX: the TSC in MHz.
pub(super) fn tsc_mhz(inputs: &Inputs<'_>, _: u32) -> u32 {
    u32::try_from(inputs.profile.tsc_hz / 1_000_000).unwrap_or(u32::MAX).min(0xFFFF)
}

/// Leaf 16H, ECX: the crystal clock in MHz, as it is what our timers count.
pub(super) fn crystal_mhz(inputs: &Inputs<'_>, _: u32) -> u32 {
    inputs.clock().hertz / 1_000_000
}

/// Leaf 80000008H, EAX: the host's physical width, and 48 bits of linear address as LA57 is not offered.
pub(super) fn address_widths(inputs: &Inputs<'_>, _: u32) -> u32 {
    (inputs.processor(0x8000_0008, 0).eax & 0xFF) | (48 << 8)
}

/// Every sub-leaf that a row is about, in order.
pub(super) fn subleaves(row: &Row) -> core::ops::RangeInclusive<u32> {
    match row.subleaves {
        Subleaves::Ignored => 0..=0,
        Subleaves::One(subleaf) => subleaf..=subleaf,
        Subleaves::Span(first, last) => first..=last,
    }
}
