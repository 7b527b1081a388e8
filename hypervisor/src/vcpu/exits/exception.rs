// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exceptions of the guest that exit: #DB and #AC, which are raised again.
//!
//! They exit only because a guest could otherwise make the delivery of one raise the next, without end and without an
//! instruction at which this CPU would take an interrupt.

use crate::vcpu::exception::Exception;
use crate::vcpu::guest::BLOCKED_BY_NMI;
use crate::vcpu::guest::BLOCKED_FOR_ONE_INSTRUCTION;
use crate::vcpu::guest::Guest;
use crate::vmx::exit::EventInformation;
use crate::vmx::exit::event;
use evmcs::field;

/// #DB, of which some are traps.
pub const DEBUG: u8 = 1;
/// #AC.
const ALIGNMENT_CHECK: u8 = 17;
/// #MC.
const MACHINE_CHECK: u8 = 18;
/// The exception bitmap: which vectors exit. A machine check is our own.
pub const INTERCEPTED: u32 = 1 << DEBUG | 1 << ALIGNMENT_CHECK | 1 << MACHINE_CHECK;

/// DR6: bits that the processor sets, of which B0 to B3 it also clears (SDM vol. 3, "Debug Status Register (DR6)").
const DR6_CONDITIONS: u64 = 0xe00f;
const DR6_BREAKPOINTS: u64 = 0xf;
/// DR7.GD.
const GENERAL_DETECT: u64 = 1 << 13;

/// Whose event an exit of that kind tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// This CPU's: an NMI.
    Nmi,
    /// This CPU's: a machine check.
    MachineCheck,
    /// The guest's.
    Guest(EventInformation),
}

/// Tells events apart by the VM-exit interruption information.
#[must_use]
pub fn whose(guest: &Guest<'_>) -> Whose {
    let information = EventInformation::from(guest.vmcs.read(field::VM_EXIT_INTERRUPTION_INFORMATION));
    match (information.kind(), information.vector()) {
        (event::NMI, _) => Whose::Nmi,
        (event::HARDWARE_EXCEPTION, MACHINE_CHECK) => Whose::MachineCheck,
        _ => Whose::Guest(information),
    }
}

/// Raises the exception again, as the processor would have delivered it.
pub fn reflect(guest: &mut Guest<'_>, information: EventInformation) {
    take_back_interrupted_event(guest, information);
    if information.vector() == DEBUG {
        note_debug_conditions(guest);
    }
    let error_code =
        information.error_code().then(|| guest.vmcs.read(field::VM_EXIT_INTERRUPTION_ERROR_CODE));
    let instruction_length = guest.vmcs.read(field::VM_EXIT_INSTRUCTION_LENGTH);
    // The other bits mean something else on the way in.
    let information = EventInformation::new()
        .with_vector(information.vector())
        .with_kind(information.kind())
        .with_error_code(information.error_code())
        .with_valid(true);
    guest.raise(Exception::Intercepted { information, error_code, instruction_length });
}

/// DR6, DR7 and the shadow of STI are as the delivery would have left them (SDM vol. 3, "Basic VM-Exit Information",
/// "Architectural State Before a VM Exit").
fn note_debug_conditions(guest: &mut Guest<'_>) {
    let conditions = guest.vmcs.read(field::EXIT_QUALIFICATION) & DR6_CONDITIONS;
    let dr6 = guest.state.processor.dr6();
    guest.state.processor.set_dr6(dr6 & !DR6_BREAKPOINTS | conditions);
    let dr7 = guest.vmcs.read(field::GUEST_DR7);
    guest.vmcs.write(field::GUEST_DR7, dr7 & !GENERAL_DETECT);
    let blocking = guest.vmcs.read(field::GUEST_INTERRUPTIBILITY_STATE);
    guest.vmcs.write(field::GUEST_INTERRUPTIBILITY_STATE, blocking & !BLOCKED_FOR_ONE_INSTRUCTION);
}

/// An event whose delivery the exception cut short comes again: an interrupt goes back to the local APIC, an NMI waits. All
/// else comes again by itself, since its instruction is executed again. So is an IRET, which had unblocked NMIs.
fn take_back_interrupted_event(guest: &mut Guest<'_>, exception: EventInformation) {
    let interrupted = EventInformation::from(guest.vmcs.read(field::IDT_VECTORING_INFORMATION));
    if exception.nmi_unblocking() && !interrupted.valid() {
        let blocking = guest.vmcs.read(field::GUEST_INTERRUPTIBILITY_STATE);
        guest.vmcs.write(field::GUEST_INTERRUPTIBILITY_STATE, blocking | BLOCKED_BY_NMI);
    }
    match (interrupted.valid(), interrupted.kind()) {
        (true, event::EXTERNAL_INTERRUPT) => guest.state.apic.take_back(interrupted.vector()),
        (true, event::NMI) => {
            guest.state.nmi = true;
            let blocking = guest.vmcs.read(field::GUEST_INTERRUPTIBILITY_STATE);
            guest.vmcs.write(field::GUEST_INTERRUPTIBILITY_STATE, blocking & !BLOCKED_BY_NMI);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
