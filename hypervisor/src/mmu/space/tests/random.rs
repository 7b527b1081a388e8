// SPDX-License-Identifier: MIT OR Apache-2.0
//! Anything in any order, against a reference: what is in memory, what was written to, and what no CPU may use any more.

use super::l0::Answer;
use super::l0::L0;
use super::machine::Machine;
use super::machine::Outcome;
use super::machine::load;
use super::machine::store;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::vec::Vec;

/// Guest frames of the test.
const FRAMES: u64 = 2100;
/// Frames of each RAM.
const RAMS: [u64; 3] = [1024, 515, 3];

#[derive(Clone, Copy, Debug)]
enum What {
    Ram(usize),
    Rom(usize),
    Device,
    Nothing,
}

#[derive(Clone, Debug)]
enum Step {
    Touch { cpu: usize, frame: u64, write: bool },
    SoftwareWrite { frame: u64, exchange: bool },
    SoftwareRead { frame: u64 },
    Put { what: What, first: u64, frames: u64 },
    Zap { first: u64, frames: u64 },
    Collapse { first: u64, frames: u64 },
    Populate { first: u64, frames: u64 },
    StartLog { first: u64, frames: u64 },
    StopLog { first: u64, frames: u64 },
    FetchLog { first: u64, count: u64 },
    Age { frame: u64 },
}

/// Near the places where something may go wrong.
fn frame() -> impl Strategy<Value = u64> {
    let edge = prop::sample::select(&[0_u64, 512, 1024, 1536, 2048][..]);
    prop_oneof![4 => (edge, 0_u64..4).prop_map(|(edge, more)| edge + more), 1 => 0..FRAMES]
}

fn frames() -> impl Strategy<Value = (u64, u64)> {
    (frame(), prop_oneof![1_u64..4, Just(512), 500_u64..1200])
}

fn step() -> impl Strategy<Value = Step> {
    let what = prop_oneof![
        4 => (0..RAMS.len()).prop_map(What::Ram),
        1 => (0..RAMS.len()).prop_map(What::Rom),
        1 => Just(What::Device),
        1 => Just(What::Nothing),
    ];
    prop_oneof![
        12 => (0..Machine::CPUS, frame(), any::<bool>()).prop_map(|(cpu, frame, write)| Step::Touch { cpu, frame, write }),
        2 => (frame(), any::<bool>()).prop_map(|(frame, exchange)| Step::SoftwareWrite { frame, exchange }),
        1 => frame().prop_map(|frame| Step::SoftwareRead { frame }),
        3 => (what, frame(), 1_u64..1100).prop_map(|(what, first, frames)| Step::Put { what, first, frames }),
        2 => frames().prop_map(|(first, frames)| Step::Zap { first, frames }),
        1 => frames().prop_map(|(first, frames)| Step::Collapse { first, frames }),
        1 => frames().prop_map(|(first, frames)| Step::Populate { first, frames }),
        1 => frames().prop_map(|(first, frames)| Step::StartLog { first, frames }),
        1 => frames().prop_map(|(first, frames)| Step::StopLog { first, frames }),
        3 => (frame(), 0_u64..70).prop_map(|(first, count)| Step::FetchLog { first, count }),
        1 => frame().prop_map(|frame| Step::Age { frame }),
    ]
}

/// Who flushes: we ourselves, or an L0, and how its first calls end.
fn provider() -> impl Strategy<Value = Option<Vec<Answer>>> {
    let answer =
        prop_oneof![2 => Just(Answer::Done), 1 => (0_usize..3).prop_map(|after| Answer::Fails { after })];
    prop::option::of(prop::collection::vec(answer, 0..30))
}

/// What is at a guest frame.
#[derive(Clone, Copy, Debug)]
struct Place {
    what: What,
    /// The frame of the RAM.
    index: u64,
    /// Which slot it is part of, and whether its writes are logged.
    slot: u64,
    logged: bool,
}

/// What must be.
struct Reference {
    places: Vec<Place>,
    contents: BTreeMap<(usize, u64), u64>,
    written: BTreeSet<u64>,
    /// Numbers slots and values.
    next: u64,
}

impl Reference {
    fn new() -> Self {
        let nothing = Place { what: What::Nothing, index: 0, slot: 0, logged: false };
        let places = [nothing; FRAMES as usize * 2].into();
        Self { places, contents: BTreeMap::new(), written: BTreeSet::new(), next: 1 }
    }

    fn put(&mut self, what: What, frames: Range<u64>) {
        // What is left of a slot on both sides is two slots.
        let after = self.places[frames.end as usize].slot;
        let end = self.slot_end(frames.end - 1);
        for place in &mut self.places[frames.end as usize..end.max(frames.end) as usize] {
            if place.slot == after && after != 0 {
                place.slot = self.next;
            }
        }
        for frame in frames.clone() {
            let index = frame - frames.start;
            self.places[frame as usize] = Place { what, index, slot: self.next + 1, logged: false };
            self.written.remove(&frame);
        }
        if matches!(what, What::Nothing) {
            self.places[frames.start as usize..frames.end as usize]
                .iter_mut()
                .for_each(|place| place.slot = 0);
        }
        self.next += 2;
    }

    fn slot_end(&self, frame: u64) -> u64 {
        let slot = self.places[frame as usize].slot;
        let others =
            (frame..).find(|&next| self.places.get(next as usize).is_none_or(|next| next.slot != slot));
        others.expect("the places end")
    }

    fn log(&mut self, frames: Range<u64>, logged: bool) {
        let slots: BTreeSet<u64> = frames.map(|frame| self.places[frame as usize].slot).collect();
        for (frame, place) in (0..).zip(&mut self.places) {
            if slots.contains(&place.slot) && matches!(place.what, What::Ram(_) | What::Rom(_)) {
                place.logged = logged;
                self.written.remove(&frame);
            }
        }
    }

    fn write(&mut self, frame: u64, ram: usize) -> u64 {
        let place = self.places[frame as usize];
        self.next += 1;
        self.contents.insert((ram, place.index), self.next);
        if place.logged {
            self.written.insert(frame);
        }
        self.next
    }

    fn content(&self, ram: usize, index: u64) -> u64 {
        self.contents.get(&(ram, index)).copied().unwrap_or(0)
    }

    fn fetch(&mut self, first: u64, count: u64) -> u64 {
        let wanted = |frame: &u64| self.places[*frame as usize].logged && self.written.contains(frame);
        let told: Vec<u64> = (first..first + count.min(64)).filter(wanted).collect();
        told.iter().for_each(|frame| _ = self.written.remove(frame));
        told.iter().fold(0, |bits, frame| bits | 1 << (frame - first))
    }
}

struct Test {
    machine: Machine,
    rams: [Arc<Ram>; 3],
    reference: Reference,
}

impl Test {
    fn touch(&mut self, cpu: usize, frame: u64, write: bool) {
        let place = self.reference.places[frame as usize];
        let outcome = self.machine.touch(cpu, frame, write);
        let ram = match (place.what, write) {
            (What::Nothing, _) => return assert_eq!(outcome, Outcome::Exit(Fault::Nothing)),
            (What::Device, _) => return assert_eq!(outcome, Outcome::Exit(Fault::Device)),
            (What::Rom(_), true) => return assert_eq!(outcome, Outcome::Exit(Fault::Protected)),
            (What::Rom(ram) | What::Ram(ram), _) => ram,
        };
        let Outcome::Memory { address } = outcome else { panic!("{outcome:?} on {place:?}") };
        let there = self.rams[ram].look(place.index).map(|backed| backed.address);
        assert_eq!(there, Some(address), "a CPU uses something else than {place:?}");
        assert_eq!(load(address), self.reference.content(ram, place.index));
        if write {
            store(address, self.reference.write(frame, ram));
        }
    }

    fn software_write(&mut self, frame: u64, exchange: bool) {
        let (place, at) = (self.reference.places[frame as usize], GuestPhysical(frame * FRAME));
        let space = &self.machine.space;
        let What::Ram(ram) = place.what else {
            let refused = Err(Unbacked { address: at });
            assert_eq!(space.write(at, &[1; 8]), refused);
            return assert_eq!(space.compare_exchange(at, 0, 1), refused.map(|()| true));
        };
        let before = self.reference.content(ram, place.index);
        if exchange {
            assert_eq!(space.compare_exchange(at, before + 1, 7), Ok(false));
        }
        let value = self.reference.write(frame, ram);
        if exchange {
            assert_eq!(space.compare_exchange(at, before, value), Ok(true));
        } else {
            space.write(at, &value.to_le_bytes()).unwrap();
        }
    }

    fn software_read(&self, frame: u64) {
        let (place, at) = (self.reference.places[frame as usize], GuestPhysical(frame * FRAME));
        let mut bytes = [9; 8];
        let read = self.machine.space.read(at, &mut bytes);
        match place.what {
            What::Nothing | What::Device => assert_eq!(read, Err(Unbacked { address: at })),
            What::Rom(ram) | What::Ram(ram) => {
                assert_eq!(read, Ok(()));
                assert_eq!(u64::from_le_bytes(bytes), self.reference.content(ram, place.index));
            }
        }
    }

    fn put(&mut self, me: CpuNumber, what: What, first: u64, frames: u64) {
        let (space, ram) = (&self.machine.space, |ram: usize| Arc::clone(&self.rams[ram]));
        let frames = match what {
            What::Ram(ram) | What::Rom(ram) => frames.min(RAMS[ram]),
            What::Device | What::Nothing => frames,
        };
        let at = range(first, frames);
        match what {
            What::Ram(number) => space.set(me, at, Content::Ram(ram(number))).unwrap(),
            What::Rom(number) => space.set(me, at, Content::Rom(ram(number))).unwrap(),
            What::Device => space.set(me, at, Content::Device).unwrap(),
            What::Nothing => space.remove(me, at).unwrap(),
        }
        self.reference.put(what, first..first + frames);
    }

    fn step(&mut self, me: CpuNumber, step: &Step) {
        let space = &self.machine.space;
        match *step {
            Step::Touch { cpu, frame, write } => self.touch(cpu, frame, write),
            Step::SoftwareWrite { frame, exchange } => self.software_write(frame, exchange),
            Step::SoftwareRead { frame } => self.software_read(frame),
            Step::Put { what, first, frames } => self.put(me, what, first, frames),
            Step::Zap { first, frames } => space.zap(me, range(first, frames)),
            Step::Collapse { first, frames } => space.collapse(me, range(first, frames)),
            Step::Populate { first, frames } => space.populate(me, range(first, frames)).unwrap(),
            Step::StartLog { first, frames } => {
                space.start_log(me, range(first, frames)).unwrap();
                self.reference.log(first..first + frames, true);
            }
            Step::StopLog { first, frames } => {
                space.stop_log(me, range(first, frames));
                self.reference.log(first..first + frames, false);
            }
            Step::FetchLog { first, count } => {
                assert_eq!(space.fetch_log(me, first, count), self.reference.fetch(first, count));
            }
            Step::Age { frame } => _ = space.age(me, frame),
        }
    }

    /// The tables lead to nothing that is not there.
    fn check(&self) {
        for (frame, place) in (0..FRAMES).zip(&self.reference.places) {
            let Some(found) = self.machine.mapped(frame) else { continue };
            let ram = match place.what {
                What::Ram(ram) => ram,
                What::Rom(ram) if !found.write => ram,
                _ => panic!("{found:?} is mapped at {frame}, where {place:?} is"),
            };
            assert_eq!(self.rams[ram].look(place.index).map(|backed| backed.address), Some(found.address));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// No CPU ever uses what is gone, no write is lost, and those that are logged are told, each once.
    #[test]
    fn memory_is_what_the_reference_says(
        accessed_dirty: bool,
        flushed_by in provider(),
        steps in prop::collection::vec((0..Machine::CPUS, step()), 1..80)
    ) {
        let rams = RAMS.map(|frames| Ram::new(frames * FRAME).unwrap());
        let machine = match flushed_by {
            None => Machine::new(accessed_dirty),
            Some(answers) => Machine::on(&L0::new(answers, Answer::Done), accessed_dirty),
        };
        let mut test = Test { machine, rams, reference: Reference::new() };
        test.put(Machine::cpu(0), What::Ram(0), 0, 1024);
        for (me, step) in &steps {
            let me = test.machine.leave(*me);
            test.step(me, step);
            test.machine.nothing_stale_is_left();
        }
        test.check();
        let me = test.machine.leave(0);
        test.machine.space.remove(me, range(0, 2 * FRAMES)).unwrap();
        prop_assert_eq!(test.machine.space.held_bytes(), FRAME, "all tables but the root are gone");
    }
}
