// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is delivered with the next entry: an exception, an NMI, or the local APIC's interrupt (SDM vol. 3, 25.8.3, 27.6).

use crate::vcpu::exception::Exception;
use crate::vcpu::guest::BLOCKED_FOR_ONE_INSTRUCTION;
use crate::vcpu::guest::Guest;
use crate::vcpu::guest::SINGLE_STEP;
use crate::vmx::exit::EventInformation;
use crate::vmx::exit::event;
use evmcs::controls::PrimaryControls;
use evmcs::field;

/// RFLAGS.IF.
const INTERRUPT_FLAG: u64 = 1 << 9;
/// Blocking by NMI.
const BLOCKED_BY_NMI: u32 = 1 << 3;
/// The NMI's vector.
const NMI: u8 = 2;

impl Guest<'_> {
    /// Injects what can be delivered now, and asks for an exit when the rest can be.
    ///
    /// One event an entry; an exception of the instruction comes before interrupts, which then wait for the window.
    pub fn deliver_events(&mut self) {
        self.state.attention = false;
        let injected = if let Some(exception) = self.state.exception.take() {
            self.inject_exception(exception);
            true
        } else {
            self.inject_nmi() || self.inject_interrupt()
        };
        let interrupt_waits = self.state.apic.pending().is_some();
        // An NMI that could be delivered has been, but for an event that came before it.
        let nmi_waits = self.state.nmi;
        debug_assert!(injected || self.state.exception.is_none(), "an exception never waits");
        self.set_windows(interrupt_waits, nmi_waits);
    }

    /// Whether an interrupt would be delivered at once.
    #[must_use]
    pub fn interruptible(&self) -> bool {
        self.vmcs.read(field::GUEST_RFLAGS) & INTERRUPT_FLAG != 0
            && self.vmcs.read(field::GUEST_INTERRUPTIBILITY_STATE) & BLOCKED_FOR_ONE_INSTRUCTION == 0
    }

    /// Whether something waits that ends HLT.
    #[must_use]
    pub fn has_wake_up(&self) -> bool {
        let nmi_allowed = || self.vmcs.read(field::GUEST_INTERRUPTIBILITY_STATE) & BLOCKED_BY_NMI == 0;
        let single_step = || self.vmcs.read(field::GUEST_PENDING_DEBUG_EXCEPTIONS) & SINGLE_STEP != 0;
        self.state.exception.is_some()
            || self.state.apic.pending().is_some() && self.interruptible()
            || self.state.nmi && nmi_allowed()
            || single_step()
    }

    fn inject_exception(&mut self, exception: Exception) {
        let (information, error_code) = exception.information();
        if let Exception::PageFault { address, .. } = exception {
            crate::cpu::hardware::set_cr2(address);
        }
        if let Some(error_code) = error_code {
            self.vmcs.write(field::VM_ENTRY_EXCEPTION_ERROR_CODE, error_code);
        }
        self.inject(information);
    }

    fn inject_nmi(&mut self) -> bool {
        let blocking = self.vmcs.read(field::GUEST_INTERRUPTIBILITY_STATE);
        if !self.state.nmi || blocking & (BLOCKED_FOR_ONE_INSTRUCTION | BLOCKED_BY_NMI) != 0 {
            return false;
        }
        self.state.nmi = false;
        self.inject(EventInformation::new().with_vector(NMI).with_kind(event::NMI).with_valid(true));
        true
    }

    fn inject_interrupt(&mut self) -> bool {
        let Some(vector) = self.state.apic.pending().filter(|_| self.interruptible()) else { return false };
        self.state.apic.acknowledge(vector);
        let kind = event::EXTERNAL_INTERRUPT;
        self.inject(EventInformation::new().with_vector(vector).with_kind(kind).with_valid(true));
        true
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
