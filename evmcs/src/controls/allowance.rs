// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which controls a backing has a place for.

use super::words::Controls;
use super::words::EntryControls;
use super::words::ExitControls;
use super::words::PinBasedControls;
use super::words::PrimaryControls;
use super::words::SecondaryControls;
use super::words::TertiaryControls;

/// The controls that can be used on a backing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// All: the VMCS is the processor's.
    Native,
    /// Those that the enlightened VMCS, version 1, has a place for.
    EnlightenedVersion1 {
        /// L0 lets entry and exit switch IA32_PERF_GLOBAL_CTRL: CPUID leaf 0x4000000A EBX bit 0.
        perf_global_ctrl: bool,
    },
}

impl Allowance {
    /// The controls whose fields the backing has.
    pub(super) fn with_place(self) -> Controls {
        match self {
            Self::Native => Controls::EVERYTHING,
            Self::EnlightenedVersion1 { .. } => VERSION_1,
        }
    }

    /// The controls that have a place, but that this L0 does not let us use.
    pub(super) fn withheld(self) -> Controls {
        match self {
            Self::Native | Self::EnlightenedVersion1 { perf_global_ctrl: true } => Controls::default(),
            Self::EnlightenedVersion1 { perf_global_ctrl: false } => Controls {
                exit: ExitControls::new().with_load_ia32_perf_global_ctrl(true),
                entry: EntryControls::new().with_load_ia32_perf_global_ctrl(true),
                ..Controls::default()
            },
        }
    }
}

/// What version 1 has a place for. A control that is not named is not used: with an older L0 nobody can tell what it
/// would do.
///
/// Missing for want of a field: preemption timer, posted interrupts, APIC-access page, virtual-interrupt delivery and
/// with it APIC-register virtualization, PML, VM functions, VMCS shadowing, PAUSE-loop exiting, #VE, instruction
/// timeout, and to load IA32_RTIT_CTL on entry. The tertiary controls have a field now, but their own fields do not.
const VERSION_1: Controls = Controls {
    pin_based: PinBasedControls::new()
        .with_external_interrupt_exiting(true)
        .with_nmi_exiting(true)
        .with_virtual_nmis(true),
    primary: PrimaryControls::from_bits(
        !PrimaryControls::new().with_activate_tertiary_controls(true).into_bits(),
    ),
    secondary: SecondaryControls::new()
        .with_enable_ept(true)
        .with_descriptor_table_exiting(true)
        .with_enable_rdtscp(true)
        .with_virtualize_x2apic_mode(true)
        .with_enable_vpid(true)
        .with_wbinvd_exiting(true)
        .with_unrestricted_guest(true)
        .with_rdrand_exiting(true)
        .with_enable_invpcid(true)
        .with_enable_encls_exiting(true)
        .with_rdseed_exiting(true)
        .with_conceal_vmx_from_pt(true)
        .with_enable_xsaves_xrstors(true)
        .with_intel_pt_uses_guest_physical_addresses(true)
        .with_use_tsc_scaling(true)
        .with_enable_user_wait_and_pause(true)
        .with_vmm_bus_lock_detection(true),
    tertiary: TertiaryControls::new(),
    exit: ExitControls::new()
        .with_save_debug_controls(true)
        .with_host_address_space_size(true)
        .with_load_ia32_perf_global_ctrl(true)
        .with_acknowledge_interrupt_on_exit(true)
        .with_save_ia32_pat(true)
        .with_load_ia32_pat(true)
        .with_save_ia32_efer(true)
        .with_load_ia32_efer(true)
        .with_clear_ia32_bndcfgs(true)
        .with_conceal_vmx_from_pt(true)
        .with_clear_ia32_rtit_ctl(true),
    entry: EntryControls::new()
        .with_load_debug_controls(true)
        .with_ia32e_mode_guest(true)
        .with_load_ia32_perf_global_ctrl(true)
        .with_load_ia32_pat(true)
        .with_load_ia32_efer(true)
        .with_load_ia32_bndcfgs(true)
        .with_conceal_vmx_from_pt(true),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::*;
    use crate::place::Place;

    #[test]
    fn a_control_of_version_1_has_the_fields_that_it_needs() {
        let Controls { pin_based, primary, secondary, exit, entry, .. } = VERSION_1;
        let needs: &[(bool, &str, Option<Place>)] = &[
            (pin_based.activate_vmx_preemption_timer(), "timer", VMX_PREEMPTION_TIMER_VALUE.place()),
            (pin_based.process_posted_interrupts(), "posted", POSTED_INTERRUPT_DESCRIPTOR_ADDRESS.place()),
            (primary.use_tsc_offsetting(), "TSC offset", TSC_OFFSET.place()),
            (primary.activate_secondary_controls(), "secondary", SECONDARY_PROCESSOR_BASED_CONTROLS.place()),
            (primary.use_tpr_shadow(), "virtual APIC", VIRTUAL_APIC_ADDRESS.place()),
            (primary.use_tpr_shadow(), "TPR threshold", TPR_THRESHOLD.place()),
            (primary.use_io_bitmaps(), "I/O bitmap A", IO_BITMAP_A_ADDRESS.place()),
            (primary.use_io_bitmaps(), "I/O bitmap B", IO_BITMAP_B_ADDRESS.place()),
            (primary.use_msr_bitmaps(), "MSR bitmap", MSR_BITMAP_ADDRESS.place()),
            (secondary.virtualize_apic_accesses(), "APIC access", APIC_ACCESS_ADDRESS.place()),
            (secondary.enable_ept(), "EPT", EPT_POINTER.place()),
            (secondary.enable_vpid(), "VPID", VIRTUAL_PROCESSOR_IDENTIFIER.place()),
            (secondary.virtual_interrupt_delivery(), "delivery", EOI_EXIT_BITMAP_0.place()),
            (secondary.pause_loop_exiting(), "PLE gap", PLE_GAP.place()),
            (secondary.enable_vm_functions(), "VM functions", VM_FUNCTION_CONTROLS.place()),
            (secondary.vmcs_shadowing(), "shadowing", VMREAD_BITMAP_ADDRESS.place()),
            (secondary.enable_encls_exiting(), "ENCLS", ENCLS_EXITING_BITMAP.place()),
            (secondary.enable_pml(), "PML", PML_ADDRESS.place()),
            (secondary.ept_violation_ve(), "#VE", VIRTUALIZATION_EXCEPTION_INFORMATION_ADDRESS.place()),
            (secondary.enable_xsaves_xrstors(), "XSAVES", XSS_EXITING_BITMAP.place()),
            (secondary.pasid_translation(), "PASID", LOW_PASID_DIRECTORY_ADDRESS.place()),
            (
                secondary.sub_page_write_permissions_for_ept(),
                "SPP",
                SUB_PAGE_PERMISSION_TABLE_POINTER.place(),
            ),
            (secondary.use_tsc_scaling(), "TSC multiplier", TSC_MULTIPLIER.place()),
            (secondary.enable_pconfig(), "PCONFIG", PCONFIG_EXITING_BITMAP.place()),
            (secondary.enable_enclv_exiting(), "ENCLV", ENCLV_EXITING_BITMAP.place()),
            (secondary.instruction_timeout(), "timeout", INSTRUCTION_TIMEOUT_CONTROL.place()),
            (exit.load_ia32_perf_global_ctrl(), "host PERF_GLOBAL", HOST_IA32_PERF_GLOBAL_CTRL.place()),
            (exit.load_ia32_pat(), "host PAT", HOST_IA32_PAT.place()),
            (exit.load_ia32_efer(), "host EFER", HOST_IA32_EFER.place()),
            (exit.save_vmx_preemption_timer_value(), "save timer", VMX_PREEMPTION_TIMER_VALUE.place()),
            (exit.clear_uinv(), "UINV", GUEST_UINV.place()),
            (exit.load_pkrs(), "host PKRS", HOST_IA32_PKRS.place()),
            (exit.activate_secondary_controls(), "secondary exit", SECONDARY_VM_EXIT_CONTROLS.place()),
            (entry.load_ia32_perf_global_ctrl(), "PERF_GLOBAL", GUEST_IA32_PERF_GLOBAL_CTRL.place()),
            (entry.load_ia32_pat(), "PAT", GUEST_IA32_PAT.place()),
            (entry.load_ia32_efer(), "EFER", GUEST_IA32_EFER.place()),
            (entry.load_ia32_bndcfgs(), "BNDCFGS", GUEST_IA32_BNDCFGS.place()),
            (entry.load_ia32_rtit_ctl(), "RTIT_CTL", GUEST_IA32_RTIT_CTL.place()),
            (entry.load_uinv(), "UINV", GUEST_UINV.place()),
            (entry.load_pkrs(), "PKRS", GUEST_IA32_PKRS.place()),
        ];
        for (allowed, control, field) in needs {
            assert_eq!(*allowed, field.is_some(), "{control}");
        }
    }
}
