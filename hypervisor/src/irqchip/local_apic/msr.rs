// SPDX-License-Identifier: MIT OR Apache-2.0
//! The face of a local APIC in x2APIC mode: MSRs 0x800 to 0x83F (SDM vol. 3, "x2APIC Register Address
//! Space").

use super::Effect;
use super::GeneralProtection;
use super::LocalApic;
use super::LocalSource;
use super::Mode;
use super::interrupt_command::InterruptCommand;
use super::register::Register;
use super::registers::SPURIOUS_VECTOR_BITS;
use super::timer::Timer;

impl LocalApic {
    /// RDMSR of an x2APIC register. `now` is the guest's TSC.
    pub fn rdmsr(&self, index: u32, now: u64) -> Result<u64, GeneralProtection> {
        let register = self.x2apic_register(index)?;
        let value = match register {
            Register::INTERRUPT_COMMAND => return Ok(self.interrupt_command.into()),
            // In the page only, and the write-only EOI.
            Register::ARBITRATION_PRIORITY
            | Register::REMOTE_READ
            | Register::DESTINATION_FORMAT
            | Register::INTERRUPT_COMMAND_HIGH
            | Register::END_OF_INTERRUPT => None,
            _ => self.read(register, now),
        };
        value.map(u64::from).ok_or(GeneralProtection::NoSuchRegister(index))
    }

    /// WRMSR of an x2APIC register. `now` is the guest's TSC.
    pub fn wrmsr(&mut self, index: u32, value: u64, now: u64) -> Result<Effect, GeneralProtection> {
        let register = self.x2apic_register(index)?;
        let accepted = accepted_bits(register).ok_or(GeneralProtection::NoSuchRegister(index))?;
        if value & !accepted != 0 {
            return Err(GeneralProtection::ReservedBits(value & !accepted));
        }
        Ok(match register {
            Register::INTERRUPT_COMMAND => {
                self.interrupt_command = InterruptCommand::from(value & InterruptCommand::KEPT);
                self.send_ipi()
            }
            Register::SELF_IPI => {
                self.send_to_itself(value as u8);
                Effect::None
            }
            _ => self.write(register, value as u32, now),
        })
    }

    fn x2apic_register(&self, index: u32) -> Result<Register, GeneralProtection> {
        if self.mode() != Mode::X2apic {
            return Err(GeneralProtection::NotInX2apicMode);
        }
        Register::at_msr(index).ok_or(GeneralProtection::NoSuchRegister(index))
    }
}

/// The bits that a write to a register may have set, or `None` where it cannot be written ("Reserved Bit
/// Checking").
fn accepted_bits(register: Register) -> Option<u64> {
    let low = match register {
        Register::INTERRUPT_COMMAND => return Some(!InterruptCommand::X2APIC_RESERVED),
        Register::END_OF_INTERRUPT | Register::ERROR_STATUS => 0,
        Register::TASK_PRIORITY | Register::SELF_IPI => 0xFF,
        Register::SPURIOUS_VECTOR => SPURIOUS_VECTOR_BITS,
        Register::INITIAL_COUNT => u32::MAX,
        Register::DIVIDE_CONFIGURATION => Timer::DIVIDE_BITS,
        _ => LocalSource::of_register(register).map(|source| source.writable() | source.read_only())?,
    };
    Some(u64::from(low))
}
