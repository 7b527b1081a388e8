// SPDX-License-Identifier: MIT OR Apache-2.0
//! Models of L0 for tests: machines as they are found, and ways to bend them.
//!
//! They know the interface by its published numbers, and not by the code under test.

mod any;
mod calls;
mod cpuid;
mod memory;
mod msrs;
mod tlb;

pub(in crate::consume) use any::AnyL0;
pub(in crate::consume) use calls::Manner;
pub(in crate::consume) use cpuid::ModelCpuid;
pub(in crate::consume) use memory::Memory;
pub(in crate::consume) use msrs::ModelMsrs;
pub(in crate::consume) use tlb::Translation;

use super::Capabilities;
use super::SharedPage;
use super::Surroundings;
use super::Switches;
use calls::Calls;
use msrs::Msrs;
use tlb::Tlbs;

/// An L0 that does what it offers by CPUID, as strictly as the interface allows, and nothing else.
///
/// What is not offered is a #GP. Assist pages and the hypercall page are overlays with a content of their own. Hypercalls are
/// checked by every rule, and each CPU keeps the second-level translations that nobody flushed.
#[derive(Debug)]
pub(in crate::consume) struct ModelL0 {
    offer: ModelCpuid,
    memory: Memory,
    pub(in crate::consume) msrs: Msrs,
    pub(in crate::consume) calls: Calls,
    pub(in crate::consume) tlbs: Tlbs,
}

impl ModelL0 {
    pub(in crate::consume) fn offering(offer: ModelCpuid) -> Self {
        Self {
            offer,
            memory: Memory::default(),
            msrs: Msrs::default(),
            calls: Calls::default(),
            tlbs: Tlbs::default(),
        }
    }

    pub(in crate::consume) fn everything() -> Self {
        Self::offering(ModelCpuid::everything())
    }

    /// What CPUID says.
    pub(in crate::consume) fn surroundings(&self) -> Surroundings {
        Surroundings::discover(&self.offer)
    }

    /// What we make of that, where nothing is switched off.
    pub(in crate::consume) fn capabilities(&self) -> Capabilities {
        Capabilities::of(&self.surroundings(), Switches::NONE_OFF)
    }

    /// A page of our memory, which L0 knows at `address`.
    pub(in crate::consume) fn page(&self, address: u64) -> SharedPage {
        self.memory.page(address)
    }

    /// The synthetic MSRs, as processor `cpu` finds them.
    pub(in crate::consume) fn cpu(&self, cpu: u32) -> ModelMsrs<'_> {
        ModelMsrs::new(self, cpu)
    }

    /// The enlightened VMCS that the next VM entry on `cpu` would use.
    pub(in crate::consume) fn enlightened_vmcs(&self, cpu: u32) -> Option<u64> {
        let page = self.msrs.page(cpu, 0x4000_0073)?;
        (self.memory.read(page + 0x28) & 0xFF != 0).then(|| self.memory.read(page + 0x30))
    }
}
