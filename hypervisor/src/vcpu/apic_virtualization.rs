// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who plays the vCPU's local APIC: the processor, where it can and the APIC is in xAPIC mode, else software by exits (SDM
//! vol. 3, "APIC Virtualization and Virtual Interrupts").

use crate::vcpu::end::End;
use crate::vcpu::exits;
use crate::vcpu::guest::Guest;
use crate::vmx::exit::ApicAccessQualification;
use evmcs::controls::Controls;
use evmcs::controls::PrimaryControls;
use evmcs::controls::SecondaryControls;
use evmcs::field;

/// Whether a processor with these controls plays a local APIC. One that has only some of them does not.
#[must_use]
pub fn is_complete(controls: &Controls) -> bool {
    let secondary = controls.secondary;
    controls.primary.use_tpr_shadow()
        && secondary.virtualize_apic_accesses()
        && secondary.apic_register_virtualization()
        && secondary.virtual_interrupt_delivery()
}

/// Those controls, with all that it takes, or nothing of it.
#[must_use]
pub fn with(controls: Controls, on: bool) -> Controls {
    Controls {
        primary: primary(controls.primary, on),
        secondary: secondary(controls.secondary, on),
        ..controls
    }
}

fn primary(controls: PrimaryControls, on: bool) -> PrimaryControls {
    controls.with_use_tpr_shadow(on).with_cr8_load_exiting(!on).with_cr8_store_exiting(!on)
}

fn secondary(controls: SecondaryControls, on: bool) -> SecondaryControls {
    controls
        .with_virtualize_apic_accesses(on)
        .with_apic_register_virtualization(on)
        .with_virtual_interrupt_delivery(on)
}

impl Guest<'_> {
    /// Has the processor play the local APIC if its mode allows that, and not otherwise. At RESET, and when the mode may have
    /// changed.
    pub fn settle_apic(&mut self) {
        let Some(access_page) = self.machine.apic_access_page else { return };
        let virtual_page = self.state.apic.virtual_page();
        if let Some(address) = virtual_page {
            self.vmcs.write(field::VIRTUAL_APIC_ADDRESS, address);
            self.vmcs.write(field::APIC_ACCESS_ADDRESS, access_page);
            self.vmcs.write(field::TPR_THRESHOLD, 0);
            self.tell_requests();
        }
        let played = virtual_page.is_some();
        let old = PrimaryControls::from_bits(self.vmcs.read(field::PRIMARY_PROCESSOR_BASED_CONTROLS));
        self.vmcs.write(field::PRIMARY_PROCESSOR_BASED_CONTROLS, primary(old, played).into_bits());
        let old = SecondaryControls::from_bits(self.vmcs.read(field::SECONDARY_PROCESSOR_BASED_CONTROLS));
        self.vmcs.write(field::SECONDARY_PROCESSOR_BASED_CONTROLS, secondary(old, played).into_bits());
        self.state.note_apic_played(played);
    }

    /// Tells the processor what is requested, if we have changed that. It delivers by itself.
    pub(super) fn offer_interrupts(&mut self) {
        if self.state.apic.take_changed_requests() {
            self.tell_requests();
        }
    }

    fn tell_requests(&mut self) {
        self.vmcs.write(field::GUEST_INTERRUPT_STATUS, self.state.apic.interrupt_status());
        let [first, second, third, fourth] = self.state.apic.eoi_exits();
        self.vmcs.write(field::EOI_EXIT_BITMAP_0, first);
        self.vmcs.write(field::EOI_EXIT_BITMAP_1, second);
        self.vmcs.write(field::EOI_EXIT_BITMAP_2, third);
        self.vmcs.write(field::EOI_EXIT_BITMAP_3, fourth);
    }

    /// The guest has written to a register, in the page, and what comes of it is ours. It is behind the instruction already.
    pub(super) fn apic_written(&mut self) {
        let offset = ApicAccessQualification::from(self.vmcs.read(field::EXIT_QUALIFICATION)).offset();
        let now = self.state.tsc.now();
        let effect = self.state.apic.written(offset, now);
        self.carry_out(effect);
    }

    /// The guest has ended the handling of a level-triggered interrupt. It is behind the instruction already.
    pub(super) fn end_played_interrupt(&mut self) {
        let vector = self.vmcs.read(field::EXIT_QUALIFICATION) as u8;
        for message in self.machine.end_of_interrupt(vector) {
            self.machine.posts.send(message, None);
        }
    }

    /// The guest touches a register that the processor leaves to us.
    pub(super) fn access_apic(&mut self) -> Result<(), End> {
        let qualification = ApicAccessQualification::from(self.vmcs.read(field::EXIT_QUALIFICATION));
        exits::access_apic(self, qualification)
    }
}
