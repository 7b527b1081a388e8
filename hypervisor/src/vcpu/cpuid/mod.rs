// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest sees of CPUID: answers precomputed for a VM, completed with the vCPU's own bits.
//!
//! An exit costs one look-up and no CPUID instruction, which would itself exit where we are nested.

mod computed;
mod feature;
mod policy;
mod slots;
pub mod xstate;

pub use core::arch::x86_64::CpuidResult;

pub use self::computed::CrystalClock;

use self::computed::Inputs;
use self::feature::version_ecx;
use self::policy::FIRST_HYPERVISOR;
use self::policy::MAX_BASIC;
use self::policy::MAX_HYPERVISOR;
use self::policy::POLICY;
use self::slots::ANSWERS;
use self::slots::Completion;
use self::xstate::XstateSizes;
use enlightenments::offer::Offering;

/// All registers zero.
const NOTHING: CpuidResult = CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 };

/// Features that a guest can only use where Satori has set the control for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// The guest may set CR4.PCIDE.
    pub pcid: bool,
    /// The secondary control "enable INVPCID" is set.
    pub invpcid: bool,
    /// The secondary control "enable RDTSCP" is set; it covers RDPID too.
    pub rdtscp: bool,
    /// The secondary control "enable XSAVES/XRSTORS" is set.
    pub xsaves: bool,
}

/// What a VM is, as far as its CPUID depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// How many vCPUs it has; their APIC IDs are 0 and up.
    pub vcpus: u16,
    /// The frequency of the guest's time-stamp counter in hertz; its APIC timer has that of [`CrystalClock`].
    pub tsc_hz: u64,
    /// What may be handed through beyond plain instructions.
    pub offered: Offered,
    /// The guest sees Hyper-V's interface.
    pub hyperv: bool,
}

/// What an answer depends on at the time of the exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    /// CR4.OSXSAVE of the guest.
    pub osxsave: bool,
    /// XCR0 of the guest, a legal value.
    pub xcr0: u64,
    /// The x2APIC ID of the vCPU.
    pub apic_id: u32,
}

/// All answers of a VM.
#[derive(Clone, Debug)]
pub struct CpuidTable {
    answers: [CpuidResult; ANSWERS],
    xstate_sizes: XstateSizes,
    xcr0: u64,
    hyperv: Option<Offering>,
}

impl CpuidTable {
    /// The answers for a VM like `profile`. `processor` executes CPUID with a leaf (EAX) and sub-leaf (ECX).
    #[must_use]
    pub fn new(processor: &dyn Fn(u32, u32) -> CpuidResult, profile: Profile) -> Self {
        let inputs = Inputs::new(processor, profile);
        let mut answers = [NOTHING; ANSWERS];
        for row in POLICY {
            for subleaf in computed::subleaves(row) {
                answers[slots::of(row.leaf).answer(subleaf)] = inputs.evaluate(row, subleaf);
            }
        }
        if !profile.hyperv {
            // Out of range, and answered as that is.
            for leaf in FIRST_HYPERVISOR + 1..=MAX_HYPERVISOR {
                answers[slots::of(leaf).answer(0)] = answers[slots::of(MAX_BASIC).answer(0)];
            }
        }
        let hyperv = inputs.hyperv();
        Self { answers, xstate_sizes: inputs.xstate_sizes(), xcr0: inputs.xcr0, hyperv }
    }

    /// The bits that a guest may set in XCR0; 0 where it has no XSAVE.
    #[must_use]
    pub fn supported_xcr0(&self) -> u64 {
        self.xcr0
    }

    /// What the leaves say of Hyper-V's interface; `None` where the guest sees nothing of it.
    #[must_use]
    pub fn hyperv(&self) -> Option<Offering> {
        self.hyperv
    }

    /// Bits of a guest-physical address.
    #[must_use]
    pub fn physical_bits(&self) -> u8 {
        self.answers[slots::of(0x8000_0008).answer(0)].eax as u8
    }

    /// The answer to CPUID with EAX = `leaf` and ECX = `subleaf`, where that is the same at all times.
    #[inline]
    pub fn constant_answer(&self, leaf: u32, subleaf: u32) -> Option<&CpuidResult> {
        let slot = slots::of(leaf);
        let answer = &self.answers[slot.answer(subleaf)];
        (slot.completion == Completion::None).then_some(answer)
    }

    /// The answer to CPUID with EAX = `leaf` and ECX = `subleaf`. Only some leaves ask for what is `current`.
    pub fn answer(&self, leaf: u32, subleaf: u32, current: impl FnOnce() -> Current) -> CpuidResult {
        let slot = slots::of(leaf);
        let answer = self.answers[slot.answer(subleaf)];
        match slot.completion {
            Completion::None => answer,
            Completion::Version => with_vcpu_bits(answer, current()),
            Completion::Topology => {
                CpuidResult { ecx: answer.ecx | (subleaf & 0xFF), edx: current().apic_id, ..answer }
            }
            Completion::ExtendedState => self.with_sizes(answer, subleaf, current().xcr0),
        }
    }

    fn with_sizes(&self, answer: CpuidResult, subleaf: u32, xcr0: u64) -> CpuidResult {
        match subleaf {
            0 => CpuidResult { ebx: self.xstate_sizes.standard(xcr0), ..answer },
            1 => CpuidResult { ebx: self.xstate_sizes.compacted(xcr0), ..answer },
            _ => answer,
        }
    }
}

/// Leaf 01H: the initial APIC ID, and whether the guest has switched XSAVE on.
fn with_vcpu_bits(answer: CpuidResult, current: Current) -> CpuidResult {
    let osxsave = if current.osxsave { version_ecx::OSXSAVE } else { 0 };
    CpuidResult { ebx: answer.ebx | (current.apic_id << 24), ecx: answer.ecx | osxsave, ..answer }
}

#[cfg(test)]
mod tests;
