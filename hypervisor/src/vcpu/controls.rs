// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which VMX controls a vCPU runs with.

use evmcs::controls::Capabilities;
use evmcs::controls::Controls;
use evmcs::controls::EntryControls;
use evmcs::controls::ExitControls;
use evmcs::controls::PinBasedControls;
use evmcs::controls::PrimaryControls;
use evmcs::controls::SecondaryControls;

/// What a guest cannot be run without.
#[must_use]
pub fn required() -> Controls {
    Controls {
        pin_based: PinBasedControls::new()
            .with_external_interrupt_exiting(true)
            .with_nmi_exiting(true)
            .with_virtual_nmis(true),
        primary: PrimaryControls::new()
            .with_use_tsc_offsetting(true)
            .with_hlt_exiting(true)
            .with_mwait_exiting(true)
            .with_monitor_exiting(true)
            .with_rdpmc_exiting(true)
            .with_cr8_load_exiting(true)
            .with_cr8_store_exiting(true)
            .with_unconditional_io_exiting(true)
            .with_use_msr_bitmaps(true),
        secondary: SecondaryControls::new().with_enable_ept(true).with_unrestricted_guest(true),
        exit: ExitControls::new()
            .with_save_debug_controls(true)
            .with_host_address_space_size(true)
            .with_load_ia32_pat(true)
            .with_save_ia32_efer(true)
            .with_load_ia32_efer(true),
        entry: EntryControls::new()
            .with_load_debug_controls(true)
            .with_load_ia32_pat(true)
            .with_load_ia32_efer(true),
        ..Controls::default()
    }
}

/// PAUSEs that are at most this many ticks of the TSC apart are of one loop: PLE_GAP (SDM vol. 3, "Controls for PAUSE-Loop
/// Exiting").
pub const PAUSE_LOOP_GAP: u32 = 128;
/// A loop of PAUSEs that lasts longer than this many ticks exits: PLE_WINDOW. A spin lock that is held for longer is one whose
/// owner does not run.
pub const PAUSE_LOOP_WINDOW: u32 = 4096;

/// What is used where there is such a thing.
#[must_use]
pub fn wanted() -> Controls {
    Controls {
        secondary: SecondaryControls::new()
            .with_wbinvd_exiting(true)
            .with_enable_vpid(true)
            .with_enable_rdtscp(true)
            .with_enable_invpcid(true)
            .with_use_tsc_scaling(true)
            .with_pause_loop_exiting(true)
            .with_virtualize_apic_accesses(true)
            .with_virtualize_x2apic_mode(true)
            .with_apic_register_virtualization(true)
            .with_virtual_interrupt_delivery(true),
        primary: PrimaryControls::new().with_use_tpr_shadow(true),
        ..Controls::default()
    }
}

/// What vCPUs run with that have a CPU each, of the negotiated `controls`: who spins there keeps nobody from running.
#[must_use]
pub fn undisturbed(controls: Controls) -> Controls {
    Controls { secondary: controls.secondary.with_pause_loop_exiting(false), ..controls }
}

/// What vCPUs run with that share CPUs with others, of the negotiated `controls`.
///
/// Somebody who spins must give the CPU away, or the owner of the lock waits for the end of a time slice. Where loops of
/// PAUSE do not exit, each PAUSE has to: that costs much more, and so it is left to those who need it.
#[must_use]
pub fn overcommitted(controls: Controls, capabilities: &Capabilities) -> Controls {
    let settable = capabilities.settable.primary.pause_exiting();
    let each = settable && !controls.secondary.pause_loop_exiting();
    Controls { primary: controls.primary.with_pause_exiting(each), ..controls }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evmcs::controls::Allowance;
    use evmcs::controls::negotiate;

    /// A processor that has all that is required and wanted, and of PAUSE's what is told.
    fn capabilities(loops: bool, each: bool) -> Capabilities {
        let (required, mut settable) = (required(), wanted());
        settable.pin_based = required.pin_based;
        settable.primary = required.primary.with_pause_exiting(each).with_activate_secondary_controls(true);
        settable.secondary =
            SecondaryControls::from_bits(settable.secondary.into_bits() | required.secondary.into_bits())
                .with_pause_loop_exiting(loops);
        settable.exit = required.exit;
        settable.entry = required.entry;
        Capabilities { mandatory: Controls::default(), settable }
    }

    /// What exits: loops of PAUSE, and each.
    fn exits(loops: bool, each: bool, shares: bool) -> (bool, bool) {
        let capabilities = capabilities(loops, each);
        let negotiated = negotiate(required(), wanted(), &capabilities, Allowance::Native)
            .expect("all is there that is required");
        let negotiated = negotiated.controls;
        let controls =
            if shares { overcommitted(negotiated, &capabilities) } else { undisturbed(negotiated) };
        (controls.secondary.pause_loop_exiting(), controls.primary.pause_exiting())
    }

    #[test]
    fn loops_of_pause_exit_where_cpus_are_shared_and_the_processor_tells_them() {
        assert_eq!(exits(true, true, false), (false, false));
        assert_eq!(exits(true, true, true), (true, false));
    }

    #[test]
    fn each_pause_exits_only_where_cpus_are_shared_and_loops_are_not_told() {
        assert_eq!(exits(false, true, false), (false, false));
        assert_eq!(exits(false, true, true), (false, true));
        assert_eq!(exits(false, false, true), (false, false));
    }
}
