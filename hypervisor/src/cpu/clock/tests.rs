// SPDX-License-Identifier: MIT OR Apache-2.0
//! L0 is asked first; its reference time measures, and contradicts.

use super::*;
use core::cell::Cell;
use enlightenments::consume::MsrRefused;

/// A machine without devices, where no port is to be touched.
struct NoPorts;

impl PortIo for NoPorts {
    fn read_u8(&self, port: u16) -> u8 {
        panic!("port {port:#x} is read")
    }

    fn write_u8(&self, port: u16, _: u8) {
        panic!("port {port:#x} is written")
    }

    fn read_u32(&self, port: u16) -> u32 {
        panic!("port {port:#x} is read")
    }

    fn write_u16(&self, port: u16, _: u16) {
        panic!("port {port:#x} is written")
    }
}

/// Tells frequencies, and a reference time that follows this processor's TSC as if that ticked at `hz`.
struct L0 {
    told_hz: u64,
    hz: u64,
}

impl SyntheticMsrs for L0 {
    fn read(&self, msr: u32) -> Result<u64, MsrRefused> {
        match msr {
            0x4000_0020 => Ok((u128::from(tsc()) * u128::from(REFERENCE_HZ) / u128::from(self.hz)) as u64),
            0x4000_0022 => Ok(self.told_hz),
            0x4000_0023 => Ok(200_000_000),
            _ => Err(MsrRefused { msr }),
        }
    }

    fn write(&self, msr: u32, _: u64) -> Result<(), MsrRefused> {
        Err(MsrRefused { msr })
    }
}

#[test]
#[cfg_attr(miri, ignore = "reads the processor's TSC")]
fn l0_is_believed_and_nothing_is_measured_by_timers() {
    let mut l0 = L0Clock::new(L0 { told_hz: 3_000_000_000, hz: 3_000_000_000 });
    l0.use_frequencies().unwrap();
    let found = Clock::calibrate(&NoPorts, None, &l0).unwrap();
    assert_eq!((found.source, found.contradiction), (Source::L0, None));
    assert_eq!(found.clock.tsc_hz(), 3_000_000_000);
    assert_eq!(found.clock.apic_timer_hz(), Some(200_000_000));
}

#[test]
#[cfg_attr(miri, ignore = "reads the processor's TSC")]
fn an_l0_that_contradicts_itself_by_more_than_a_hundredth_is_told_of() {
    for (told_hz, contradicts) in [(1_000_000_000, false), (985_000_000, true), (1_015_000_000, true)] {
        let mut l0 = L0Clock::new(L0 { told_hz, hz: 1_000_000_000 });
        l0.use_frequencies().unwrap();
        l0.use_counter().unwrap();
        let found = Clock::calibrate(&NoPorts, None, &l0).unwrap();
        assert_eq!(found.clock.tsc_hz(), told_hz);
        assert_eq!(found.contradiction.is_some(), contradicts, "{found:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "reads the processor's TSC")]
fn without_a_told_rate_l0s_time_measures() {
    let mut l0 = L0Clock::new(L0 { told_hz: 0, hz: 2_000_000_000 });
    l0.use_counter().unwrap();
    let found = Clock::calibrate(&NoPorts, None, &l0).unwrap();
    assert_eq!(found.source, Source::ReferenceTime);
    assert!(!differ(found.clock.tsc_hz(), 2_000_000_000), "{found:?}");
}

/// A reference time that goes on by `step` with each read, while the TSC goes on by 250 ticks.
fn measured(step: impl Fn(u64) -> Option<u64>) -> Option<u64> {
    let (reads, tsc) = (Cell::new(0), Cell::new(0));
    let time = || {
        tsc.set(tsc.get() + 250);
        step(reads.replace(reads.get() + 1))
    };
    against_reference(time, || tsc.get())
}

#[test]
fn a_hundredth_of_a_second_is_measured() {
    // 250 ticks in 1 us.
    assert_eq!(measured(|read| Some(10 * read)), Some(250_000_000));
}

#[test]
fn time_that_stands_still_or_jumps_or_ends_measures_nothing() {
    assert_eq!(measured(|_| Some(5)), None);
    assert_eq!(measured(|read| Some(read << 40)), None);
    assert_eq!(measured(|read| Some(1_000_000 - read.min(1_000_000))), None);
    assert_eq!(measured(|read| (read < 3).then_some(read)), None);
    assert_eq!(measured(|_| None), None);
}

/// Reads of a reference time, each of which takes so many ticks of the TSC, until it is given up.
fn reads_until_given_up(ticks: u64, time: impl Fn(u64) -> Option<u64>) -> u64 {
    let reads = Cell::new(0);
    let time = || time(reads.replace(reads.get() + 1));
    assert_eq!(against_reference(time, || reads.get() * ticks), None);
    reads.get()
}

#[test]
fn time_that_ends_is_not_asked_for_again() {
    assert_eq!(reads_until_given_up(250, |read| (read < 3).then_some(read)), 4);
}

#[test]
fn time_that_stands_still_holds_nobody_up_for_long_though_each_read_is_an_exit() {
    // Of 100 us, where the TSC ticks at 3 GHz.
    assert!(reads_until_given_up(300_000, |_| Some(5)) < 10_000);
}

#[test]
fn one_stop_between_a_look_at_l0s_time_and_one_at_the_tsc_does_no_harm() {
    const HZ: u64 = 1_000_000_000;
    // After the first look of the first measurement, and so on: of 1 ms each.
    for stopped in 0..3 {
        let (tsc, measurement) = (Cell::new(0), Cell::new(0));
        let measure = || {
            let first = Cell::new(measurement.replace(measurement.get() + 1) == stopped);
            let time = || {
                tsc.set(tsc.get() + 1_000);
                let now = tsc.get() / (HZ / REFERENCE_HZ);
                tsc.set(tsc.get() + if first.take() { HZ / 1_000 } else { 0 });
                Some(now)
            };
            against_reference(time, || tsc.get())
        };
        let found = middle(measure).unwrap();
        assert!(!differ(found, HZ), "{found}");
    }
}

#[test]
fn rates_that_no_machine_has_are_passed_over() {
    let absurd: [(Source, &dyn Fn() -> Option<u64>); 4] = [
        (Source::L0, &|| Some(0)),
        (Source::ReferenceTime, &|| None),
        (Source::Timer, &|| Some(u64::MAX / 2)),
        (Source::Cpuid, &|| Some(5)),
    ];
    assert_eq!(first_plausible(&absurd), None);
    let [l0, _, timer, _] = absurd;
    let cpuid: (Source, &dyn Fn() -> Option<u64>) = (Source::Cpuid, &|| Some(2_000_000_000));
    assert_eq!(first_plausible(&[l0, timer, cpuid]), Some((Source::Cpuid, 2_000_000_000)));
}
