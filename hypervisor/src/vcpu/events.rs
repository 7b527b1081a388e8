// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is delivered with the next entry: an exception, an NMI, or the local APIC's interrupt (SDM vol. 3, "Event Injection").

use crate::architecture::cr0;
use crate::architecture::rflags;
use crate::irqchip::Message;
use crate::irqchip::local_apic::Delivery;
use crate::irqchip::local_apic::LocalSource;
use crate::vcpu::end::End;
use crate::vcpu::exception::Exception;
use crate::vcpu::exits::exception::DEBUG;
use crate::vcpu::guest::BLOCKED_BY_NMI;
use crate::vcpu::guest::BLOCKED_FOR_ONE_INSTRUCTION;
use crate::vcpu::guest::DEBUG_TRAP;
use crate::vcpu::guest::Guest;
use crate::vcpu::state::Activity;
use crate::vcpu::state::External;
use crate::vmx::exit::EventInformation;
use crate::vmx::exit::event;
use evmcs::controls::PrimaryControls;
use evmcs::field;

/// The NMI's vector.
const NMI: u8 = 2;

impl Guest<'_> {
    /// Injects what can be delivered now, and asks for an exit when the rest can be.
    ///
    /// One event an entry; an exception of the instruction comes before interrupts, which then wait for their window.
    pub fn deliver_events(&mut self) {
        self.state.attention = false;
        match self.state.exception.take() {
            Some(exception) => self.inject_exception(exception),
            None if self.inject_nmi() => {}
            None => self.inject_interrupt(),
        }
        let interrupt = if self.state.apic.is_played() {
            self.offer_interrupts();
            self.has_external_interrupt()
        } else {
            self.watch_task_priority();
            self.has_interrupt()
        };
        self.set_windows(interrupt, self.state.nmi);
    }

    /// Takes a message from an I/O APIC or a local APIC that is for this vCPU.
    pub fn accept(&mut self, message: Message) -> Result<(), End> {
        let delivery = self.state.apic.accept(message);
        self.take(delivery)
    }

    /// Looks at the wires to the first vCPU's local APIC: INTR of the 8259As, where LINT0 is not in ExtINT mode.
    pub fn see_wires(&mut self) -> Result<(), End> {
        if self.index() == 0 && self.machine.lines.take_risen() {
            let delivery = self.state.apic.signal(LocalSource::Lint0);
            return self.take(delivery);
        }
        Ok(())
    }

    fn take(&mut self, delivery: Delivery) -> Result<(), End> {
        match delivery {
            Delivery::Interrupt => self.state.attention = true,
            Delivery::Nmi => self.take_nmi(),
            Delivery::Init => return self.take_init(),
            Delivery::StartUp { page } => self.start_up(page),
            // This machine has no system-management mode; and the 8259As are looked at before each injection.
            Delivery::Smi | Delivery::ExtInt | Delivery::Ignored => {}
        }
        Ok(())
    }

    /// An NMI has come. One more that comes before it is delivered is one with it.
    pub(super) fn take_nmi(&mut self) {
        self.state.nmi = true;
        self.state.attention = true;
    }

    /// Whether the guest executes instructions from now on: one that has halted does if something has come that ends HLT.
    pub fn is_awake(&mut self) -> bool {
        if self.state.activity == Activity::Halted && self.has_wake_up() {
            self.state.activity = Activity::Running;
        }
        self.state.activity == Activity::Running
    }

    /// Whether something waits that ends HLT.
    #[must_use]
    pub fn has_wake_up(&self) -> bool {
        let nmi_allowed = || self.vmcs.read(field::GUEST_INTERRUPTIBILITY_STATE) & BLOCKED_BY_NMI == 0;
        let debug_trap = || self.vmcs.read(field::GUEST_PENDING_DEBUG_EXCEPTIONS) & DEBUG_TRAP != 0;
        self.state.exception.is_some()
            || self.has_interrupt() && self.interrupts_enabled()
            || self.state.nmi && nmi_allowed()
            || debug_trap()
    }

    /// Whether the guest takes interrupts.
    #[must_use]
    pub fn interrupts_enabled(&self) -> bool {
        self.vmcs.read(field::GUEST_RFLAGS) & rflags::IF != 0
    }

    fn inject_exception(&mut self, exception: Exception) {
        if let Exception::PageFault { address, .. } = exception {
            self.state.processor.set_cr2(address);
        }
        if let Exception::Intercepted { instruction_length, .. } = exception {
            self.vmcs.write(field::VM_ENTRY_INSTRUCTION_LENGTH, instruction_length);
        }
        let (information, error_code) = exception.information();
        if information.kind() == event::HARDWARE_EXCEPTION && information.vector() != DEBUG {
            // A fault: when its instruction is tried again, a breakpoint on it that has struck does not strike again.
            let rflags = self.vmcs.read(field::GUEST_RFLAGS);
            self.vmcs.write(field::GUEST_RFLAGS, rflags | rflags::RF);
        }
        // In real mode exceptions have no error code, and entry refuses one.
        let protected = self.vmcs.read(field::GUEST_CR0) & cr0::PE != 0;
        match error_code.filter(|_| protected) {
            Some(error_code) => {
                self.vmcs.write(field::VM_ENTRY_EXCEPTION_ERROR_CODE, error_code);
                self.inject(information);
            }
            None => self.inject(information.with_error_code(false)),
        }
    }

    fn inject_nmi(&mut self) -> bool {
        let deliverable =
            self.state.nmi && self.nothing_comes_first(BLOCKED_FOR_ONE_INSTRUCTION | BLOCKED_BY_NMI);
        if deliverable {
            self.state.nmi = false;
            self.inject(EventInformation::new().with_vector(NMI).with_kind(event::NMI).with_valid(true));
        }
        deliverable
    }

    /// Those of the 8259As come first: no priority holds them back.
    fn inject_interrupt(&mut self) {
        let may = |guest: &Self| {
            guest.interrupts_enabled() && guest.nothing_comes_first(BLOCKED_FOR_ONE_INSTRUCTION)
        };
        if self.has_external_interrupt() && may(self) && self.inject_external_interrupt() {
            return;
        }
        if self.state.apic.is_played() {
            // The processor delivers those of the local APIC.
            return;
        }
        let Some(vector) = self.state.apic.pending() else { return };
        if may(self) {
            self.state.apic.acknowledge(vector);
            self.state.external = External::None;
            self.inject_vector(vector);
        }
    }

    /// Takes the vector from the 8259As, unless they have thought better of it.
    fn inject_external_interrupt(&mut self) -> bool {
        let vector = match self.state.external {
            External::Waits(vector) => Some(vector),
            _ => self.machine.lines.acknowledge_external(),
        };
        if let Some(vector) = vector {
            self.state.external = External::Injected(vector);
            self.inject_vector(vector);
        }
        vector.is_some()
    }

    fn inject_vector(&mut self, vector: u8) {
        let kind = event::EXTERNAL_INTERRUPT;
        self.inject(EventInformation::new().with_vector(vector).with_kind(kind).with_valid(true));
    }

    /// Whether there is an interrupt that would be injected, if only the guest took interrupts.
    fn has_interrupt(&self) -> bool {
        self.state.apic.pending().is_some() || self.has_external_interrupt()
    }

    fn has_external_interrupt(&self) -> bool {
        matches!(self.state.external, External::Waits(_))
            || self.machine.lines.external_reaches(self.index(), &self.state.apic)
    }

    /// Whether none of these blocks, and no debug exception of the instruction before waits: that is delivered first (SDM
    /// vol. 3, "Prioritization of Concurrent Events").
    fn nothing_comes_first(&self, blocking: u32) -> bool {
        self.vmcs.read(field::GUEST_INTERRUPTIBILITY_STATE) & blocking == 0
            && self.vmcs.read(field::GUEST_PENDING_DEBUG_EXCEPTIONS) & DEBUG_TRAP == 0
    }

    fn inject(&mut self, information: EventInformation) {
        self.vmcs.write(field::VM_ENTRY_INTERRUPTION_INFORMATION, information.into_bits());
    }

    fn set_windows(&mut self, interrupt: bool, nmi: bool) {
        let old = PrimaryControls::from_bits(self.vmcs.read(field::PRIMARY_PROCESSOR_BASED_CONTROLS));
        let new = old.with_interrupt_window_exiting(interrupt).with_nmi_window_exiting(nmi);
        if new != old {
            self.vmcs.write(field::PRIMARY_PROCESSOR_BASED_CONTROLS, new.into_bits());
        }
    }
}

#[cfg(test)]
mod tests;
