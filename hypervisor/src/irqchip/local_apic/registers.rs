// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the registers of a local APIC read as, and what a write to each does, whichever way it comes.

use super::Effect;
use super::LocalApic;
use super::LocalSource;
use super::Mode;
use super::address::x2apic_logical_id;
use super::error_status::ApicError;
use super::local_vector::LocalVector;
use super::register::Register;
use super::timer::TimerMode;

/// "Local APIC Version Register": an integrated APIC, six local vectors, EOI broadcast can be suppressed.
const VERSION: u32 = 1 << 24 | (LocalSource::COUNT as u32 - 1) << 16 | 0x14;

/// "Spurious-Interrupt Vector Register": vector, software enable, focus checking, suppression of EOI
/// broadcast.
pub(super) const SPURIOUS_VECTOR_BITS: u32 = 0x13FF;

/// "Interrupt Command Register (ICR)": all that its high half has in xAPIC mode.
const XAPIC_DESTINATION: u32 = 0xFF00_0000;

impl LocalApic {
    /// A register's value, or `None` where there is no such register. Those that cannot be read, and those
    /// that only older processors have, read as zero.
    pub(super) fn read(&self, register: Register, now: u64) -> Option<u32> {
        let value = match register {
            Register::ID => self.visible_id(),
            Register::VERSION => VERSION,
            Register::TASK_PRIORITY => self.page.get(register),
            _ if register.is_of_vectors() => self.page.get(register),
            Register::PROCESSOR_PRIORITY => u32::from(self.processor_priority()),
            Register::ARBITRATION_PRIORITY | Register::REMOTE_READ | Register::END_OF_INTERRUPT => 0,
            Register::LOGICAL_DESTINATION => self.visible_logical_destination(),
            Register::DESTINATION_FORMAT => self.destination_format,
            Register::SPURIOUS_VECTOR => self.spurious_vector,
            Register::ERROR_STATUS => self.errors.shown(),
            Register::INTERRUPT_COMMAND => self.interrupt_command.low(),
            Register::INTERRUPT_COMMAND_HIGH => self.page.get(register),
            Register::INITIAL_COUNT => self.timer.initial_count(),
            Register::CURRENT_COUNT => self.timer.current_count(self.timer_mode(), now),
            Register::DIVIDE_CONFIGURATION => self.timer.divide(),
            _ => return LocalSource::of_register(register).map(|source| self.local_vector(source).into()),
        };
        Some(value)
    }

    /// A write; returns what the VM has to do about it. Reserved bits are dropped, and so is a write to a
    /// register that is read-only.
    pub(super) fn write(&mut self, register: Register, value: u32, now: u64) -> Effect {
        let effect = self.take(register, value, now);
        self.show(register);
        effect
    }

    fn take(&mut self, register: Register, value: u32, now: u64) -> Effect {
        match register {
            Register::END_OF_INTERRUPT => return self.end_of_interrupt(),
            Register::INTERRUPT_COMMAND => {
                self.interrupt_command = self.interrupt_command.with_low(value);
                return self.send_ipi();
            }
            Register::INTERRUPT_COMMAND_HIGH => {
                self.interrupt_command = self.interrupt_command.with_high(value & XAPIC_DESTINATION);
                self.show_command_high();
            }
            Register::TASK_PRIORITY => self.page.set(register, value & 0xFF),
            Register::LOGICAL_DESTINATION => self.logical_destination = value & 0xFF00_0000,
            Register::DESTINATION_FORMAT => self.destination_format = value | 0x0FFF_FFFF,
            Register::SPURIOUS_VECTOR => return self.write_spurious_vector(value, now),
            Register::ERROR_STATUS => self.errors.latch(),
            Register::INITIAL_COUNT => return self.write_initial_count(value, now),
            Register::DIVIDE_CONFIGURATION => return self.write_divide(value, now),
            _ => match LocalSource::of_register(register) {
                Some(source) => return self.write_local_vector(source, value, now),
                None if self.read(register, now).is_none() => {
                    self.note_error(ApicError::IllegalRegisterAddress);
                }
                None => {}
            },
        }
        Effect::None
    }

    /// IA32_TSC_DEADLINE; zero outside TSC-deadline mode, and once it has passed ("TSC-Deadline Mode").
    #[must_use]
    pub fn tsc_deadline(&self, now: u64) -> u64 {
        match (self.timer_mode(), self.timer.deadline()) {
            (TimerMode::TscDeadline, Some(deadline)) if now < deadline => deadline,
            _ => 0,
        }
    }

    /// A guest's write to IA32_TSC_DEADLINE; ignored outside TSC-deadline mode.
    pub fn set_tsc_deadline(&mut self, deadline: u64, now: u64) -> Effect {
        if self.timer_mode() != TimerMode::TscDeadline {
            return Effect::None;
        }
        self.expire(now);
        self.timer.arm(deadline);
        Effect::TimerChanged
    }

    /// The guest has moved its TSC on by `change`, modulo 2^64.
    pub fn shift_clock(&mut self, change: u64) {
        self.timer.shift_clock(self.timer_mode(), change);
    }

    fn timer_mode(&self) -> TimerMode {
        self.local_vector(LocalSource::Timer).timer_mode()
    }

    fn visible_id(&self) -> u32 {
        if self.mode() == Mode::X2apic { self.id } else { self.id << 24 }
    }

    fn visible_logical_destination(&self) -> u32 {
        if self.mode() == Mode::X2apic { x2apic_logical_id(self.id) } else { self.logical_destination }
    }

    /// An APIC that software disables masks its local vectors; they stay so when it is enabled again ("Local
    /// APIC State After It Has Been Software Disabled").
    fn write_spurious_vector(&mut self, value: u32, now: u64) -> Effect {
        self.expire(now);
        self.spurious_vector = value & SPURIOUS_VECTOR_BITS;
        self.ends_changed = true;
        if self.software_enabled() {
            return Effect::None;
        }
        for entry in &mut self.local_vectors {
            entry.set_masked(true);
        }
        self.show_all();
        Effect::TimerChanged
    }

    /// "Local Vector Table": an APIC that software has disabled keeps its entries masked.
    fn write_local_vector(&mut self, source: LocalSource, value: u32, now: u64) -> Effect {
        let mut entry = LocalVector::from(value & source.writable());
        if !self.software_enabled() {
            entry.set_masked(true);
        }
        if source == LocalSource::Timer {
            return self.write_timer_vector(entry, now);
        }
        self.local_vectors[source as usize] = entry;
        Effect::None
    }

    /// "TSC-Deadline Mode": going there or coming from there disarms the timer.
    fn write_timer_vector(&mut self, entry: LocalVector, now: u64) -> Effect {
        // What fell due under the old entry is not for the new one.
        self.expire(now);
        let before = self.timer_mode();
        self.local_vectors[LocalSource::Timer as usize] = entry;
        if (before == TimerMode::TscDeadline) != (self.timer_mode() == TimerMode::TscDeadline) {
            self.timer.disarm();
        }
        Effect::TimerChanged
    }

    /// "TSC-Deadline Mode": there, writes to the initial count are ignored.
    fn write_initial_count(&mut self, value: u32, now: u64) -> Effect {
        if self.timer_mode() == TimerMode::TscDeadline {
            return Effect::None;
        }
        self.expire(now);
        self.timer.start(value, now);
        Effect::TimerChanged
    }

    fn write_divide(&mut self, value: u32, now: u64) -> Effect {
        self.expire(now);
        self.timer.set_divide(value, self.timer_mode(), now);
        Effect::TimerChanged
    }
}
