// SPDX-License-Identifier: MIT OR Apache-2.0
//! The local APIC, by memory (xAPIC) or by MSRs (x2APIC). SDM volume 3, 12.4 and 12.12.

use crate::cpuid;
use crate::interrupts;
use crate::msr;
use crate::physical;

/// Where the registers lie in xAPIC mode.
pub const BASE: u64 = 0xfee0_0000;

/// A register, by its offset in the xAPIC page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(pub u32);

impl Register {
    /// Local APIC ID.
    pub const ID: Self = Self(0x20);
    /// Version.
    pub const VERSION: Self = Self(0x30);
    /// Task priority.
    pub const TASK_PRIORITY: Self = Self(0x80);
    /// Processor priority.
    pub const PROCESSOR_PRIORITY: Self = Self(0xa0);
    /// End of interrupt.
    pub const END_OF_INTERRUPT: Self = Self(0xb0);
    /// Logical destination.
    pub const LOGICAL_DESTINATION: Self = Self(0xd0);
    /// Destination format; not in x2APIC mode.
    pub const DESTINATION_FORMAT: Self = Self(0xe0);
    /// Spurious-interrupt vector.
    pub const SPURIOUS: Self = Self(0xf0);
    /// In service, first of eight.
    pub const IN_SERVICE: Self = Self(0x100);
    /// Trigger mode, first of eight.
    pub const TRIGGER_MODE: Self = Self(0x180);
    /// Interrupt request, first of eight.
    pub const INTERRUPT_REQUEST: Self = Self(0x200);
    /// Error status.
    pub const ERROR_STATUS: Self = Self(0x280);
    /// Interrupt command, low half; in x2APIC mode all of it.
    pub const INTERRUPT_COMMAND: Self = Self(0x300);
    /// Interrupt command, high half; not in x2APIC mode.
    pub const INTERRUPT_COMMAND_HIGH: Self = Self(0x310);
    /// Local vector table: timer.
    pub const LVT_TIMER: Self = Self(0x320);
    /// Local vector table: LINT0.
    pub const LVT_LINT0: Self = Self(0x350);
    /// Local vector table: error.
    pub const LVT_ERROR: Self = Self(0x370);
    /// Timer: initial count.
    pub const INITIAL_COUNT: Self = Self(0x380);
    /// Timer: current count.
    pub const CURRENT_COUNT: Self = Self(0x390);
    /// Timer: divide configuration.
    pub const DIVIDE: Self = Self(0x3e0);
    /// Self IPI; only in x2APIC mode.
    pub const SELF_IPI: Self = Self(0x3f0);

    /// The register `vector` has its bit in, of a group of eight, and the bit.
    #[must_use]
    pub fn of_vector(self, vector: u8) -> (Self, u32) {
        (Self(self.0 + u32::from(vector / 32) * 0x10), 1 << (vector % 32))
    }

    /// Its MSR in x2APIC mode.
    #[must_use]
    pub fn msr(self) -> u32 {
        0x800 + (self.0 >> 4)
    }
}

/// LVT: the entry is masked.
pub const MASKED: u32 = 1 << 16;
/// LVT timer: periodic.
pub const PERIODIC: u32 = 1 << 17;
/// LVT timer: TSC-deadline.
pub const DEADLINE: u32 = 2 << 17;
/// Divide configuration: by 1.
pub const DIVIDE_BY_1: u32 = 0b1011;
/// Spurious-interrupt vector register: the APIC is enabled.
pub const SOFTWARE_ENABLE: u32 = 1 << 8;
/// Interrupt command: to the one with the lowest priority of those that are addressed.
pub const LOWEST_PRIORITY: u32 = 1 << 8;
/// Interrupt command: delivery mode NMI.
pub const NMI: u32 = 4 << 8;
/// Interrupt command: delivery mode INIT, asserted.
pub const INIT: u32 = 5 << 8 | ASSERT;
/// Interrupt command: INIT, level, de-asserted; processors of today ignore it.
pub const INIT_DEASSERT: u32 = 5 << 8 | 1 << 15;
/// Interrupt command: delivery mode start-up (SIPI); the vector is the page to start at.
pub const START_UP: u32 = 6 << 8 | ASSERT;
/// Interrupt command: the destination is logical.
pub const LOGICAL: u32 = 1 << 11;
/// Interrupt command: level "assert".
const ASSERT: u32 = 1 << 14;
/// Interrupt command: destination shorthand "all including self".
pub const ALL: u32 = 2 << 18;
/// Interrupt command: destination shorthand "all excluding self".
pub const ALL_BUT_SELF: u32 = 3 << 18;
/// Interrupt command: destination shorthand "self".
pub const SELF: u32 = 1 << 18;

/// CPUID leaf 1, ECX: there is x2APIC mode.
const X2APIC: u32 = 1 << 21;

/// How the registers are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalApic {
    /// By memory at [`BASE`].
    XApic,
    /// By MSRs from 0x800 on.
    X2Apic,
}

impl LocalApic {
    /// The mode it is in.
    #[must_use]
    pub fn current() -> Self {
        if msr::get(msr::APIC_BASE) & msr::APIC_BASE_EXTD != 0 { Self::X2Apic } else { Self::XApic }
    }

    /// The mode it is in, after it was enabled by software with the runtime's spurious vector.
    #[must_use]
    pub fn enabled() -> Self {
        let apic = Self::current();
        apic.write(Register::SPURIOUS, SOFTWARE_ENABLE | u32::from(interrupts::SPURIOUS));
        apic
    }

    /// In x2APIC mode for good, enabled by software as before; `None` where CPUID has no such mode.
    #[must_use]
    pub fn into_x2apic() -> Option<Self> {
        if cpuid::leaf(1).ecx & X2APIC == 0 {
            return None;
        }
        msr::set(msr::APIC_BASE, msr::get(msr::APIC_BASE) | msr::APIC_BASE_EXTD);
        Some(Self::X2Apic)
    }

    /// Reads a register.
    #[must_use]
    pub fn read(self, register: Register) -> u32 {
        match self {
            Self::XApic => physical::read(BASE + u64::from(register.0)),
            Self::X2Apic => msr::get(register.msr()) as u32,
        }
    }

    /// Writes a register.
    pub fn write(self, register: Register, value: u32) {
        match self {
            Self::XApic => physical::write(BASE + u64::from(register.0), value),
            Self::X2Apic => msr::set(register.msr(), value.into()),
        }
    }

    /// Whether `vector` is set in a group of eight registers, such as [`Register::INTERRUPT_REQUEST`].
    #[must_use]
    pub fn has(self, group: Register, vector: u8) -> bool {
        let (register, bit) = group.of_vector(vector);
        self.read(register) & bit != 0
    }

    /// Acknowledges the interrupt with the highest priority in service.
    pub fn end_of_interrupt(self) {
        self.write(Register::END_OF_INTERRUPT, 0);
    }

    /// Sends a fixed interrupt to this CPU.
    pub fn interrupt_self(self, vector: u8) {
        self.write(Register::INTERRUPT_COMMAND, SELF | u32::from(vector));
    }

    /// Sends an interprocessor interrupt to `destination`, an APIC ID unless `command` says that it is logical.
    pub fn send(self, destination: u32, command: u32) {
        match self {
            Self::XApic => {
                self.write(Register::INTERRUPT_COMMAND_HIGH, destination << 24);
                self.write(Register::INTERRUPT_COMMAND, command);
            }
            Self::X2Apic => {
                let whole = u64::from(destination) << 32 | u64::from(command);
                msr::set(Register::INTERRUPT_COMMAND.msr(), whole);
            }
        }
    }

    /// The destination that means every APIC.
    #[must_use]
    pub fn broadcast(self) -> u32 {
        if self == Self::XApic { 0xff } else { u32::MAX }
    }

    /// Starts the timer with `count` ticks, undivided; `mode` is 0 for one-shot, or [`PERIODIC`].
    pub fn start_timer(self, vector: u8, mode: u32, count: u32) {
        self.write(Register::DIVIDE, DIVIDE_BY_1);
        self.write(Register::LVT_TIMER, mode | u32::from(vector));
        self.write(Register::INITIAL_COUNT, count);
    }

    /// Stops the timer.
    pub fn stop_timer(self) {
        self.write(Register::LVT_TIMER, MASKED);
        self.write(Register::INITIAL_COUNT, 0);
    }
}
