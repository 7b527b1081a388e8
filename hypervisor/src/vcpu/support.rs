// SPDX-License-Identifier: MIT OR Apache-2.0
//! What vCPUs run on: which VMCSs, and with which controls. Chosen once, when all CPUs are there.

use crate::cpu::Cpus;
use crate::cpu::hardware::MsrIo;
use crate::cpu::hardware::NativeMsrs;
use crate::hyperv::HyperV;
use crate::irqchip::local_apic::Part;
use crate::mmu::flush::Provider;
use crate::vcpu::apic_virtualization;
use crate::vcpu::controls;
use crate::vm::enlightened::NestedOffer;
use crate::vmx::capabilities::EptCapabilities;
use alloc::string::ToString;
use enlightenments::consume::Obstacle;
use enlightenments::consume::Surroundings;
use evmcs::controls::Allowance;
use evmcs::controls::Capabilities;
use evmcs::controls::Controls;
use evmcs::controls::MissingControls;
use evmcs::controls::Negotiated;
use evmcs::controls::negotiate;
use log::info;

/// The choice.
#[derive(Debug)]
pub struct Support {
    /// The controls of vCPUs that have a CPU each.
    pub controls: Controls,
    /// The controls of vCPUs that share CPUs.
    pub shared_controls: Controls,
    /// What L0 does for enlightened VMCSs; `None` where they are ordinary ones.
    pub nested: Option<NestedOffer>,
    /// Who reaches what CPUs have cached of our tables.
    pub provider: Provider,
}

impl Support {
    /// With what is `wanted` where there is such a thing, on these `surroundings`. Enlightened VMCSs where `hyperv` calls for them and
    /// they have a place for all that is required, else ordinary ones. Reports the controls that have to be done without.
    ///
    /// # Errors
    /// When the processor lacks something that is required.
    pub fn choose(
        hyperv: &mut HyperV,
        cpus: &Cpus,
        ept: EptCapabilities,
        surroundings: &Surroundings,
        mut wanted: Controls,
    ) -> Result<Self, MissingControls> {
        hyperv.settle_processors(cpus);
        let capabilities = Capabilities::read(&|msr| NativeMsrs.read(msr));
        let required = controls::required();
        // A VPID whose mappings cannot be dropped is worse than none: without one every entry and exit drops them.
        wanted.secondary.set_enable_vpid(ept.invvpid_single());
        let negotiate = |allowance| negotiate(required, wanted, &capabilities, allowance);
        let provider = hyperv.provider(cpus);
        if let Some(allowance) = hyperv.allowance() {
            let negotiated = negotiate(allowance).map_err(|missing| {
                for line in missing.0.to_string().lines() {
                    info!("no enlightened VMCS: {line}");
                }
                Obstacle::Other("it has no place for controls that are required")
            });
            let nested = hyperv.settle_vmcs(negotiated.as_ref().map(|_| ()).map_err(|obstacle| *obstacle));
            if let Ok(negotiated) = negotiated {
                return Ok(Self::new(negotiated, &capabilities, nested, provider));
            }
        }
        let mut negotiated = negotiate(Allowance::Native)?;
        let posts = capabilities.settable.pin_based.process_posted_interrupts();
        let is_whole = apic_virtualization::part(&negotiated.controls) == Some(Part::Whole);
        if is_whole && !posts && *surroundings != Surroundings::NoHypervisor {
            // KVM takes over the EOI-exit bitmaps of a hypervisor that it runs only on processors that have both; processors do.
            info!(
                "not used: virtual-interrupt delivery, which the hypervisor below offers without posted interrupts"
            );
            negotiated.controls = apic_virtualization::limited(negotiated.controls, Some(Part::TaskPriority));
        }
        Ok(Self::new(negotiated, &capabilities, None, provider))
    }

    fn new(
        negotiated: Negotiated,
        capabilities: &Capabilities,
        nested: Option<NestedOffer>,
        provider: Provider,
    ) -> Self {
        let Negotiated { controls, dropped } = negotiated;
        let controls = apic_virtualization::limited(controls, apic_virtualization::part(&controls));
        for line in dropped.to_string().lines() {
            info!("not used: {line}");
        }
        Self {
            controls: controls::undisturbed(controls),
            shared_controls: controls::overcommitted(controls, capabilities),
            nested,
            provider,
        }
    }
}
