// SPDX-License-Identifier: MIT OR Apache-2.0
//! Time: the TSC, and how fast it ticks, measured against a timer whose rate is fixed.

use crate::cpu::hardware::PortIo;
use crate::cpu::hardware::tsc;
use core::fmt;
use core::hint;

/// Rate of the programmable interval timer.
const PIT_HZ: u64 = 1_193_182;
/// Rate of the ACPI power-management timer.
const PM_TIMER_HZ: u64 = 3_579_545;
/// How long a measurement takes: a hundredth of a second.
const PART: u64 = 100;
/// Reads of a timer before it is taken for dead: more than any takes in a hundredth of a second.
const PATIENCE: u32 = 10_000_000;

/// Nothing to measure the TSC against.
#[derive(Clone, Copy, Debug)]
pub struct NoClock;

impl fmt::Display for NoClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "neither the PIT nor the ACPI timer runs, and CPUID does not tell the TSC's rate: turn one of them on"
        )
    }
}

/// The machine's time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    tsc_hz: u64,
}

impl Clock {
    /// Measures the TSC against the PIT or the ACPI timer, or else believes CPUID leaf 0x15: there are machines whose leaf is wrong.
    pub fn calibrate(ports: &impl PortIo, pm_timer: Option<u16>) -> Result<Self, NoClock> {
        let once = || against_pit(ports).or_else(|| against_pm_timer(ports, pm_timer?));
        // Whoever runs us may stop us in the middle, which makes one measurement too long, never too short.
        let measured = once().map(|first| [once(), once()].into_iter().flatten().fold(first, u64::min));
        measured.or_else(from_cpuid).filter(|&hz| hz > 0).map(|tsc_hz| Self { tsc_hz }).ok_or(NoClock)
    }

    /// Ticks of the TSC in a second.
    #[must_use]
    pub fn tsc_hz(self) -> u64 {
        self.tsc_hz
    }

    /// Ticks of the TSC in so many microseconds.
    #[must_use]
    pub fn ticks(self, micros: u64) -> u64 {
        (u128::from(self.tsc_hz) * u128::from(micros) / 1_000_000) as u64
    }

    /// Waits until `done`, so many microseconds at most. Whether it is done.
    pub fn wait(self, micros: u64, done: impl Fn() -> bool) -> bool {
        let (start, ticks) = (tsc(), self.ticks(micros));
        while !done() {
            if tsc().wrapping_sub(start) >= ticks {
                return done();
            }
            hint::spin_loop();
        }
        true
    }
}

/// Channel 2 counts down once from a hundredth of a second; port 0x61 gates it and shows its output.
fn against_pit(ports: &impl PortIo) -> Option<u64> {
    const GATE: u16 = 0x61;
    const CHANNEL_2: u16 = 0x42;
    const CONTROL: u16 = 0x43;
    const OUTPUT: u8 = 1 << 5;
    let count = (PIT_HZ / PART) as u16;
    let gate = ports.read_u8(GATE);
    // Gate on, speaker off; then mode 0 (output low until the count is done), low byte first.
    ports.write_u8(GATE, gate & !2 | 1);
    ports.write_u8(CONTROL, 0b1011_0000);
    ports.write_u8(CHANNEL_2, count as u8);
    ports.write_u8(CHANNEL_2, (count >> 8) as u8);
    let start = tsc();
    // An absent port reads all ones: the output would be high at once.
    let alive = ports.read_u8(GATE) & OUTPUT == 0;
    let done = alive && (0..PATIENCE).any(|_| ports.read_u8(GATE) & OUTPUT != 0);
    let passed = tsc() - start;
    ports.write_u8(GATE, gate);
    done.then_some(passed * PART)
}

/// The timer has 24 bits at least; the measurement takes a hundredth of what they hold.
fn against_pm_timer(ports: &impl PortIo, port: u16) -> Option<u64> {
    let count = || ports.read_u32(port) & 0xff_ffff;
    let (first, start) = (count(), tsc());
    let wait = (PM_TIMER_HZ / PART) as u32;
    let done = (0..PATIENCE).any(|_| count().wrapping_sub(first) & 0xff_ffff >= wait);
    done.then(|| (tsc() - start) * PART)
}

/// Leaf 0x15: the ratio of the TSC to the crystal, and the crystal's rate (SDM vol. 2A, CPUID).
fn from_cpuid() -> Option<u64> {
    if core::arch::x86_64::__cpuid(0).eax < 0x15 {
        return None;
    }
    let leaf = core::arch::x86_64::__cpuid(0x15);
    (u64::from(leaf.ecx) * u64::from(leaf.ebx)).checked_div(u64::from(leaf.eax))
}
