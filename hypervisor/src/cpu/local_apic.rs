// SPDX-License-Identifier: MIT OR Apache-2.0
//! The physical CPU's local APIC, in x2APIC mode: end of interrupt, and the timer that stands for guests' timers.

// UNSAFETY: writes the APIC's registers.
#![expect(unsafe_code)]

use crate::cpu::clock::Clock;
use crate::cpu::hardware::MsrIo;
use crate::cpu::hardware::NativeMsrs;
use crate::cpu::hardware::tsc;
use crate::cpu::vector;
use core::arch::x86_64::__cpuid;
use core::fmt;

const IA32_APIC_BASE: u32 = 0x1b;
const IA32_TSC_DEADLINE: u32 = 0x6e0;
// x2APIC registers (SDM vol. 3, table 12-6).
const ID: u32 = 0x802;
const END_OF_INTERRUPT: u32 = 0x80b;
const SPURIOUS_VECTOR: u32 = 0x80f;
const LVT_TIMER: u32 = 0x832;
const LVT_LINT0: u32 = 0x835;
const LVT_LINT1: u32 = 0x836;
const INITIAL_COUNT: u32 = 0x838;
const CURRENT_COUNT: u32 = 0x839;
const DIVIDE_CONFIGURATION: u32 = 0x83e;

const MASKED: u64 = 1 << 16;
const TSC_DEADLINE_MODE: u64 = 2 << 17;
const DIVIDE_BY_1: u64 = 0b1011;

/// The CPU has no x2APIC.
#[derive(Clone, Copy, Debug)]
pub struct NoX2Apic;

impl fmt::Display for NoX2Apic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this CPU offers no x2APIC: under QEMU use `-cpu host,+x2apic`, in firmware set-up turn x2APIC on"
        )
    }
}

/// How the timer is told when to fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    /// By the value of the TSC.
    Deadline,
    /// By a count of its own ticks, of which there are so many in 2^32 ticks of the TSC.
    OneShot { ticks: u64 },
}

/// The local APIC of the CPU that made it.
#[derive(Debug)]
pub struct LocalApic {
    timer: Timer,
    /// The deadline that is set, so that setting the same again costs nothing.
    armed: Option<u64>,
}

impl LocalApic {
    /// Turns the APIC on in x2APIC mode, all local interrupts but the timer masked.
    pub fn enable(clock: Clock) -> Result<Self, NoX2Apic> {
        const X2APIC: u32 = 1 << 21;
        const DEADLINE: u32 = 1 << 24;
        const ENABLE_X2APIC: u64 = 3 << 10;
        let features = __cpuid(1).ecx;
        if features & X2APIC == 0 {
            return Err(NoX2Apic);
        }
        write(IA32_APIC_BASE, NativeMsrs.read(IA32_APIC_BASE) | ENABLE_X2APIC);
        write(SPURIOUS_VECTOR, 1 << 8 | u64::from(vector::SPURIOUS));
        write(LVT_LINT0, MASKED);
        write(LVT_LINT1, MASKED);
        let timer = if features & DEADLINE != 0 {
            write(LVT_TIMER, TSC_DEADLINE_MODE | u64::from(vector::TIMER));
            Timer::Deadline
        } else {
            write(DIVIDE_CONFIGURATION, DIVIDE_BY_1);
            let ticks = measure_ticks(clock);
            write(LVT_TIMER, u64::from(vector::TIMER));
            Timer::OneShot { ticks }
        };
        Ok(Self { timer, armed: None })
    }

    /// This CPU's APIC id.
    #[must_use]
    pub fn id(&self) -> u32 {
        NativeMsrs.read(ID) as u32
    }

    /// Raises [`vector::TIMER`] once the TSC is past `deadline`, or never. Replaces what was set before.
    pub fn set_timer(&mut self, deadline: Option<u64>) {
        if self.armed != deadline {
            self.armed = deadline;
            self.arm(deadline);
        }
    }

    /// Forgets what was set, because it may have fired.
    pub fn forget_timer(&mut self) {
        self.armed = None;
    }

    fn arm(&self, deadline: Option<u64>) {
        match (self.timer, deadline) {
            // Zero would mean "never"; one is as long past.
            (Timer::Deadline, deadline) => write(IA32_TSC_DEADLINE, deadline.map_or(0, |tsc| tsc.max(1))),
            (Timer::OneShot { .. }, None) => write(INITIAL_COUNT, 0),
            (Timer::OneShot { ticks }, Some(deadline)) => {
                let wait = (u128::from(deadline.saturating_sub(tsc())) * u128::from(ticks)) >> 32;
                write(INITIAL_COUNT, wait.clamp(1, u128::from(u32::MAX)) as u64);
            }
        }
    }
}

/// Writes a register of the APIC.
fn write(msr: u32, value: u64) {
    // SAFETY: every CPU on which `LocalApic::enable` was called has these registers, and the constants above are values that
    // they take. What they raise are interrupts, for which there are handlers.
    unsafe { NativeMsrs.write(msr, value) };
}

/// Tells this CPU's APIC that the interrupt in service is done.
pub fn end_of_interrupt() {
    write(END_OF_INTERRUPT, 0);
}

/// Ticks of the APIC timer in 2^32 ticks of the TSC, measured over 10 ms.
fn measure_ticks(clock: Clock) -> u64 {
    write(LVT_TIMER, MASKED);
    write(INITIAL_COUNT, u64::from(u32::MAX));
    let start = tsc();
    while tsc() - start < clock.tsc_hz() / 100 {}
    let (passed, count) = (tsc() - start, NativeMsrs.read(CURRENT_COUNT));
    write(INITIAL_COUNT, 0);
    ((u128::from(u64::from(u32::MAX) - count) << 32) / u128::from(passed)) as u64
}
