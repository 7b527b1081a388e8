// SPDX-License-Identifier: MIT OR Apache-2.0
//! The six control words, bit by bit, with the names that the SDM gives to the bits.

#![expect(
    clippy::result_unit_err,
    reason = "the checked setters that bitfield-struct makes, seen through our macro"
)]

use bitfield_struct::bitfield;

/// Declares a control word from the names of its bits, lowest first, `__` being one that is reserved.
macro_rules! control_word {
    ($(#[$doc:meta])* $word:ident($type:ident) { $($bit:ident)* $(, reserved $above:literal)? }) => {
        $(#[$doc])*
        #[bitfield($type)]
        #[derive(PartialEq, Eq)]
        pub struct $word {
            $(
                #[doc = concat!("The control \"", stringify!($bit), "\".")]
                pub $bit: bool,
            )*
            $(#[bits($above)] __: $type,)?
        }

        impl $word {
            /// The names of the bits, lowest first.
            const BIT_NAMES: &[&str] = &[$(stringify!($bit)),*];
        }
    };
}

control_word! {
    /// Pin-based VM-execution controls (SDM Vol. 3C, *Pin-Based VM-Execution Controls*).
    PinBasedControls(u32) {
        external_interrupt_exiting __ __ nmi_exiting __ virtual_nmis activate_vmx_preemption_timer
        process_posted_interrupts, reserved 24
    }
}

control_word! {
    /// Primary processor-based VM-execution controls (SDM Vol. 3C, *Processor-Based VM-Execution Controls*).
    PrimaryControls(u32) {
        __ __ interrupt_window_exiting use_tsc_offsetting __ __ __ hlt_exiting
        __ invlpg_exiting mwait_exiting rdpmc_exiting rdtsc_exiting __ __ cr3_load_exiting
        cr3_store_exiting activate_tertiary_controls __ cr8_load_exiting cr8_store_exiting use_tpr_shadow
        nmi_window_exiting mov_dr_exiting
        unconditional_io_exiting use_io_bitmaps __ monitor_trap_flag use_msr_bitmaps monitor_exiting pause_exiting
        activate_secondary_controls
    }
}

control_word! {
    /// Secondary processor-based VM-execution controls (SDM Vol. 3C, *Processor-Based VM-Execution Controls*).
    SecondaryControls(u32) {
        virtualize_apic_accesses enable_ept descriptor_table_exiting enable_rdtscp virtualize_x2apic_mode enable_vpid
        wbinvd_exiting unrestricted_guest
        apic_register_virtualization virtual_interrupt_delivery pause_loop_exiting rdrand_exiting enable_invpcid
        enable_vm_functions vmcs_shadowing enable_encls_exiting
        rdseed_exiting enable_pml ept_violation_ve conceal_vmx_from_pt enable_xsaves_xrstors pasid_translation
        mode_based_execute_control_for_ept sub_page_write_permissions_for_ept
        intel_pt_uses_guest_physical_addresses use_tsc_scaling enable_user_wait_and_pause enable_pconfig
        enable_enclv_exiting __ vmm_bus_lock_detection instruction_timeout
    }
}

control_word! {
    /// Tertiary processor-based VM-execution controls (SDM Vol. 3C, *Processor-Based VM-Execution Controls*).
    TertiaryControls(u64) {
        loadiwkey_exiting enable_hlat ept_paging_write_control guest_paging_verification ipi_virtualization __
        enable_msr_list_instructions virtualize_ia32_spec_ctrl, reserved 56
    }
}

control_word! {
    /// Primary VM-exit controls (SDM Vol. 3C, *VM-Exit Controls*).
    ExitControls(u32) {
        __ __ save_debug_controls __ __ __ __ __
        __ host_address_space_size __ __ load_ia32_perf_global_ctrl __ __ acknowledge_interrupt_on_exit
        __ __ save_ia32_pat load_ia32_pat save_ia32_efer load_ia32_efer save_vmx_preemption_timer_value
        clear_ia32_bndcfgs
        conceal_vmx_from_pt clear_ia32_rtit_ctl clear_ia32_lbr_ctl clear_uinv load_cet_state load_pkrs
        save_ia32_perf_global_ctl activate_secondary_controls
    }
}

control_word! {
    /// VM-entry controls (SDM Vol. 3C, *VM-Entry Controls*).
    EntryControls(u32) {
        __ __ load_debug_controls __ __ __ __ __
        __ ia32e_mode_guest entry_to_smm deactivate_dual_monitor_treatment __ load_ia32_perf_global_ctrl load_ia32_pat
        load_ia32_efer
        load_ia32_bndcfgs conceal_vmx_from_pt load_ia32_rtit_ctl load_uinv load_cet_state load_guest_ia32_lbr_ctl
        load_pkrs, reserved 9
    }
}

/// All control words of a VMCS; also a set of controls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controls {
    /// Pin-based VM-execution controls.
    pub pin_based: PinBasedControls,
    /// Primary processor-based VM-execution controls.
    pub primary: PrimaryControls,
    /// Secondary processor-based VM-execution controls.
    pub secondary: SecondaryControls,
    /// Tertiary processor-based VM-execution controls.
    pub tertiary: TertiaryControls,
    /// VM-exit controls.
    pub exit: ExitControls,
    /// VM-entry controls.
    pub entry: EntryControls,
}

/// Name of each word and names of its bits, in the order of [`Controls::words`].
const NAMES: [(&str, &[&str]); 6] = [
    ("pin-based", PinBasedControls::BIT_NAMES),
    ("primary", PrimaryControls::BIT_NAMES),
    ("secondary", SecondaryControls::BIT_NAMES),
    ("tertiary", TertiaryControls::BIT_NAMES),
    ("VM-exit", ExitControls::BIT_NAMES),
    ("VM-entry", EntryControls::BIT_NAMES),
];

fn named_bits(bit_names: &[&str]) -> u64 {
    bit_names.iter().rev().fold(0, |bits, &name| bits << 1 | u64::from(name != "__"))
}

impl Controls {
    /// Every bit of every word.
    pub(super) const EVERYTHING: Self = Self::from_words([u64::MAX; 6]);

    /// The controls of the set that have a name: not the bits that are reserved.
    pub(super) fn named(self) -> Self {
        Self::from_words(core::array::from_fn(|word| self.words()[word] & named_bits(NAMES[word].1)))
    }

    const fn words(self) -> [u64; 6] {
        [
            self.pin_based.into_bits() as u64,
            self.primary.into_bits() as u64,
            self.secondary.into_bits() as u64,
            self.tertiary.into_bits(),
            self.exit.into_bits() as u64,
            self.entry.into_bits() as u64,
        ]
    }

    const fn from_words([pin_based, primary, secondary, tertiary, exit, entry]: [u64; 6]) -> Self {
        Self {
            pin_based: PinBasedControls::from_bits(pin_based as u32),
            primary: PrimaryControls::from_bits(primary as u32),
            secondary: SecondaryControls::from_bits(secondary as u32),
            tertiary: TertiaryControls::from_bits(tertiary),
            exit: ExitControls::from_bits(exit as u32),
            entry: EntryControls::from_bits(entry as u32),
        }
    }

    fn combine(self, other: Self, operation: fn(u64, u64) -> u64) -> Self {
        let (left, right) = (self.words(), other.words());
        Self::from_words(core::array::from_fn(|i| operation(left[i], right[i])))
    }

    /// The controls that are in one of the two sets or in both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        self.combine(other, |left, right| left | right)
    }

    /// The controls that are in both sets.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        self.combine(other, |left, right| left & right)
    }

    /// The controls that are in this set but not in the other.
    #[must_use]
    pub fn difference(self, other: Self) -> Self {
        self.combine(other, |left, right| left & !right)
    }

    /// Whether no bit is set.
    pub fn is_empty(self) -> bool {
        self.words() == [0; 6]
    }

    /// Calls `each` with the names of the word and of the bit of each control in the set. A reserved bit is `__`.
    pub(super) fn for_each_name<E>(self, mut each: impl FnMut(&str, &str) -> Result<(), E>) -> Result<(), E> {
        for (word, (word_name, bit_names)) in self.words().into_iter().zip(NAMES) {
            for bit in (0..u64::BITS).filter(|bit| word & (1 << bit) != 0) {
                each(word_name, bit_names.get(bit as usize).unwrap_or(&"__"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_where_the_sdm_has_them() {
        let bits: &[(u64, u32)] = &[
            (PinBasedControls::new().with_nmi_exiting(true).into_bits().into(), 3),
            (PinBasedControls::new().with_virtual_nmis(true).into_bits().into(), 5),
            (PinBasedControls::new().with_process_posted_interrupts(true).into_bits().into(), 7),
            (PrimaryControls::new().with_use_tsc_offsetting(true).into_bits().into(), 3),
            (PrimaryControls::new().with_hlt_exiting(true).into_bits().into(), 7),
            (PrimaryControls::new().with_cr3_load_exiting(true).into_bits().into(), 15),
            (PrimaryControls::new().with_activate_tertiary_controls(true).into_bits().into(), 17),
            (PrimaryControls::new().with_mov_dr_exiting(true).into_bits().into(), 23),
            (PrimaryControls::new().with_use_msr_bitmaps(true).into_bits().into(), 28),
            (PrimaryControls::new().with_activate_secondary_controls(true).into_bits().into(), 31),
            (SecondaryControls::new().with_unrestricted_guest(true).into_bits().into(), 7),
            (SecondaryControls::new().with_enable_invpcid(true).into_bits().into(), 12),
            (SecondaryControls::new().with_enable_pml(true).into_bits().into(), 17),
            (SecondaryControls::new().with_mode_based_execute_control_for_ept(true).into_bits().into(), 22),
            (SecondaryControls::new().with_use_tsc_scaling(true).into_bits().into(), 25),
            (SecondaryControls::new().with_instruction_timeout(true).into_bits().into(), 31),
            (TertiaryControls::new().with_ipi_virtualization(true).into_bits(), 4),
            (TertiaryControls::new().with_virtualize_ia32_spec_ctrl(true).into_bits(), 7),
            (ExitControls::new().with_host_address_space_size(true).into_bits().into(), 9),
            (ExitControls::new().with_acknowledge_interrupt_on_exit(true).into_bits().into(), 15),
            (ExitControls::new().with_clear_ia32_bndcfgs(true).into_bits().into(), 23),
            (ExitControls::new().with_load_cet_state(true).into_bits().into(), 28),
            (ExitControls::new().with_activate_secondary_controls(true).into_bits().into(), 31),
            (EntryControls::new().with_ia32e_mode_guest(true).into_bits().into(), 9),
            (EntryControls::new().with_load_ia32_efer(true).into_bits().into(), 15),
            (EntryControls::new().with_load_pkrs(true).into_bits().into(), 22),
        ];
        for &(word, bit) in bits {
            assert_eq!(word, 1 << bit);
        }
    }
}
