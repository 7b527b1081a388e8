// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one table of what a guest sees of CPUID: for each register of each leaf, whose value it is.
//!
//! A leaf that is not here reads as zero, or is out of range. Left out on purpose: serial number (3), MONITOR
//! (5), direct cache access (9), performance monitoring (0AH), resource control (0FH, 10H), SGX (12H),
//! processor trace (14H), and V2 topology (1FH), which would say no more than 0BH does.
//!
//! Features left out on purpose: VMX, SMX, MONITOR, DS, TM, EIST, PDCM, TSX, MPX, PKU, LA57, CET, AMX; MCE
//! and MCA, as there is nothing to report; speculation controls, until they are switched per guest. MTRRs are
//! hidden and PAT is offered: under EPT only PAT has a say in how a guest maps memory, and guests do without
//! MTRRs.

use super::computed;
use super::computed::Inputs;
use super::feature::advanced_power_edx;
use super::feature::extended_ecx;
use super::feature::extended_edx;
use super::feature::power_eax;
use super::feature::structured_ebx;
use super::feature::structured_ecx;
use super::feature::structured_edx;
use super::feature::structured1_eax;
use super::feature::version_ecx;
use super::feature::version_edx;
use super::feature::xsave_eax;
use enlightenments::offer::leaves;

use self::Given::Avx;
use self::Given::Avx512;
use self::Given::Host;
use self::Given::Invpcid;
use self::Given::Multiprocessor;
use self::Given::Pcid;
use self::Given::Rdtscp;
use self::Given::Satori;
use self::Given::Xsave;
use self::Given::Xsaves;
use self::Rule::Computed;
use self::Rule::Features;
use self::Rule::Fixed;
use self::Rule::Processor;
use self::Subleaves::Ignored;
use self::Subleaves::One;
use self::Subleaves::Span;

/// The highest basic leaf that a guest sees.
pub(super) const MAX_BASIC: u32 = 0x16;

/// The first leaf of the range in which hypervisors present themselves.
pub(super) const FIRST_HYPERVISOR: u32 = leaves::FIRST;

/// The highest leaf of that range that a guest sees, if it sees Hyper-V's interface; else only the first is in range.
pub(super) const MAX_HYPERVISOR: u32 = leaves::LAST;

/// The highest extended leaf that a guest sees.
pub(super) const MAX_EXTENDED: u32 = 0x8000_0008;

/// What must hold for a guest to see a feature. All but two of them ask for the host's bit too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// The host has it.
    Host,
    /// Satori provides it itself, whatever the host has.
    Satori,
    /// Satori says so where the VM has more than one vCPU, whatever the host has.
    Multiprocessor,
    /// The host has it and XSAVE.
    Xsave,
    /// The host has it, and XCR0 may enable AVX.
    Avx,
    /// The host has it, and XCR0 may enable AVX-512.
    Avx512,
    /// The host has it, and it is offered with `Offered::pcid`.
    Pcid,
    /// The host has it, and it is offered with `Offered::invpcid`.
    Invpcid,
    /// The host has it, and it is offered with `Offered::rdtscp`.
    Rdtscp,
    /// The host has it, and it is offered with `Offered::xsaves`.
    Xsaves,
}

/// Where the value of one register comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// Always this.
    Fixed(u32),
    /// These bits of the host's value.
    Processor(u32),
    /// These bits, each group under its condition.
    Features(&'static [(Given, u32)]),
    /// Worked out from the VM's profile and the host; the argument is the sub-leaf.
    Computed(fn(&Inputs<'_>, u32) -> u32),
}

/// Which values of ECX a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subleaves {
    /// The leaf has no sub-leaves.
    Ignored,
    /// This one.
    One(u32),
    /// All from the first to the last.
    Span(u32, u32),
}

/// One leaf, or some sub-leaves of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub leaf: u32,
    pub subleaves: Subleaves,
    pub eax: Rule,
    pub ebx: Rule,
    pub ecx: Rule,
    pub edx: Rule,
}

const ALL: Rule = Processor(u32::MAX);
const ZERO: Rule = Fixed(0);

/// A leaf of the range in which hypervisors present themselves: who we are, or what we offer of Hyper-V's interface.
const fn hypervisor(leaf: u32) -> Row {
    Row { leaf, subleaves: Ignored, eax: ALL, ebx: ALL, ecx: ALL, edx: ALL }
}

/// Ordered by leaf, then sub-leaf. After the last sub-leaf of a leaf follows one of zeros, for all beyond.
pub(super) const POLICY: &[Row] = &[
    // Highest leaf and vendor.
    Row { leaf: 0x0, subleaves: Ignored, eax: Fixed(MAX_BASIC), ebx: ALL, ecx: ALL, edx: ALL },
    // Model and features.
    Row {
        leaf: 0x1,
        subleaves: Ignored,
        eax: ALL,
        ebx: Computed(computed::version_ebx),
        ecx: Features(&[
            (Host, version_ecx::SSE3 | version_ecx::PCLMULQDQ | version_ecx::SSSE3 | version_ecx::CMPXCHG16B),
            (Host, version_ecx::SSE4_1 | version_ecx::SSE4_2 | version_ecx::MOVBE | version_ecx::POPCNT),
            (Host, version_ecx::AESNI | version_ecx::RDRAND),
            (Xsave, version_ecx::XSAVE),
            (Avx, version_ecx::AVX | version_ecx::FMA | version_ecx::F16C),
            (Pcid, version_ecx::PCID),
            (Satori, version_ecx::X2APIC | version_ecx::TSC_DEADLINE | version_ecx::HYPERVISOR),
        ]),
        edx: Features(&[
            (
                Host,
                version_edx::FPU | version_edx::VME | version_edx::DE | version_edx::PSE | version_edx::TSC,
            ),
            (
                Host,
                version_edx::MSR | version_edx::PAE | version_edx::CX8 | version_edx::SEP | version_edx::PGE,
            ),
            (Host, version_edx::CMOV | version_edx::PAT | version_edx::PSE36 | version_edx::CLFSH),
            (
                Host,
                version_edx::MMX | version_edx::FXSR | version_edx::SSE | version_edx::SSE2 | version_edx::SS,
            ),
            (Satori, version_edx::APIC),
            (Multiprocessor, version_edx::HTT),
        ]),
    },
    // Cache and TLB descriptors.
    Row { leaf: 0x2, subleaves: Ignored, eax: ALL, ebx: ALL, ecx: ALL, edx: ALL },
    // Caches. Bits 2:0 of EDX describe the cache; the others are reserved.
    Row {
        leaf: 0x4,
        subleaves: Span(0, 4),
        eax: Computed(computed::cache_eax),
        ebx: ALL,
        ecx: ALL,
        edx: Processor(0b111),
    },
    // Power: only that our APIC timer always runs.
    Row { leaf: 0x6, subleaves: Ignored, eax: Fixed(power_eax::ARAT), ebx: ZERO, ecx: ZERO, edx: ZERO },
    // Structured features.
    Row {
        leaf: 0x7,
        subleaves: One(0),
        eax: Computed(computed::structured_max_subleaf),
        ebx: Features(&[
            (Host, structured_ebx::FSGSBASE | structured_ebx::BMI1 | structured_ebx::FDP_EXCPTN_ONLY),
            (Host, structured_ebx::SMEP | structured_ebx::BMI2 | structured_ebx::ERMS),
            (Host, structured_ebx::FCS_FDS_DEPRECATED | structured_ebx::RDSEED | structured_ebx::ADX),
            (
                Host,
                structured_ebx::SMAP
                    | structured_ebx::CLFLUSHOPT
                    | structured_ebx::CLWB
                    | structured_ebx::SHA,
            ),
            (Avx, structured_ebx::AVX2),
            (Avx512, structured_ebx::AVX512F | structured_ebx::AVX512DQ | structured_ebx::AVX512_IFMA),
            (Avx512, structured_ebx::AVX512CD | structured_ebx::AVX512BW | structured_ebx::AVX512VL),
            (Invpcid, structured_ebx::INVPCID),
            (Satori, structured_ebx::TSC_ADJUST),
        ]),
        ecx: Features(&[
            (Host, structured_ecx::UMIP | structured_ecx::GFNI | structured_ecx::CLDEMOTE),
            (Avx, structured_ecx::VAES | structured_ecx::VPCLMULQDQ),
            (
                Avx512,
                structured_ecx::AVX512_VBMI | structured_ecx::AVX512_VBMI2 | structured_ecx::AVX512_VNNI,
            ),
            (Avx512, structured_ecx::AVX512_BITALG | structured_ecx::AVX512_VPOPCNTDQ),
            // RDPID is #UD unless the control "enable RDTSCP" is set.
            (Rdtscp, structured_ecx::RDPID),
        ]),
        edx: Features(&[
            (Host, structured_edx::FSRM | structured_edx::MD_CLEAR | structured_edx::SERIALIZE),
            (Avx512, structured_edx::AVX512_VP2INTERSECT | structured_edx::AVX512_FP16),
        ]),
    },
    Row {
        leaf: 0x7,
        subleaves: One(1),
        eax: Features(&[
            (Host, structured1_eax::FAST_ZERO_LENGTH_MOVSB | structured1_eax::FAST_SHORT_STOSB),
            (Host, structured1_eax::FAST_SHORT_CMPSB),
            (Avx, structured1_eax::AVX_VNNI | structured1_eax::AVX_IFMA),
            (Avx512, structured1_eax::AVX512_BF16),
        ]),
        ebx: ZERO,
        ecx: ZERO,
        edx: ZERO,
    },
    // Topology: one package, in which each vCPU is a core of one thread.
    Row {
        leaf: 0xB,
        subleaves: One(0),
        eax: ZERO,
        ebx: Fixed(1),
        ecx: Fixed(computed::LEVEL_THREAD),
        edx: ZERO,
    },
    Row {
        leaf: 0xB,
        subleaves: One(1),
        eax: Computed(computed::core_level_shift),
        ebx: Computed(computed::core_level_processors),
        ecx: Fixed(computed::LEVEL_CORE),
        edx: ZERO,
    },
    // Extended state. EBX of the first two depends on XCR0 and is filled in when asked for.
    Row {
        leaf: 0xD,
        subleaves: One(0),
        eax: Computed(computed::xcr0_low),
        ebx: ZERO,
        ecx: Computed(computed::xsave_size_of_all),
        edx: ZERO,
    },
    Row {
        leaf: 0xD,
        subleaves: One(1),
        eax: Features(&[
            (Xsave, xsave_eax::XSAVEOPT | xsave_eax::XSAVEC | xsave_eax::XGETBV_ECX_1),
            (Xsaves, xsave_eax::XSAVES),
        ]),
        ebx: ZERO,
        ecx: ZERO,
        edx: ZERO,
    },
    Row {
        leaf: 0xD,
        subleaves: Span(2, 7),
        eax: Computed(computed::component_size),
        ebx: Computed(computed::component_offset),
        ecx: Computed(computed::component_flags),
        edx: ZERO,
    },
    // Time-stamp counter and core crystal clock.
    Row {
        leaf: 0x15,
        subleaves: Ignored,
        eax: Fixed(1),
        ebx: Computed(computed::tsc_numerator),
        ecx: Computed(computed::crystal_hz),
        edx: ZERO,
    },
    // Base, maximum and bus frequency in MHz.
    Row {
        leaf: 0x16,
        subleaves: Ignored,
        eax: Computed(computed::tsc_mhz),
        ebx: Computed(computed::tsc_mhz),
        ecx: Computed(computed::crystal_mhz),
        edx: ZERO,
    },
    hypervisor(leaves::FIRST),
    hypervisor(0x4000_0001),
    hypervisor(0x4000_0002),
    hypervisor(0x4000_0003),
    hypervisor(0x4000_0004),
    hypervisor(leaves::LAST),
    Row { leaf: 0x8000_0000, subleaves: Ignored, eax: Fixed(MAX_EXTENDED), ebx: ZERO, ecx: ZERO, edx: ZERO },
    Row {
        leaf: 0x8000_0001,
        subleaves: Ignored,
        eax: ZERO,
        ebx: ZERO,
        ecx: Features(&[(Host, extended_ecx::LAHF_LM | extended_ecx::LZCNT | extended_ecx::PREFETCHW)]),
        edx: Features(&[
            (Host, extended_edx::SYSCALL | extended_edx::NX | extended_edx::PAGE_1GB | extended_edx::LM),
            (Rdtscp, extended_edx::RDTSCP),
        ]),
    },
    // Brand string.
    Row { leaf: 0x8000_0002, subleaves: Ignored, eax: ALL, ebx: ALL, ecx: ALL, edx: ALL },
    Row { leaf: 0x8000_0003, subleaves: Ignored, eax: ALL, ebx: ALL, ecx: ALL, edx: ALL },
    Row { leaf: 0x8000_0004, subleaves: Ignored, eax: ALL, ebx: ALL, ecx: ALL, edx: ALL },
    // L2 cache.
    Row { leaf: 0x8000_0006, subleaves: Ignored, eax: ZERO, ebx: ZERO, ecx: ALL, edx: ZERO },
    Row {
        leaf: 0x8000_0007,
        subleaves: Ignored,
        eax: ZERO,
        ebx: ZERO,
        ecx: ZERO,
        edx: Features(&[(Host, advanced_power_edx::INVARIANT_TSC)]),
    },
    // Widths of addresses.
    Row {
        leaf: 0x8000_0008,
        subleaves: Ignored,
        eax: Computed(computed::address_widths),
        ebx: ZERO,
        ecx: ZERO,
        edx: ZERO,
    },
];
