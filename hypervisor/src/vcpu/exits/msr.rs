// SPDX-License-Identifier: MIT OR Apache-2.0
//! RDMSR and WRMSR of what the bitmap does not let through, by the policy table.

use crate::irqchip::local_apic::Effect;
use crate::vcpu::exception::Exception;
use crate::vcpu::guest::Guest;
use crate::vcpu::msr_policy;
use crate::vcpu::msr_policy::HeldBy;
use crate::vcpu::msr_policy::MsrIndex;
use crate::vcpu::msr_policy::Policy;
use crate::vcpu::msr_policy::Register;
use crate::vcpu::msr_policy::Writes;
use crate::vcpu::msr_policy::policy_of;
use crate::vm::partition::Partition;
use evmcs::field;

/// RDMSR.
#[inline(never)]
pub fn read(guest: &mut Guest<'_>) {
    let msr = MsrIndex(guest.frame.registers.rcx as u32);
    match value_of(guest, msr) {
        Ok(value) => {
            guest.frame.registers.rax = value & 0xffff_ffff;
            guest.frame.registers.rdx = value >> 32;
            guest.advance();
        }
        Err(exception) => guest.raise(exception),
    }
}

/// WRMSR.
#[inline(never)]
pub fn write(guest: &mut Guest<'_>) {
    let registers = &guest.frame.registers;
    let msr = MsrIndex(registers.rcx as u32);
    let value = registers.rdx << 32 | registers.rax & 0xffff_ffff;
    // A busy guest writes to it most, and it takes any value: the table is not asked.
    if msr == MsrIndex::TSC_DEADLINE {
        set_tsc_deadline(guest, value);
        guest.advance();
    } else {
        write_by_policy(guest, msr, value);
    }
}

#[inline(never)]
fn write_by_policy(guest: &mut Guest<'_>, msr: MsrIndex, value: u64) {
    match set(guest, msr, value) {
        Ok(None) => guest.advance(),
        Ok(Some(effect)) => {
            guest.advance();
            guest.carry_out(effect);
        }
        Err(exception) => guest.raise(exception),
    }
}

fn value_of(guest: &Guest<'_>, msr: MsrIndex) -> Result<u64, Exception> {
    match policy_of(msr) {
        Policy::Constant { value, .. } => Ok(value),
        Policy::Emulated(register) => value_of_register(guest, register, msr),
        Policy::PassThrough(held_by) => value_held(guest, msr, held_by).ok_or(Exception::GeneralProtection),
        Policy::Refused => Err(Exception::GeneralProtection),
    }
}

/// What a read without an exit gets. It exits only while the bitmap says other than the table.
#[cold]
fn value_held(guest: &Guest<'_>, msr: MsrIndex, held_by: HeldBy) -> Option<u64> {
    let vmcs = &guest.vmcs;
    match (held_by, msr) {
        (HeldBy::Processor, _) => guest.state.processor.msr(msr),
        (HeldBy::Vmcs, MsrIndex::SYSENTER_CS) => Some(vmcs.read(field::GUEST_IA32_SYSENTER_CS).into()),
        (HeldBy::Vmcs, MsrIndex::SYSENTER_ESP) => Some(vmcs.read(field::GUEST_IA32_SYSENTER_ESP)),
        (HeldBy::Vmcs, MsrIndex::SYSENTER_EIP) => Some(vmcs.read(field::GUEST_IA32_SYSENTER_EIP)),
        (HeldBy::Vmcs, MsrIndex::FS_BASE) => Some(vmcs.read(field::GUEST_FS_BASE)),
        (HeldBy::Vmcs, MsrIndex::GS_BASE) => Some(vmcs.read(field::GUEST_GS_BASE)),
        (HeldBy::Vmcs, _) => None,
    }
}

fn value_of_register(guest: &Guest<'_>, register: Register, msr: MsrIndex) -> Result<u64, Exception> {
    let now = || guest.state.tsc.now();
    Ok(match register {
        Register::ApicBase => guest.state.apic.base(),
        Register::DebugCtl => guest.vmcs.read(field::GUEST_IA32_DEBUGCTL),
        Register::Efer => guest.vmcs.read(field::GUEST_IA32_EFER),
        Register::MiscEnable => guest.state.misc_enable,
        Register::Pat => guest.vmcs.read(field::GUEST_IA32_PAT),
        Register::Tsc => now(),
        Register::TscAdjust => guest.state.tsc_adjust,
        Register::TscDeadline => guest.state.apic.tsc_deadline(now()),
        Register::X2Apic => guest.state.apic.rdmsr(msr.0, now())?,
        Register::Synthetic => partition(guest)?.read(&guest.state.virtual_processor, msr.0)?,
    })
}

/// Sets an MSR. For one of the local APIC, also what is to be done outside of it.
fn set(guest: &mut Guest<'_>, msr: MsrIndex, value: u64) -> Result<Option<Effect>, Exception> {
    match policy_of(msr) {
        Policy::Constant { writes: Writes::Ignored, .. } => Ok(None),
        Policy::Emulated(register) => set_register(guest, register, msr, value),
        Policy::Constant { .. } | Policy::PassThrough(_) | Policy::Refused => {
            Err(Exception::GeneralProtection)
        }
    }
}

fn set_register(
    guest: &mut Guest<'_>,
    register: Register,
    msr: MsrIndex,
    value: u64,
) -> Result<Option<Effect>, Exception> {
    match register {
        Register::X2Apic => {
            let now = guest.state.tsc.now();
            return Ok(Some(guest.state.apic.wrmsr(msr.0, value, now)?));
        }
        Register::TscDeadline => set_tsc_deadline(guest, value),
        Register::ApicBase => return Ok(Some(guest.state.apic.set_base(value)?)),
        Register::Efer => {
            let current = guest.vmcs.read(field::GUEST_IA32_EFER);
            let efer = msr_policy::checked_efer(current, value, guest.paging())?;
            guest.vmcs.write(field::GUEST_IA32_EFER, efer);
        }
        Register::Pat => {
            msr_policy::checked_pat(value)?;
            guest.vmcs.write(field::GUEST_IA32_PAT, value);
        }
        Register::DebugCtl => {
            msr_policy::checked_debugctl(value)?;
            guest.vmcs.write(field::GUEST_IA32_DEBUGCTL, value);
        }
        Register::Synthetic => {
            let (partition, vcpu) = (partition(guest)?, guest.index());
            partition.write(&guest.machine.memory, vcpu, &mut guest.state.virtual_processor, msr.0, value)?;
        }
        Register::MiscEnable => {
            msr_policy::checked_misc_enable(value)?;
            guest.state.misc_enable = value;
        }
        Register::Tsc => {
            let change = value.wrapping_sub(guest.state.tsc.now());
            shift_tsc(guest, change);
        }
        Register::TscAdjust => {
            let change = value.wrapping_sub(guest.state.tsc_adjust);
            shift_tsc(guest, change);
        }
    }
    Ok(None)
}

/// It is written often, and changes nothing that other vCPUs are shown; nor anything else, unless the one before was due.
fn set_tsc_deadline(guest: &mut Guest<'_>, value: u64) {
    let now = guest.state.tsc.now();
    let was_due = guest.state.apic.next_deadline().is_some_and(|deadline| deadline <= now);
    if guest.state.apic.set_tsc_deadline(value, now) == Effect::TimerChanged {
        guest.state.change_deadline();
        guest.state.attention |= was_due;
    }
}

/// What the guest sees of Hyper-V's interface, if anything.
fn partition<'a>(guest: &Guest<'a>) -> Result<&'a Partition, Exception> {
    guest.machine.partition.as_ref().ok_or(Exception::GeneralProtection)
}

/// Moves the guest's TSC, of which IA32_TSC_ADJUST keeps account (SDM vol. 3, "Time-Stamp Counter Adjustment").
fn shift_tsc(guest: &mut Guest<'_>, change: u64) {
    let state = &mut *guest.state;
    state.tsc.shift(change);
    state.tsc_adjust = state.tsc_adjust.wrapping_add(change);
    state.apic.shift_clock(change);
    state.change_timer();
    state.tsc.write_offset(&mut guest.vmcs);
}

#[cfg(test)]
mod tests;
