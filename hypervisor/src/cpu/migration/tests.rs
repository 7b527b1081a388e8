// SPDX-License-Identifier: MIT OR Apache-2.0
//! An L0 that migrates us from machine to machine, and guests who must not notice.

use super::*;
use core::cell::Cell;
use enlightenments::consume::MsrRefused;
use proptest::prelude::*;

const TIME_REF_COUNT: u32 = 0x4000_0020;
const TSC_FREQUENCY: u32 = 0x4000_0022;
const APIC_FREQUENCY: u32 = 0x4000_0023;
const REENLIGHTENMENT_CONTROL: u32 = 0x4000_0106;
const TSC_EMULATION_CONTROL: u32 = 0x4000_0107;
const TSC_EMULATION_STATUS: u32 = 0x4000_0108;

/// What the TSC ticks at when Satori starts.
const HZ: u64 = 2_500_000_000;
/// How long an exit to L0 may take.
const EXIT_PS: u128 = 15_000_000;
/// What guests' clocks may gain in a migration: the exits while time was read, a tick of the counter on each side, and a bit.
const GAIN: u64 = HZ / 1_000_000 * 150;

/// A TSC: what it shows at a time in picoseconds.
#[derive(Clone, Copy, Debug)]
struct Tsc {
    hz: u64,
    since: u128,
    base: u64,
}

impl Tsc {
    fn at(self, ps: u128) -> u64 {
        let ticks = (ps - self.since) * u128::from(self.hz) / 1_000_000_000_000;
        self.base.wrapping_add(ticks as u64)
    }
}

/// An L0 and the time in the world outside.
#[derive(Debug)]
struct World {
    ps: Cell<u128>,
    /// The one that is played while emulation goes on.
    old: Cell<Tsc>,
    /// That of the machine.
    tsc: Cell<Tsc>,
    emulates: Cell<bool>,
    /// Whether it stops that when it is told to.
    obeys: bool,
}

impl World {
    fn new() -> Self {
        let tsc = Tsc { hz: HZ, since: 0, base: 1_000_000_000 };
        let emulates = Cell::new(false);
        Self { ps: Cell::new(0), old: Cell::new(tsc), tsc: Cell::new(tsc), emulates, obeys: true }
    }

    fn pass(&self, ps: u128) {
        self.ps.set(self.ps.get() + ps);
    }

    fn read_tsc(&self) -> u64 {
        self.pass(10_000);
        let tsc = if self.emulates.get() { &self.old } else { &self.tsc };
        tsc.get().at(self.ps.get())
    }

    /// To a machine whose TSC ticks at `hz` and shows `base`.
    fn migrate(&self, hz: u64, base: u64) {
        if !self.emulates.replace(true) {
            self.old.set(self.tsc.get());
        }
        self.tsc.set(Tsc { hz, since: self.ps.get(), base });
    }

    /// What a clock of `HZ` would show that nobody migrates.
    fn ideal(&self) -> u64 {
        (self.ps.get() * u128::from(HZ) / 1_000_000_000_000) as u64
    }
}

impl SyntheticMsrs for World {
    fn read(&self, msr: u32) -> Result<u64, MsrRefused> {
        self.pass(EXIT_PS);
        Ok(match msr {
            TIME_REF_COUNT => (self.ps.get() / 100_000) as u64,
            TSC_FREQUENCY => self.tsc.get().hz,
            APIC_FREQUENCY => 200_000_000,
            TSC_EMULATION_STATUS => self.emulates.get().into(),
            REENLIGHTENMENT_CONTROL => 1 << 16 | 0x23,
            TSC_EMULATION_CONTROL => 1,
            _ => return Err(MsrRefused { msr }),
        })
    }

    fn write(&self, msr: u32, value: u64) -> Result<(), MsrRefused> {
        self.pass(EXIT_PS);
        if msr == TSC_EMULATION_STATUS && self.obeys {
            self.emulates.set(value & 1 != 0);
        }
        Ok(())
    }
}

fn clock(world: &World) -> L0Clock<&World> {
    let mut clock = L0Clock::new(world);
    clock.use_frequencies().unwrap();
    clock.use_counter().unwrap();
    clock.use_reenlightenment(0x23, 0).unwrap();
    clock
}

/// How much the machine's time has gained on a clock that nobody migrates; what it has lost is negative.
fn gain(world: &World, timeline: Timeline, start: (u64, u64)) -> i128 {
    let now = timeline.at(world.read_tsc());
    i128::from(now - start.0) - i128::from(world.ideal() - start.1)
}

#[test]
fn guests_do_not_notice_that_the_machine_is_exchanged() {
    let world = World::new();
    let l0 = clock(&world);
    let mut timeline = Timeline::AT_START;
    let start = (timeline.at(world.read_tsc()), world.ideal());
    let mut latest = start.0;
    for (number, hz) in [HZ * 2, HZ / 2, HZ, HZ * 3 / 4, 1_999_999_999, HZ / 2, HZ].into_iter().enumerate() {
        // Its TSC stands anywhere, also behind.
        world.migrate(hz, [1 << 40, 5, u64::MAX / 3][number % 3]);
        // As long as nobody has looked after it, L0 plays the old one.
        world.pass(30_000_000_000);
        assert!(gain(&world, timeline, start).unsigned_abs() <= (number as u128 + 1) * u128::from(GAIN));
        let arrival = arrive(&l0, HZ, timeline, || world.read_tsc());
        assert_eq!((arrival.tsc_hz, arrival.emulation), (Some(hz), Ok(())));
        assert_eq!(arrival.time.apic_timer_hz, Some(200_000_000));
        timeline = arrival.time.timeline;
        for _ in 0..1_000 {
            let now = timeline.at(world.read_tsc());
            assert!(now >= latest, "it went back by {}", latest - now);
            latest = now;
            world.pass(1_000_000);
        }
        let gain = gain(&world, timeline, start);
        assert!((-2..=i128::from(GAIN) * (number as i128 + 1)).contains(&gain), "{gain} after {number}");
    }
}

/// The rate that it tells is not that of the TSC which it goes on to play.
#[test]
fn an_l0_that_goes_on_playing_the_tsc_has_not_exchanged_it() {
    let world = World { obeys: false, ..World::new() };
    let l0 = clock(&world);
    let start = (world.read_tsc(), world.ideal());
    world.migrate(HZ * 2, 5);
    let arrival = arrive(&l0, HZ, Timeline::AT_START, || world.read_tsc());
    assert_eq!(arrival.emulation, Err(TimeError::NotTaken { msr: TSC_EMULATION_STATUS }));
    world.pass(1_000_000_000_000);
    let gain = gain(&world, arrival.time.timeline, start);
    assert!(gain.unsigned_abs() <= GAIN.into(), "{gain}");
}

#[test]
fn deadlines_come_when_they_are_due_by_the_guests_clock() {
    for hz in [HZ * 2, HZ / 2, HZ * 7 / 3] {
        let world = World::new();
        let l0 = clock(&world);
        let deadline = Timeline::AT_START.at(world.read_tsc()) + HZ / 100;
        let due_ps = world.ps.get() + 10_000_000_000;
        world.migrate(hz, 123_456);
        let timeline = arrive(&l0, HZ, Timeline::AT_START, || world.read_tsc()).time.timeline;
        let armed = timeline.tsc_at(deadline, world.read_tsc());
        world.pass(due_ps - world.ps.get() - 200_000_000);
        assert!(world.read_tsc() < armed, "it is not due 200 us before");
        world.pass(200_000_000);
        assert!(world.read_tsc() >= armed && timeline.at(world.read_tsc()) >= deadline);
    }
}

#[test]
fn back_on_a_machine_like_the_first_time_is_counted_as_at_the_start() {
    let world = World::new();
    let l0 = clock(&world);
    let mut timeline = Timeline::AT_START;
    for hz in [HZ * 2, HZ + HZ / 10_000] {
        world.migrate(hz, 0);
        timeline = arrive(&l0, HZ, timeline, || world.read_tsc()).time.timeline;
    }
    assert_eq!(timeline.multiplier(), Multiplier::ONE);
}

#[test]
fn without_a_counter_the_clock_goes_on_from_where_it_was() {
    let world = World::new();
    let mut l0 = L0Clock::new(&world);
    l0.use_frequencies().unwrap();
    l0.use_reenlightenment(0x23, 0).unwrap();
    world.migrate(HZ * 2, 42);
    let before = world.read_tsc();
    let timeline = arrive(&l0, HZ, Timeline::AT_START, || world.read_tsc()).time.timeline;
    let after = timeline.at(world.read_tsc());
    assert!((before..before + GAIN).contains(&after));
}

#[test]
fn an_l0_that_tells_no_rate_has_not_changed_it() {
    let world = World::new();
    let timeline = arrive(&L0Clock::new(&world), HZ, Timeline::AT_START, || 77).time.timeline;
    assert_eq!(timeline, Timeline::AT_START);
}

#[test]
fn a_rate_is_pretended_from_now_on_and_taken_back() {
    let twice = pretend(2, 1, Timeline::AT_START, 1_000).unwrap();
    assert_eq!([1_000, 3_000].map(|tsc| twice.at(tsc)), [1_000, 2_000]);
    let as_before = pretend(1, 1, twice, 3_000).unwrap();
    assert_eq!(as_before.at(3_500), 2_500);
    assert_eq!(pretend(1, 0, twice, 0), None);
    assert_eq!(pretend(u32::MAX, 1, twice, 0), None);
}

proptest! {
    /// An L0 that lies: whatever it tells, there is an answer, and time does not go back by its counter.
    #[test]
    fn no_l0_makes_time_go_back(left: u64, came: u64, hz: u64, last: u64, first: u64) {
        /// What it tells of frequencies, and of the time now and from then on.
        struct Liar(u64, Cell<u64>, u64);
        impl SyntheticMsrs for Liar {
            fn read(&self, msr: u32) -> Result<u64, MsrRefused> {
                Ok(if msr == TIME_REF_COUNT { self.1.replace(self.2) } else { self.0 })
            }

            fn write(&self, msr: u32, _: u64) -> Result<(), MsrRefused> {
                Err(MsrRefused { msr })
            }
        }
        let liar = Liar(hz, Cell::new(0), came);
        let mut l0 = L0Clock::new(&liar);
        let _ = l0.use_frequencies();
        l0.use_counter().unwrap();
        liar.1.set(left);
        let reads = Cell::new(last);
        let after = arrive(&l0, HZ, Timeline::AT_START, || reads.replace(first)).time.timeline;
        let passed = ticks(came.saturating_sub(left), HZ);
        prop_assert_eq!(after.at(first), last.wrapping_add(passed));
    }
}
