// SPDX-License-Identifier: MIT OR Apache-2.0
//! Satori on Hyper-V's interface: what it joins on the way up, what of it is in use then, and how it lets go.
//!
//! What can be decided without the hardware is in [`enlightenments::consume`]; here it is given pages, MSRs and calls.

pub mod crash;
mod guest_mapping;
pub mod hypercall_page;
mod msrs;
mod processors;

pub use msrs::NativeSyntheticMsrs;
pub use processors::Joined;
pub use processors::Processors;

use crate::cpu::Cpus;
use crate::cpu::vector;
use crate::memory::Frames;
use crate::mmu::flush::Provider;
use crate::vm::enlightened::NestedOffer;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::string::ToString;
use enlightenments::consume;
use enlightenments::consume::Capabilities;
use enlightenments::consume::Feature;
use enlightenments::consume::Obstacle;
use enlightenments::consume::Partition;
use enlightenments::consume::Surroundings;
use enlightenments::consume::Switches;
use enlightenments::consume::time;
use evmcs::controls::Allowance;
use guest_mapping::HypercallFlush;
use log::info;
use log::warn;
use processors::shared_page;

/// The Hyper-V below us, if there is one, and what of it this machine uses.
#[derive(Debug)]
pub struct HyperV {
    capabilities: Capabilities,
    partition: Option<Partition>,
    /// `None` where there is nothing that CPUs could join.
    processors: Option<&'static Processors>,
    clock: L0Clock,
}

/// Time as L0 tells it, as far as it does.
pub type L0Clock = time::L0Clock<NativeSyntheticMsrs>;

impl HyperV {
    /// Tells L0 who we are, has it fill the hypercall page, and asks it for the time, as far as it has got the interface. On the boot
    /// CPU, before anything else of it is used.
    #[must_use]
    pub fn join(surroundings: &Surroundings, switches: Switches) -> Self {
        let mut capabilities = Capabilities::of(surroundings, switches);
        let joined = Partition::join(&msrs::HERE, &capabilities, hypercall_page::address());
        capabilities
            .settle(Feature::HypercallPage, joined.as_ref().map(|_| ()).map_err(|obstacle| *obstacle));
        let clock = clock(&mut capabilities);
        if capabilities.may_use(Feature::CrashMsrs) {
            let taken = consume::crash::takes(&msrs::HERE);
            capabilities.settle(Feature::CrashMsrs, taken.map(|_| crash::arm()).map_err(Obstacle::from));
        }
        let processors: Option<&Processors> =
            surroundings.hyperv().map(|_| &*Box::leak(Box::new(Processors::new(capabilities))));
        Self { capabilities, partition: joined.ok(), processors, clock }
    }

    /// Time as L0 tells it, as far as it is in use.
    #[must_use]
    pub fn clock(&self) -> &L0Clock {
        &self.clock
    }

    /// By which each CPU joins, where there is something to join.
    #[must_use]
    pub fn processors(&self) -> Option<&'static Processors> {
        self.processors
    }

    /// All CPUs are there, and each has tried to join: settles what every one of them has to have.
    pub fn settle_processors(&mut self, cpus: &Cpus) {
        let Self { capabilities, processors: Some(processors), .. } = self else { return };
        let each = || cpus.iter().map(|(cpu, _)| cpu);
        capabilities.settle_on_every_cpu(Feature::VpIndex, each().map(|cpu| processors.vp_index(cpu)));
        capabilities
            .settle_on_every_cpu(Feature::VpAssistPage, each().map(|cpu| processors.assist_page(cpu)));
        if capabilities.may_use(Feature::Reenlightenment)
            && let Ok(boot_vp) = processors.boot_vp()
        {
            let used = self.clock.use_reenlightenment(vector::REENLIGHTENMENT, boot_vp);
            capabilities.settle(Feature::Reenlightenment, used.map_err(Obstacle::from));
        }
    }

    /// Which controls there are in VMCSs, if these are to be enlightened ones.
    #[must_use]
    pub fn allowance(&self) -> Option<Allowance> {
        let offered = |feature| self.capabilities.get(feature).is_offered();
        let enlightened =
            Allowance::EnlightenedVersion1 { perf_global_ctrl: offered(Feature::PerfGlobalCtrl) };
        self.capabilities.calls_for_enlightened_vmcs().then_some(enlightened)
    }

    /// VMCSs are enlightened ones, or cannot be because of `outcome`. Tells what L0 does for them by itself.
    pub fn settle_vmcs(&mut self, outcome: Result<(), Obstacle>) -> Option<NestedOffer> {
        let capabilities = &mut self.capabilities;
        capabilities.settle(Feature::EnlightenedVmcs, outcome);
        if !capabilities.is_in_use(Feature::EnlightenedVmcs) {
            return None;
        }
        for feature in [Feature::EnlightenedMsrBitmap, Feature::DirectVirtualFlush] {
            // Nothing to be set up but what each VMCS says.
            capabilities.settle(feature, Ok(()));
        }
        Some(NestedOffer {
            msr_bitmap: capabilities.is_in_use(Feature::EnlightenedMsrBitmap),
            direct_flush: capabilities.is_in_use(Feature::DirectVirtualFlush),
        })
    }

    /// Who reaches what other CPUs have cached of our tables. L0 if it does what it offers, for there are some that refuse.
    #[must_use]
    pub fn provider(&mut self, cpus: &Cpus) -> Provider {
        if self.partition.is_none() || !self.capabilities.may_use(Feature::GuestMappingFlush) {
            return Provider::Native;
        }
        let flush = HypercallFlush::new(cpus.count());
        let probed = flush.and_then(|flush| Ok((flush, Frames::one()?)));
        let (flush, root) = match probed {
            Ok(probed) => probed,
            Err(error) => {
                warn!("{error}");
                self.capabilities
                    .settle(Feature::GuestMappingFlush, Err(Obstacle::Other("no memory for it")));
                return Provider::Native;
            }
        };
        // An empty table is as good a root as any.
        match Provider::probe(Box::new(flush), root.address()) {
            Ok(provider) => {
                self.capabilities.settle(Feature::GuestMappingFlush, Ok(()));
                provider
            }
            Err(refused) => {
                let obstacle = Obstacle::Call(refused.status);
                self.capabilities.settle(Feature::GuestMappingFlush, Err(obstacle));
                Provider::Native
            }
        }
    }

    /// What is offered, what is in use, and why not the rest, a row each.
    pub fn report(&self) {
        // Without the interface every row would say that.
        if self.processors.is_none() {
            return;
        }
        for row in self.table().lines() {
            info!("{row}");
        }
    }

    /// As [`Self::report`], whatever is below.
    #[must_use]
    pub fn table(&self) -> String {
        self.capabilities.to_string()
    }

    /// Takes back what L0 was told of the machine as a whole. Every CPU has [left](Joined::leave).
    pub fn leave(self) {
        if self.clock.leave().is_none() && self.capabilities.is_in_use(Feature::ReferenceTsc) {
            warn!("L0 does not let go of the reference TSC page");
        }
        if let Some(Err(obstacle)) = self.partition.map(|partition| partition.leave(&msrs::HERE)) {
            warn!("L0 does not let go of the hypercall page: {obstacle}");
        }
    }
}

/// Time as L0 tells it: what of it may be used and is there.
fn clock(capabilities: &mut Capabilities) -> L0Clock {
    let mut clock = L0Clock::new(msrs::HERE);
    let mut attempt = |feature, attempt: &mut dyn FnMut() -> Result<(), Obstacle>| {
        if capabilities.may_use(feature) {
            capabilities.settle(feature, attempt());
        }
    };
    // First of all: CPUID shows more when it is done, and the rate of the TSC does not change any more.
    attempt(Feature::TscInvariant, &mut || Ok(time::expose_invariant_tsc(&msrs::HERE)?));
    attempt(Feature::FrequencyMsrs, &mut || Ok(clock.use_frequencies()?));
    attempt(Feature::ReferenceCounter, &mut || Ok(clock.use_counter()?));
    attempt(Feature::ReferenceTsc, &mut || {
        let page = shared_page().map_err(|_| Obstacle::Other("no memory for its page"))?;
        Ok(clock.use_page(page)?)
    });
    clock
}
