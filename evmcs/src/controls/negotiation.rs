// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the controls that we need and want to those that we use, and a report of the rest.

use super::allowance::Allowance;
use super::capabilities::Capabilities;
use super::words::Controls;
use core::fmt;

/// Controls that cannot be used, by reason. It displays one line for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unusable {
    /// The processor does not have them: its VMX capability MSRs say so.
    pub without_capability: Controls,
    /// The processor has them, but they have no place in the enlightened VMCS.
    pub without_place: Controls,
    /// They have both, but L0 does not let them be used in an enlightened VMCS.
    pub withheld: Controls,
}

impl Unusable {
    /// What of `asked` is unusable, each under the first reason that applies.
    fn of(asked: Controls, capabilities: &Capabilities, allowance: Allowance) -> Self {
        let capable = asked.intersection(capabilities.settable);
        Self { without_capability: asked.difference(capable), ..Self::in_backing(capable, allowance) }
    }

    /// What the processor has of `controls`, all of it, but the backing does not let us use.
    fn in_backing(controls: Controls, allowance: Allowance) -> Self {
        let placed = controls.intersection(allowance.with_place());
        Self {
            without_capability: Controls::default(),
            without_place: controls.difference(placed),
            withheld: placed.intersection(allowance.withheld()),
        }
    }

    fn union(self, other: Self) -> Self {
        Self {
            without_capability: self.without_capability.union(other.without_capability),
            without_place: self.without_place.union(other.without_place),
            withheld: self.withheld.union(other.withheld),
        }
    }

    /// All of them.
    pub fn controls(&self) -> Controls {
        self.without_capability.union(self.without_place).union(self.withheld)
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons = [
            (self.without_capability, "the processor does not have it"),
            (self.without_place, "it has no place in the enlightened VMCS"),
            (self.withheld, "L0 does not allow it in an enlightened VMCS"),
        ];
        let mut line_break = "";
        for (controls, reason) in reasons {
            controls.for_each_name(|word, control| {
                write!(f, "{line_break}{word} control {control}: {reason}")?;
                line_break = "\n";
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// The outcome of a negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The words to write to the VMCS.
    pub controls: Controls,
    /// What was wanted, but is not used.
    pub dropped: Unusable,
}

/// Controls that are required cannot be used. It displays one line for each, and one that says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingControls(pub Unusable);

impl fmt::Display for MissingControls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.0)?;
        f.write_str(if self.0.without_capability.is_empty() {
            "these are required: turn the enlightened VMCS off"
        } else {
            "these are required: use a processor that has them (on Azure a size with nested virtualization and \
             security type Standard; under QEMU -cpu host,+vmx)"
        })
    }
}

impl core::error::Error for MissingControls {}

/// Decides the control words: all of `required`, what can be had of `wanted`, and what the processor demands.
///
/// The bits that activate the secondary and tertiary words need not be asked for: they follow from what is asked of those.
///
/// # Errors
/// What of `required`, or of what the processor demands, cannot be used.
pub fn negotiate(
    required: Controls,
    wanted: Controls,
    capabilities: &Capabilities,
    allowance: Allowance,
) -> Result<Negotiated, MissingControls> {
    let required = with_activation(required);
    let wanted = with_activation(wanted);
    // What the processor insists on is set whether it was asked for or not. Reserved bits, of which it insists on many, have no fields.
    let insisted = capabilities.mandatory.named();
    let missing =
        Unusable::of(required, capabilities, allowance).union(Unusable::in_backing(insisted, allowance));
    if missing != Unusable::default() {
        return Err(MissingControls(missing));
    }
    let dropped = Unusable::of(wanted, capabilities, allowance);
    let controls = required.union(wanted).difference(dropped.controls()).union(capabilities.mandatory);
    Ok(Negotiated { controls, dropped })
}

fn with_activation(mut asked: Controls) -> Controls {
    if asked.secondary.into_bits() != 0 {
        asked.primary.set_activate_secondary_controls(true);
    }
    if asked.tertiary.into_bits() != 0 {
        asked.primary.set_activate_tertiary_controls(true);
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controls::EntryControls;
    use crate::controls::ExitControls;
    use crate::controls::PinBasedControls;
    use crate::controls::PrimaryControls;
    use crate::controls::SecondaryControls;
    use crate::controls::TertiaryControls;
    use proptest::prelude::*;

    const ENLIGHTENED: Allowance = Allowance::EnlightenedVersion1 { perf_global_ctrl: true };

    fn everything() -> Capabilities {
        Capabilities { settable: Controls::EVERYTHING, mandatory: Controls::default() }
    }

    fn secondary(secondary: SecondaryControls) -> Controls {
        Controls { secondary, ..Controls::default() }
    }

    /// A processor that has every plain control MSR and these secondary controls, with or without TRUE MSRs.
    fn processor(has_true_controls: bool, has_secondary: bool) -> impl Fn(u32) -> u64 {
        move |msr| match msr {
            0x480 => u64::from(has_true_controls) << 55,
            0x482 | 0x48E if !has_secondary => 0x7FFD_FFFF << 32,
            0x482 => 0xFFFD_FFFF_0401_E172,
            0x481 | 0x483 | 0x484 => 0xFFFF_FFFF << 32,
            0x48E if has_true_controls => 0xFFFD_FFFF_0400_6172,
            0x48D | 0x48F | 0x490 if has_true_controls => 0xFFFF_FFFF << 32,
            0x48B if has_secondary => 0x82 << 32,
            _ => panic!("RDMSR {msr:#x} would be #GP"),
        }
    }

    #[test]
    fn true_capabilities_are_used_where_they_exist() {
        let cr3_exiting = PrimaryControls::new().with_cr3_load_exiting(true).with_cr3_store_exiting(true);
        let plain = Capabilities::read(&processor(false, true));
        let with_true = Capabilities::read(&processor(true, true));
        let cr3_exiting_in = |capabilities| {
            let negotiated =
                negotiate(Controls::default(), Controls::default(), capabilities, Allowance::Native);
            negotiated.unwrap().controls.primary.into_bits() & cr3_exiting.into_bits()
        };
        assert_eq!(cr3_exiting_in(&plain), cr3_exiting.into_bits());
        assert_eq!(cr3_exiting_in(&with_true), 0);
    }

    #[test]
    fn msrs_that_do_not_exist_are_not_read() {
        let capabilities = Capabilities::read(&processor(false, false));
        let required = secondary(SecondaryControls::new().with_enable_ept(true));
        let missing = negotiate(required, Controls::default(), &capabilities, Allowance::Native).unwrap_err();
        assert_eq!(missing.0.without_capability, with_activation(required));
    }

    #[test]
    fn secondary_and_tertiary_words_are_activated_by_use() {
        let wanted = Controls {
            secondary: SecondaryControls::new().with_enable_ept(true),
            tertiary: TertiaryControls::new().with_ipi_virtualization(true),
            ..Controls::default()
        };
        let primary = negotiate(wanted, Controls::default(), &everything(), Allowance::Native)
            .unwrap()
            .controls
            .primary;
        assert!(primary.activate_secondary_controls() && primary.activate_tertiary_controls());
    }

    #[test]
    fn every_drop_is_one_line_with_its_reason() {
        let mut capabilities = everything();
        capabilities.settable.secondary.set_use_tsc_scaling(false);
        let wanted = Controls {
            pin_based: PinBasedControls::new()
                .with_activate_vmx_preemption_timer(true)
                .with_nmi_exiting(true),
            secondary: SecondaryControls::new().with_enable_pml(true).with_use_tsc_scaling(true),
            tertiary: TertiaryControls::new().with_ipi_virtualization(true),
            exit: ExitControls::new().with_load_ia32_perf_global_ctrl(true),
            entry: EntryControls::new().with_load_ia32_perf_global_ctrl(true).with_load_ia32_rtit_ctl(true),
            ..Controls::default()
        };
        let allowance = Allowance::EnlightenedVersion1 { perf_global_ctrl: false };
        let negotiated = negotiate(Controls::default(), wanted, &capabilities, allowance).unwrap();
        assert_eq!(
            negotiated.dropped.to_string(),
            "secondary control use_tsc_scaling: the processor does not have it\n\
             pin-based control activate_vmx_preemption_timer: it has no place in the enlightened VMCS\n\
             primary control activate_tertiary_controls: it has no place in the enlightened VMCS\n\
             secondary control enable_pml: it has no place in the enlightened VMCS\n\
             tertiary control ipi_virtualization: it has no place in the enlightened VMCS\n\
             VM-entry control load_ia32_rtit_ctl: it has no place in the enlightened VMCS\n\
             VM-exit control load_ia32_perf_global_ctrl: L0 does not allow it in an enlightened VMCS\n\
             VM-entry control load_ia32_perf_global_ctrl: L0 does not allow it in an enlightened VMCS"
        );
        let used = Controls {
            pin_based: PinBasedControls::new().with_nmi_exiting(true),
            primary: PrimaryControls::new().with_activate_secondary_controls(true),
            ..Controls::default()
        };
        assert_eq!(negotiated.controls, used);
        let all_of_it = negotiate(Controls::default(), wanted, &everything(), Allowance::Native).unwrap();
        assert_eq!(
            (all_of_it.controls, all_of_it.dropped.to_string().as_str()),
            (with_activation(wanted), "")
        );
    }

    #[test]
    fn each_missing_control_is_named_with_what_to_do() {
        let required = secondary(SecondaryControls::new().with_enable_ept(true).with_enable_pml(true));
        let missing = negotiate(required, Controls::default(), &everything(), ENLIGHTENED).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "secondary control enable_pml: it has no place in the enlightened VMCS\n\
             these are required: turn the enlightened VMCS off"
        );
    }

    #[test]
    fn what_the_processor_insists_on_needs_its_place_too() {
        let mut capabilities = everything();
        capabilities.mandatory.secondary.set_enable_pml(true);
        let nothing = Controls::default();
        let missing = negotiate(nothing, nothing, &capabilities, ENLIGHTENED).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "secondary control enable_pml: it has no place in the enlightened VMCS\n\
             these are required: turn the enlightened VMCS off"
        );
        negotiate(nothing, nothing, &capabilities, Allowance::Native).unwrap();
        capabilities.mandatory = Controls { exit: perf_global_ctrl(), ..nothing };
        let withheld = Allowance::EnlightenedVersion1 { perf_global_ctrl: false };
        let missing = negotiate(nothing, nothing, &capabilities, withheld).unwrap_err();
        assert_eq!(missing.0.withheld.exit, perf_global_ctrl());
        negotiate(nothing, nothing, &capabilities, ENLIGHTENED).unwrap();
    }

    fn perf_global_ctrl() -> ExitControls {
        ExitControls::new().with_load_ia32_perf_global_ctrl(true)
    }

    /// The reserved bits that processors want set (SDM Vol. 3D, appendix A, "default1").
    #[test]
    fn reserved_bits_that_the_processor_insists_on_need_no_place() {
        let insisting = Capabilities::read(&|msr| match msr {
            0x480 => 0,
            0x481 => u64::from(u32::MAX) << 32 | 0x16,
            0x482 => u64::from(u32::MAX) << 32 | 0x0401_e172,
            0x483 => u64::from(u32::MAX) << 32 | 0x0003_6dff,
            0x484 => u64::from(u32::MAX) << 32 | 0x11ff,
            _ => u64::from(u32::MAX) << 32,
        });
        let used = negotiate(Controls::default(), Controls::default(), &insisting, ENLIGHTENED).unwrap();
        assert_eq!(used.controls, insisting.mandatory);
    }

    fn any_controls() -> impl Strategy<Value = Controls> {
        any::<([u32; 5], u64)>().prop_map(|([pin_based, primary, secondary, exit, entry], tertiary)| {
            Controls {
                pin_based: PinBasedControls::from_bits(pin_based),
                primary: PrimaryControls::from_bits(primary),
                secondary: SecondaryControls::from_bits(secondary),
                tertiary: TertiaryControls::from_bits(tertiary),
                exit: ExitControls::from_bits(exit),
                entry: EntryControls::from_bits(entry),
            }
        })
    }

    proptest! {
        /// Whatever a processor claims: all that is required is there or an error, all that is wanted is used or
        /// reported, and nothing is used that was not asked for or demanded.
        #[test]
        fn nothing_is_lost_and_nothing_is_added(
            required in any_controls(),
            wanted in any_controls(),
            settable in any_controls(),
            mandatory in any_controls(),
            enlightened: Option<bool>,
        ) {
            let allowance = match enlightened {
                None => Allowance::Native,
                Some(perf_global_ctrl) => Allowance::EnlightenedVersion1 { perf_global_ctrl },
            };
            // Few random requirements can be met.
            let required = required.intersection(settable).intersection(allowance.with_place());
            let capabilities = Capabilities { settable, mandatory };
            match negotiate(required, wanted, &capabilities, allowance) {
                Err(missing) => prop_assert!(!missing.0.controls().is_empty()),
                Ok(Negotiated { controls, dropped }) => {
                    prop_assert!(required.difference(controls).is_empty());
                    prop_assert!(wanted.difference(controls.union(dropped.controls())).is_empty());
                    let asked = with_activation(required.union(wanted));
                    prop_assert!(controls.difference(asked.union(mandatory)).is_empty());
                    let usable = settable.intersection(allowance.with_place()).difference(allowance.withheld());
                    prop_assert!(controls.difference(usable.union(mandatory)).is_empty());
                    let has_place = allowance.with_place().difference(allowance.withheld());
                    prop_assert!(controls.named().difference(has_place).is_empty());
                }
            }
        }
    }
}
