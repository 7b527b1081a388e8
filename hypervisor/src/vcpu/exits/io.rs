// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ports: IN, OUT, and their string forms, one element an exit.

use crate::architecture::rflags;
use crate::devices::chipset::PowerEvent;
use crate::vcpu::end::End;
use crate::vcpu::guest::Guest;
use crate::vcpu::linear;
use crate::vm::exercise;
use crate::vm::machine::PortEffect;
use crate::vmx::exit::IoQualification;
use evmcs::field;

/// Numbers of the registers that string instructions use.
const RCX: u8 = 1;
const RSI: u8 = 6;
const RDI: u8 = 7;

#[inline(never)]
pub fn handle(guest: &mut Guest<'_>) -> Result<(), End> {
    let qualification = IoQualification::from(guest.vmcs.read(field::EXIT_QUALIFICATION));
    let (port, size) = (qualification.port(), size(qualification));
    match () {
        () if qualification.string() => string(guest, qualification),
        () if qualification.input() => input(guest, port, size),
        () => output(guest, port, size),
    }
}

#[inline(never)]
fn input(guest: &mut Guest<'_>, port: u16, size: u8) -> Result<(), End> {
    let value = guest.machine.read_port(port, size, || guest.state.tsc.machine_time());
    let rax = &mut guest.frame.registers.rax;
    *rax = merged(*rax, value, size);
    guest.advance();
    ask_for_input(guest);
    Ok(())
}

#[inline(never)]
fn output(guest: &mut Guest<'_>, port: u16, size: u8) -> Result<(), End> {
    let value = guest.frame.registers.rax as u32;
    let effect = guest.machine.write_port(port, size, value, || guest.state.tsc.machine_time());
    guest.advance();
    carry_out(guest, effect)
}

/// Bytes of an element: 1, 2 or 4, whatever the field says.
#[inline]
fn size(qualification: IoQualification) -> u8 {
    const SIZES: [u8; 8] = [1, 2, 4, 4, 4, 4, 4, 4];
    SIZES[usize::from(qualification.size_less_one())]
}

/// An input of 32 bits clears what is above, as every instruction with 32-bit operands does; a smaller one keeps it.
#[inline]
fn merged(old: u64, value: u32, size: u8) -> u64 {
    match size {
        1 => old & !0xff | u64::from(value),
        2 => old & !0xffff | u64::from(value),
        _ => u64::from(value),
    }
}

/// The access may have made room for input that waits.
#[inline]
fn ask_for_input(guest: &Guest<'_>) {
    if guest.machine.takes_input() {
        guest.machine.posts.neighbours().ask_for_input();
    }
}

/// Mostly there is nothing to do.
#[inline]
fn carry_out(guest: &mut Guest<'_>, effect: PortEffect) -> Result<(), End> {
    ask_for_input(guest);
    if effect == PortEffect::default() { Ok(()) } else { carry_out_effect(guest, effect) }
}

#[inline(never)]
fn carry_out_effect(guest: &mut Guest<'_>, effect: PortEffect) -> Result<(), End> {
    if let Some(byte) = effect.output {
        guest.transmit(byte);
    }
    if effect.exercise {
        exercise::execute(guest);
    }
    match effect.power {
        Some(PowerEvent::PowerOff) => Err(End::PoweredOff),
        Some(PowerEvent::Reset) => Err(End::Reset),
        Some(PowerEvent::DebugExit { status }) => Err(End::DebugExit { status }),
        None => Ok(()),
    }
}

/// INS and OUTS: one element. With a REP prefix the instruction is left where it is while RCX has more, so that interrupts
/// come between elements as on a processor.
#[inline(never)]
fn string(guest: &mut Guest<'_>, qualification: IoQualification) -> Result<(), End> {
    let mask = address_mask(guest.vmcs.read(field::VM_EXIT_INSTRUCTION_INFORMATION));
    if qualification.repeated() && guest.register(RCX) & mask == 0 {
        guest.advance();
        return Ok(());
    }
    let (port, size) = (qualification.port(), size(qualification));
    let address = guest.vmcs.read(field::GUEST_LINEAR_ADDRESS);
    let mut bytes = [0; 4];
    let bytes = &mut bytes[..usize::from(size)];
    let (effect, index_register) = if qualification.input() {
        // Before the port is read, which may change the device: that the memory can be written.
        let destination = match linear::destination(guest, address, bytes.len()) {
            Ok(destination) => destination,
            Err(exception) => {
                guest.raise(exception);
                return Ok(());
            }
        };
        let value = guest.machine.read_port(port, size, || guest.state.tsc.machine_time());
        bytes.copy_from_slice(&value.to_le_bytes()[..bytes.len()]);
        destination.write(guest, bytes);
        (PortEffect::default(), RDI)
    } else {
        if let Err(exception) = linear::read(guest, address, bytes) {
            guest.raise(exception);
            return Ok(());
        }
        let value = bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte));
        (guest.machine.write_port(port, size, value, || guest.state.tsc.machine_time()), RSI)
    };
    step(guest, index_register, size, mask);
    if !qualification.repeated() || decrement(guest, mask) == 0 {
        guest.advance();
    } else {
        guest.stay();
    }
    carry_out(guest, effect)
}

/// The bits of an address register that count: 16, 32 or 64 (SDM vol. 3, "Format of the VM-Exit Instruction-Information Field as Used for INS and OUTS").
fn address_mask(instruction_information: u32) -> u64 {
    match instruction_information >> 7 & 7 {
        0 => 0xffff,
        1 => 0xffff_ffff,
        _ => u64::MAX,
    }
}

fn step(guest: &mut Guest<'_>, register: u8, size: u8, mask: u64) {
    let backwards = guest.vmcs.read(field::GUEST_RFLAGS) & rflags::DF != 0;
    let old = guest.register(register);
    let stepped =
        if backwards { old.wrapping_sub(u64::from(size)) } else { old.wrapping_add(u64::from(size)) };
    guest.set_register(register, replaced(old, stepped, mask));
}

fn decrement(guest: &mut Guest<'_>, mask: u64) -> u64 {
    let old = guest.register(RCX);
    let left = old.wrapping_sub(1) & mask;
    guest.set_register(RCX, replaced(old, left, mask));
    left
}

/// A register of which an instruction with that address size has changed what it could.
fn replaced(old: u64, new: u64, mask: u64) -> u64 {
    match mask {
        0xffff => old & !mask | new & mask,
        _ => new & mask,
    }
}

#[cfg(test)]
mod tests;
