// SPDX-License-Identifier: MIT OR Apache-2.0
//! How fast the TSC ticks: as who runs us tells, or measured against a clock whose rate is fixed.

use crate::cpu::hardware::PortIo;
use crate::cpu::hardware::tsc;
use crate::cpu::hardware::tsc_in_order;
use core::fmt;
use core::hint;
use core::ops::RangeInclusive;
use enlightenments::consume::SyntheticMsrs;
use enlightenments::consume::time::L0Clock;
use enlightenments::consume::time::REFERENCE_HZ;

/// Rate of the programmable interval timer.
const PIT_HZ: u64 = 1_193_182;
/// Rate of the ACPI power-management timer.
const PM_TIMER_HZ: u64 = 3_579_545;
/// How long a measurement takes: a hundredth of a second.
const PART: u64 = 100;
/// Reads of a timer before it is taken for dead: more than any takes in a hundredth of a second.
const PATIENCE: u32 = 10_000_000;

/// The same for L0's reference time, which may take less than ten nanoseconds to read,
const REFERENCE_PATIENCE: u32 = 4_000_000;
/// or be an exit: so many ticks are more than any TSC makes meanwhile.
const REFERENCE_PATIENCE_TICKS: u64 = 1 << 30;
/// What a TSC can tick at, in Hz. The slowest are emulated ones. With another rate waits would have no end, or none would be one.
const PLAUSIBLE: RangeInclusive<u64> = 1_000_000..=100_000_000_000;

/// Nothing to measure the TSC against.
#[derive(Clone, Copy, Debug)]
pub struct NoClock;

impl fmt::Display for NoClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "neither the PIT nor the ACPI timer runs, and neither CPUID nor a hypervisor tells the TSC's rate: turn one of them on"
        )
    }
}

/// How fast the machine's clocks tick.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    tsc_hz: u64,
    apic_timer_hz: Option<u64>,
}

/// Where the TSC's rate is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// L0 tells it.
    L0,
    /// Measured against the reference time that L0 tells.
    ReferenceTime,
    /// Measured against the PIT or the ACPI timer.
    Timer,
    /// CPUID tells it.
    Cpuid,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::L0 => "as L0 tells",
            Self::ReferenceTime => "by L0's reference time",
            Self::Timer => "by a timer",
            Self::Cpuid => "as CPUID tells",
        })
    }
}

/// The clock, and how it was found.
#[derive(Clone, Copy, Debug)]
pub struct Calibration {
    /// The clock.
    pub clock: Clock,
    /// Where the TSC's rate is from.
    pub source: Source,
    /// What the TSC ticks at by L0's reference time, in Hz, if that is more than a hundredth off what L0 tells.
    pub contradiction: Option<u64>,
}

impl Clock {
    /// Asks L0 for the TSC's rate; or else measures it against L0's reference time, the PIT or the ACPI timer, or else believes CPUID
    /// leaf 0x15: there are machines whose leaf is wrong.
    pub fn calibrate<M: SyntheticMsrs>(
        ports: &impl PortIo,
        pm_timer: Option<u16>,
        l0: &L0Clock<M>,
    ) -> Result<Calibration, NoClock> {
        let by_reference = || against_reference(|| l0.reference_time(tsc_in_order), tsc_in_order);
        let by_timer = || against_pit(ports).or_else(|| against_pm_timer(ports, pm_timer?));
        let (source, tsc_hz) = first_plausible(&[
            (Source::L0, &|| l0.tsc_hz()),
            (Source::ReferenceTime, &|| middle(by_reference)),
            (Source::Timer, &|| shortest(by_timer)),
            (Source::Cpuid, &from_cpuid),
        ])
        .ok_or(NoClock)?;
        let contradiction =
            if source == Source::L0 { middle(by_reference).filter(|&hz| differ(hz, tsc_hz)) } else { None };
        let clock = Self { tsc_hz, apic_timer_hz: l0.apic_timer_hz() };
        Ok(Calibration { clock, source, contradiction })
    }

    /// Ticks of the TSC in a second.
    #[must_use]
    pub fn tsc_hz(self) -> u64 {
        self.tsc_hz
    }

    /// Ticks of the local APIC's timer in a second, before its divider, if L0 tells.
    #[must_use]
    pub fn apic_timer_hz(self) -> Option<u64> {
        self.apic_timer_hz
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

/// The first source that tells what can be.
fn first_plausible(sources: &[(Source, &dyn Fn() -> Option<u64>)]) -> Option<(Source, u64)> {
    let told = |(source, rate): &(Source, &dyn Fn() -> Option<u64>)| {
        Some((*source, rate().filter(|hz| PLAUSIBLE.contains(hz))?))
    };
    sources.iter().find_map(told)
}

/// Whether two rates are more than a hundredth apart.
fn differ(one: u64, other: u64) -> bool {
    one.abs_diff(other) > other / 100
}

/// Whoever runs us may stop us in the middle, which makes one measurement too long, never too short.
fn shortest(measure: impl Fn() -> Option<u64>) -> Option<u64> {
    let first = measure()?;
    Some([measure(), measure()].into_iter().flatten().fold(first, u64::min))
}

/// A stop between a look at L0's time and one at the TSC makes a measurement too short if it is the first, too long if it is the last.
fn middle(measure: impl Fn() -> Option<u64>) -> Option<u64> {
    let mut rates = [measure()?, measure()?, measure()?];
    rates.sort_unstable();
    Some(rates[1])
}

/// A hundredth of a second of reference time, which is read with `time`. One that ends, stands still or jumps tells nothing.
fn against_reference(time: impl Fn() -> Option<u64>, tsc: impl Fn() -> u64) -> Option<u64> {
    let (first, start) = (time()?, tsc());
    let passed = || Some((time()?.saturating_sub(first), tsc().saturating_sub(start)));
    let (reference, ticks) = (0..REFERENCE_PATIENCE)
        .map_while(|_| passed().filter(|&(_, ticks)| ticks < REFERENCE_PATIENCE_TICKS))
        .find(|&(reference, _)| reference >= REFERENCE_HZ / PART)?;
    let hz = u128::from(ticks) * u128::from(REFERENCE_HZ) / u128::from(reference);
    u64::try_from(hz).ok().filter(|hz| PLAUSIBLE.contains(hz))
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

#[cfg(test)]
mod tests;
