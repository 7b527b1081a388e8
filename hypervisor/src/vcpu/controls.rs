// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which VMX controls a vCPU runs with.

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

/// What is used where there is such a thing.
#[must_use]
pub fn wanted() -> Controls {
    Controls {
        secondary: SecondaryControls::new()
            .with_wbinvd_exiting(true)
            .with_enable_vpid(true)
            .with_enable_rdtscp(true)
            .with_enable_invpcid(true),
        ..Controls::default()
    }
}
