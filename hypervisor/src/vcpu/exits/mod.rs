// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done on each VM exit.

pub mod control_register;
mod cpuid;
mod ept_violation;
pub mod exception;
mod io;
mod msr;
mod tsc;
mod vmcall;
mod xsetbv;

pub use ept_violation::access_apic;

use crate::vcpu::end::End;
use crate::vcpu::exception::Exception;
use crate::vcpu::guest::Guest;
use crate::vmx::exit::ExitReason;
use evmcs::field;

/// Handles an exit that is the guest's own affair. What concerns the CPU that it runs on (interrupts, NMIs) is the run
/// loop's.
#[inline]
pub fn handle(guest: &mut Guest<'_>, reason: ExitReason) -> Result<(), End> {
    match reason {
        ExitReason::CPUID => cpuid::handle(guest),
        ExitReason::IO_INSTRUCTION => return io::handle(guest),
        ExitReason::WRMSR => msr::write(guest),
        ExitReason::RDMSR => msr::read(guest),
        ExitReason::VMCALL => vmcall::handle(guest),
        ExitReason::HLT => guest.halt(),
        ExitReason::EPT_VIOLATION => return ept_violation::handle(guest),
        ExitReason::APIC_ACCESS => return guest.access_apic(),
        ExitReason::APIC_WRITE => guest.apic_written(),
        ExitReason::INTERRUPT_WINDOW | ExitReason::NMI_WINDOW | ExitReason::TPR_BELOW_THRESHOLD => {
            guest.state.attention = true;
        }
        _ => return rare(guest, reason),
    }
    Ok(())
}

#[cold]
fn rare(guest: &mut Guest<'_>, reason: ExitReason) -> Result<(), End> {
    match reason {
        ExitReason::CONTROL_REGISTER => return control_register::handle(guest),
        ExitReason::VIRTUALIZED_EOI => guest.end_played_interrupt(),
        ExitReason::XSETBV => xsetbv::handle(guest),
        // PAUSE, or a loop of it: the exit comes instead of the instruction (SDM vol. 3, "Instructions That Cause VM Exits
        // Conditionally"), which does nothing else.
        ExitReason::PAUSE => {
            guest.state.yields = true;
            guest.state.attention = true;
            guest.advance();
        }
        // L0 has carried out a call of the guest's; it goes on behind that.
        ExitReason::TRAP_AFTER_FLUSH => {}
        // Caches are coherent with everything that the guest can reach.
        ExitReason::INVD | ExitReason::WBINVD => guest.advance(),
        ExitReason::RDTSC => tsc::read(guest),
        ExitReason::RDTSCP => tsc::read_with_aux(guest),
        // RDPMC: there are no counters to read (SDM vol. 2B).
        ExitReason::RDPMC => guest.raise(Exception::GeneralProtection),
        // Instructions that CPUID does not offer.
        ExitReason::VMCLEAR
        | ExitReason::VMLAUNCH
        | ExitReason::VMPTRLD
        | ExitReason::VMPTRST
        | ExitReason::VMREAD
        | ExitReason::VMRESUME
        | ExitReason::VMWRITE
        | ExitReason::VMXOFF
        | ExitReason::VMXON
        | ExitReason::INVEPT
        | ExitReason::INVVPID
        | ExitReason::VMFUNC
        | ExitReason::GETSEC
        | ExitReason::MWAIT
        | ExitReason::MONITOR
        | ExitReason::SEAMCALL
        | ExitReason::TDCALL
        | ExitReason::RSM => guest.raise(Exception::InvalidOpcode),
        ExitReason::TRIPLE_FAULT => return Err(End::TripleFault { rip: guest.vmcs.read(field::GUEST_RIP) }),
        ExitReason::INVALID_GUEST_STATE => {
            return Err(End::InvalidGuestState {
                qualification: guest.vmcs.read(field::EXIT_QUALIFICATION),
                rip: guest.vmcs.read(field::GUEST_RIP),
            });
        }
        _ => {
            return Err(End::Unhandled {
                reason,
                qualification: guest.vmcs.read(field::EXIT_QUALIFICATION),
                rip: guest.vmcs.read(field::GUEST_RIP),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
