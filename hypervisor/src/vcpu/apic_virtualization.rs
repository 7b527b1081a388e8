// SPDX-License-Identifier: MIT OR Apache-2.0
//! What of a vCPU's local APIC the processor plays, and what comes to software by exits (SDM vol. 3, "APIC Virtualization and
//! Virtual Interrupts").
//!
//! | control                       | here it is on                                                     |
//! |-------------------------------|-------------------------------------------------------------------|
//! | use TPR shadow                | where there is such, unless the APIC is disabled; alone, once the guest has used CR8 often |
//! | virtualize APIC accesses      | where there is such, but with the next: the page is no memory     |
//! | virtualize x2APIC mode        | where all five are and may be used, in x2APIC mode                |
//! | APIC-register virtualization, virtual-interrupt delivery | where all five are, unless the APIC is disabled |
//!
//! In x2APIC mode accesses to the page are not virtualized then, and it is a page of the machine's memory that means nothing. The
//! MSRs that the processor plays do not exit: a bitmap of its own is for vCPUs in that mode, since without the control these MSRs
//! would be the CPU's own.

use crate::irqchip::local_apic::END_OF_INTERRUPT;
use crate::irqchip::local_apic::Effect;
use crate::irqchip::local_apic::LocalApic;
use crate::irqchip::local_apic::Part;
use crate::vcpu::end::End;
use crate::vcpu::exits;
use crate::vcpu::guest::Guest;
use crate::vmx::exit::ApicAccessQualification;
use evmcs::controls::Controls;
use evmcs::controls::PrimaryControls;
use evmcs::controls::SecondaryControls;
use evmcs::field;

/// What of a local APIC a processor with these controls plays.
#[must_use]
pub fn part(controls: &Controls) -> Option<Part> {
    let secondary = controls.secondary;
    let whole = secondary.virtualize_x2apic_mode()
        && secondary.apic_register_virtualization()
        && secondary.virtual_interrupt_delivery();
    match () {
        () if !controls.primary.use_tpr_shadow() => None,
        () if !secondary.virtualize_apic_accesses() => Some(Part::Cr8),
        () if whole => Some(Part::Whole),
        () => Some(Part::TaskPriority),
    }
}

/// Those controls, with what it takes to play that part, as far as they had it, and no more.
#[must_use]
pub fn limited(controls: Controls, part: Option<Part>) -> Controls {
    let accesses = controls.secondary.virtualize_apic_accesses() && part > Some(Part::Cr8);
    Controls {
        primary: primary(controls.primary, part.is_some()),
        secondary: secondary(controls.secondary, part == Some(Part::Whole))
            .with_virtualize_apic_accesses(accesses)
            .with_virtualize_x2apic_mode(part == Some(Part::Whole)),
        ..controls
    }
}

/// Those controls, for the mode that the APIC is in now, of a machine that has a page for accesses to it, or not.
fn settled(controls: SecondaryControls, apic: &LocalApic, has_access_page: bool) -> SecondaryControls {
    let by_msrs = apic.is_played_by_msrs();
    secondary(controls, apic.is_played())
        .with_virtualize_apic_accesses(has_access_page && !by_msrs)
        .with_virtualize_x2apic_mode(by_msrs)
}

fn primary(controls: PrimaryControls, shadow: bool) -> PrimaryControls {
    controls.with_use_tpr_shadow(shadow).with_cr8_load_exiting(!shadow).with_cr8_store_exiting(!shadow)
}

fn secondary(controls: SecondaryControls, whole: bool) -> SecondaryControls {
    controls.with_apic_register_virtualization(whole).with_virtual_interrupt_delivery(whole)
}

impl Guest<'_> {
    /// Has the processor play of the local APIC what its mode allows. At RESET and INIT, and when the mode has changed.
    pub fn settle_apic(&mut self) {
        self.state.apic_mode = self.state.apic.mode();
        if let Some(page) = self.machine.apic_access_page {
            self.vmcs.write(field::APIC_ACCESS_ADDRESS, page);
        }
        let page = self.state.apic.virtual_page();
        if let Some(page) = page {
            self.vmcs.write(field::VIRTUAL_APIC_ADDRESS, page);
            self.vmcs.write(field::TPR_THRESHOLD, 0);
        }
        let old = PrimaryControls::from_bits(self.vmcs.read(field::PRIMARY_PROCESSOR_BASED_CONTROLS));
        let new = primary(old, page.is_some());
        self.vmcs.write(field::PRIMARY_PROCESSOR_BASED_CONTROLS, new.into_bits());
        if self.state.apic.is_played() {
            self.tell_requests();
            self.tell_ends();
        }
        let msr_bitmap = self.machine.msr_bitmap.address(self.state.apic.is_played_by_msrs());
        self.vmcs.write(field::MSR_BITMAP_ADDRESS, msr_bitmap);
        let old = SecondaryControls::from_bits(self.vmcs.read(field::SECONDARY_PROCESSOR_BASED_CONTROLS));
        let new = settled(old, &self.state.apic, self.machine.apic_access_page.is_some());
        self.vmcs.write(field::SECONDARY_PROCESSOR_BASED_CONTROLS, new.into_bits());
        if new.virtualize_apic_accesses() && !old.virtualize_apic_accesses() {
            // The page may be cached as memory (SDM vol. 3, "Issues Pertaining to Page Size and TLB Management").
            self.state.flush_linear();
            self.state.flush_guest_physical = true;
        }
    }

    /// The guest has accessed CR8, which exits: perhaps it is to do so no more.
    pub(super) fn note_cr8_exit(&mut self) {
        if self.state.apic.note_cr8_exit() {
            self.settle_apic();
            self.state.attention = true;
        }
    }

    /// Has the guest exit when it lowers its task priority so far that an interrupt can be taken. Before each entry that may be
    /// the first with another priority: an entry with a threshold above it fails (SDM vol. 3, "VM-Execution Control Fields").
    pub(super) fn watch_task_priority(&mut self) {
        if self.state.apic.virtual_page().is_none() {
            return;
        }
        let threshold = self.state.apic.task_priority_threshold();
        if self.vmcs.read(field::TPR_THRESHOLD) != threshold {
            self.vmcs.write(field::TPR_THRESHOLD, threshold);
        }
    }

    /// Tells the processor what is requested, if we have changed that. It delivers by itself.
    pub(super) fn offer_interrupts(&mut self) {
        if self.state.apic.take_changed_requests() {
            self.tell_requests();
        }
        if self.state.apic.take_changed_ends() {
            self.tell_ends();
        }
    }

    fn tell_requests(&mut self) {
        self.vmcs.write(field::GUEST_INTERRUPT_STATUS, self.state.apic.interrupt_status());
    }

    #[cold]
    fn tell_ends(&mut self) {
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
        let is_eoi = qualification.offset() == END_OF_INTERRUPT
            && qualification.kind() == ApicAccessQualification::WRITE;
        if is_eoi && self.is_at_known_store() {
            self.end_interrupt();
            return Ok(());
        }
        exits::access_apic(self, qualification)
    }

    fn end_interrupt(&mut self) {
        self.advance();
        // The time does not matter to this register.
        let effect = self.state.apic.mmio_write(END_OF_INTERRUPT, 0, 0);
        if effect == Effect::None && !self.state.apic.has_requests() {
            // It has become less busy, and that is all.
            self.publish_address();
        } else {
            self.carry_out(effect);
        }
    }

    /// Whether the instruction is the one that ended an interrupt last. An EOI's value does not matter, and so that instruction
    /// need not be fetched and decoded again. The length that the exit tells is not defined for this reason (SDM vol. 3,
    /// "Information for VM Exits Due to Instruction Execution"): it is believed where it is as it was decoded.
    fn is_at_known_store(&self) -> bool {
        self.state.eoi_store.is_some_and(|(rip, length)| {
            rip == self.vmcs.read(field::GUEST_RIP)
                && length == self.vmcs.read(field::VM_EXIT_INSTRUCTION_LENGTH)
        })
    }
}

#[cfg(test)]
mod tests;
