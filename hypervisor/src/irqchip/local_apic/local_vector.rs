// SPDX-License-Identifier: MIT OR Apache-2.0
//! The local vector table: what the APIC's own sources raise (SDM vol. 3, "Local Vector Table").

use super::register::Register;
use super::timer::TimerMode;
use bitfield_struct::bitfield;

/// A source of interrupts that is wired to this local APIC alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalSource {
    /// The APIC timer.
    Timer,
    /// The thermal sensor.
    Thermal,
    /// Overflow of a performance counter.
    Performance,
    /// The pin LINT0, which carries the 8259A's INTR.
    Lint0,
    /// The pin LINT1, which carries NMI.
    Lint1,
    /// An error that the APIC noticed.
    Error,
}

impl LocalSource {
    /// How many there are.
    pub(super) const COUNT: usize = 6;

    /// The source that `register` belongs to.
    pub(super) fn of_register(register: Register) -> Option<Self> {
        match register {
            Register::LVT_TIMER => Some(Self::Timer),
            Register::LVT_THERMAL => Some(Self::Thermal),
            Register::LVT_PERFORMANCE => Some(Self::Performance),
            Register::LVT_LINT0 => Some(Self::Lint0),
            Register::LVT_LINT1 => Some(Self::Lint1),
            Register::LVT_ERROR => Some(Self::Error),
            _ => None,
        }
    }

    /// The bits of this source's entry that software may write ("Local Vector Table (LVT)", the figure).
    pub(super) fn writable(self) -> u32 {
        match self {
            Self::Timer => 0x0007_00FF,
            Self::Thermal | Self::Performance => 0x0001_07FF,
            Self::Lint0 | Self::Lint1 => 0x0001_A7FF,
            Self::Error => 0x0001_00FF,
        }
    }

    /// The bits that are read-only: a write may carry them and leaves them alone. Delivery status; for the
    /// pins remote IRR too.
    pub(super) fn read_only(self) -> u32 {
        match self {
            Self::Lint0 | Self::Lint1 => 0x5000,
            _ => 0x1000,
        }
    }
}

/// One entry of the local vector table.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub(super) struct LocalVector {
    pub vector: u8,
    #[bits(3)]
    pub delivery_mode: u8,
    #[bits(5)]
    _pins: u8,
    pub masked: bool,
    #[bits(2)]
    timer_mode_bits: u8,
    #[bits(13)]
    _reserved: u16,
}

impl LocalVector {
    /// What reset leaves in every entry.
    pub(super) const RESET: Self = Self::new().with_masked(true);

    pub(super) fn timer_mode(self) -> TimerMode {
        TimerMode::from_bits(self.timer_mode_bits())
    }
}
