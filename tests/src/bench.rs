// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one operation costs: in ticks of the TSC, in VM exits, and in whatever others count between two marks.
//!
//! | line | what it tells |
//! |---|---|
//! | `bench: NAME N` | ticks of one, rounded down: the median of batches, each so short that few of them meet a timer of the system below |
//! | `exits: NAME X.XX` | VM exits of one, on average, where there is the exerciser to ask |
//! | `marked: NAME K R` | with `marks=1` on the command line: R of them were between the [marks] K and K + 1 |
//!
//! Where one tick is one instruction, ticks are instructions.

use crate::effort;
use crate::exerciser;
use crate::exerciser::EXITS_OF_ASKING;
use crate::local_apic;
use crate::local_apic::LocalApic;
use crate::local_apic::Register;
use crate::marks;
use crate::pic;
use crate::pit;
use crate::say;
use crate::start_info;
use crate::time;

/// Batches that are timed.
pub const BATCHES: usize = 21;

/// No batch takes longer if it can be shorter, in ticks: a tenth of the time between two ticks of a Linux of 250 Hz in the lab.
const LONGEST_BATCH: u64 = 40_000;

/// How often two marks come with nothing between them: a Linux that waits for them has more to do at one time than at another.
const MARKS_WITH_NOTHING: u32 = 5;

/// How often an operation is done.
#[derive(Clone, Copy, Debug)]
pub struct Often {
    /// So many come together, always.
    pub unit: u64,
    /// Before the first that is timed.
    pub warm_up: u64,
    /// In one batch at most.
    pub batch: u64,
    /// While exits are counted, and again between marks.
    pub counted: u64,
    /// So many exits come with each that are not its own. Marks cannot tell them apart, so then there are none.
    pub beside: u64,
}

impl Often {
    /// What can be done again and again.
    pub const AT_WILL: Self = Self { unit: 1, warm_up: 64, batch: 64, counted: 400, beside: 0 };

    /// What uses something up each time, so much that it can be done so often without being timed.
    #[must_use]
    pub const fn scarce(counted: u64) -> Self {
        Self { unit: 1, warm_up: 0, batch: 1, counted, beside: 0 }
    }

    /// With less than a tenth of all effort, less often.
    fn by_effort(self) -> Self {
        let units = |count: u64| most_of(count / self.unit) * self.unit;
        Self { warm_up: units(self.warm_up), counted: units(self.counted), ..self }
    }
}

/// All of it, but with less than a tenth of all effort.
fn most_of(full: u64) -> u64 {
    effort::of(10 * full).min(full)
}

/// Measures one operation after the other.
#[derive(Debug)]
pub struct Bench {
    counts_exits: bool,
    /// The number of the next mark, if there are to be any.
    mark: Option<u32>,
}

impl Bench {
    /// Looks what there is, has the machine be quiet, and finds out what marks cost.
    #[must_use]
    pub fn start() -> Self {
        be_quiet();
        let marks = start_info::number("marks") == Some(1);
        let mut bench = Self { counts_exits: exerciser::is_there(), mark: marks.then_some(0) };
        for _ in 0..MARKS_WITH_NOTHING {
            bench.between_marks("nothing", 1, |_| ());
        }
        bench
    }

    /// Measures `act`, which does it as often as it is told to, and gives the ticks that this took.
    pub fn measure(&mut self, name: &str, often: Often, mut act: impl FnMut(u64) -> u64) {
        let often = often.by_effort();
        if often.warm_up > 0 {
            act(often.warm_up);
        }
        say!("bench: {name} {}", median(often, &mut act));
        if self.counts_exits {
            let before = exerciser::exits();
            act(often.counted);
            let exits = exerciser::exits().wrapping_sub(before) - EXITS_OF_ASKING;
            say_exits(name, u64::from(exits) - often.beside * often.counted, often.counted);
        }
        if often.beside == 0 {
            self.between_marks(name, often.counted, |count| _ = act(count));
        }
    }

    fn between_marks(&mut self, name: &str, count: u64, mut act: impl FnMut(u64)) {
        if let Some(number) = self.mark {
            marks::mark(number);
            act(count);
            marks::mark(number + 1);
            say!("marked: {name} {number} {count}");
            self.mark = Some(number + 2);
        }
    }
}

/// Says that so many operations took so many exits.
pub fn say_exits(name: &str, exits: u64, operations: u64) {
    let hundredths = (100 * exits + operations / 2) / operations;
    say!("exits: {name} {}.{:02}", hundredths / 100, hundredths % 100);
}

/// Ticks of one.
fn median(often: Often, act: &mut impl FnMut(u64) -> u64) -> u64 {
    let unit = often.unit;
    let units = match often.batch / unit {
        1 => 1,
        most => (LONGEST_BATCH / act(unit).max(1)).clamp(1, most),
    };
    let mut batches = [0; BATCHES];
    let batches = &mut batches[..most_of(BATCHES as u64) as usize];
    batches.fill_with(|| act(units * unit));
    batches.sort_unstable();
    batches[batches.len() / 2] / (units * unit)
}

/// How many ticks it takes to do something.
pub fn timed(act: impl FnOnce()) -> u64 {
    let start = time::tsc();
    act();
    time::tsc() - start
}

/// No interrupt comes but those that the program asks for: firmware leaves a timer that ticks.
fn be_quiet() {
    pic::unmask(0);
    pit::run_out();
    LocalApic::enabled().write(Register::LVT_LINT0, local_apic::MASKED);
}
