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
    let information = as_injected(information);
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
/// else comes again by itself, since its instruction is executed again.
fn take_back_interrupted_event(guest: &mut Guest<'_>, exception: EventInformation) {
    let interrupted = EventInformation::from(guest.vmcs.read(field::IDT_VECTORING_INFORMATION));
    if interrupted.valid() {
        take_back(guest, interrupted);
    } else if exception.nmi_unblocking() {
        block_nmis_again(guest);
    }
}

/// After an exit that has nothing to do with what the guest did: an event whose delivery it cut short is delivered again.
/// `nmi_unblocking`: it cut an IRET short that had unblocked NMIs.
#[inline]
pub fn deliver_again(guest: &mut Guest<'_>, nmi_unblocking: bool) {
    let interrupted = EventInformation::from(guest.vmcs.read(field::IDT_VECTORING_INFORMATION));
    if interrupted.valid() {
        raise_again(guest, interrupted);
    } else if nmi_unblocking {
        block_nmis_again(guest);
    }
}

#[cold]
fn raise_again(guest: &mut Guest<'_>, interrupted: EventInformation) {
    guest.state.attention = true;
    if take_back(guest, interrupted) {
        return;
    }
    let error_code = interrupted.error_code().then(|| guest.vmcs.read(field::IDT_VECTORING_ERROR_CODE));
    let instruction_length = guest.vmcs.read(field::VM_EXIT_INSTRUCTION_LENGTH);
    guest.raise(Exception::Intercepted {
        information: as_injected(interrupted),
        error_code,
        instruction_length,
    });
}

/// Takes an interrupt or an NMI back; `false` if the event is neither.
fn take_back(guest: &mut Guest<'_>, interrupted: EventInformation) -> bool {
    match interrupted.kind() {
        event::EXTERNAL_INTERRUPT => guest.state.take_back(interrupted.vector()),
        event::NMI => {
            guest.state.nmi = true;
            let blocking = guest.vmcs.read(field::GUEST_INTERRUPTIBILITY_STATE);
            guest.vmcs.write(field::GUEST_INTERRUPTIBILITY_STATE, blocking & !BLOCKED_BY_NMI);
        }
        _ => return false,
    }
    true
}

/// An IRET that will be executed again had unblocked NMIs.
#[cold]
fn block_nmis_again(guest: &mut Guest<'_>) {
    let blocking = guest.vmcs.read(field::GUEST_INTERRUPTIBILITY_STATE);
    guest.vmcs.write(field::GUEST_INTERRUPTIBILITY_STATE, blocking | BLOCKED_BY_NMI);
}

/// What is told of an event on the way out, less the bits that mean something else on the way in.
fn as_injected(information: EventInformation) -> EventInformation {
    EventInformation::new()
        .with_vector(information.vector())
        .with_kind(information.kind())
        .with_error_code(information.error_code())
        .with_valid(true)
}

#[cfg(test)]
mod tests;
