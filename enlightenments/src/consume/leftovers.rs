// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an earlier kernel, or the firmware, left enabled: L0 would write to memory that is ours now, and send interrupts.

use super::Capabilities;
use super::Feature;
use super::SyntheticMsrs;
use hyperv_bindings::msr::REENLIGHTENMENT_CONTROL;
use hyperv_bindings::msr::REFERENCE_TSC;
use hyperv_bindings::msr::ReenlightenmentControl;
use hyperv_bindings::msr::SCONTROL;
use hyperv_bindings::msr::SIEFP;
use hyperv_bindings::msr::SIMP;
use hyperv_bindings::msr::STIMER0_CONFIG;
use hyperv_bindings::msr::TSC_EMULATION_CONTROL;
use hyperv_bindings::msr::VP_ASSIST_PAGE;

/// Bit 0, which enables most of them.
const ENABLED: u64 = 1;

/// An MSR by which something is enabled.
struct Switch {
    /// What offers the MSR.
    feature: Feature,
    msr: u32,
    /// The bit that enables.
    enabled: u64,
}

/// The partition's, apart from the hypercall page, which [`Partition`](super::Partition) sees to.
const PARTITION: [Switch; 3] = [
    switch(Feature::ReferenceTsc, REFERENCE_TSC, ENABLED),
    switch(
        Feature::Reenlightenment,
        REENLIGHTENMENT_CONTROL,
        ReenlightenmentControl::new().with_enabled(true).into_bits(),
    ),
    switch(Feature::Reenlightenment, TSC_EMULATION_CONTROL, ENABLED),
];

/// A processor's: first what writes, then where to.
const PROCESSOR: [Switch; 8] = [
    switch(Feature::SyntheticTimers, STIMER0_CONFIG, ENABLED),
    switch(Feature::SyntheticTimers, STIMER0_CONFIG + 2, ENABLED),
    switch(Feature::SyntheticTimers, STIMER0_CONFIG + 4, ENABLED),
    switch(Feature::SyntheticTimers, STIMER0_CONFIG + 6, ENABLED),
    switch(Feature::SynIc, SCONTROL, ENABLED),
    switch(Feature::SynIc, SIMP, ENABLED),
    switch(Feature::SynIc, SIEFP, ENABLED),
    switch(Feature::VpAssistPage, VP_ASSIST_PAGE, ENABLED),
];

const fn switch(feature: Feature, msr: u32, enabled: u64) -> Switch {
    Switch { feature, msr, enabled }
}

pub(super) fn clear_of_partition(msrs: &impl SyntheticMsrs, capabilities: &Capabilities) {
    clear(msrs, capabilities, &PARTITION);
}

pub(super) fn clear_of_processor(msrs: &impl SyntheticMsrs, capabilities: &Capabilities) {
    clear(msrs, capabilities, &PROCESSOR);
}

/// Switched off or not: to take away what is offered and was left is no use of it.
fn clear(msrs: &impl SyntheticMsrs, capabilities: &Capabilities, switches: &[Switch]) {
    let offered = |switch: &&Switch| capabilities.get(switch.feature).is_offered();
    for Switch { msr, enabled, .. } in switches.iter().filter(offered) {
        let Ok(found) = msrs.read(*msr) else { continue };
        if found & enabled != 0 {
            // An L0 that insists leaves us nothing to do; what we enable ourselves is read back.
            let _ = msrs.write(*msr, found & !enabled);
        }
    }
}
