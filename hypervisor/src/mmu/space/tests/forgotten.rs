// SPDX-License-Identifier: MIT OR Apache-2.0
//! A flush that is forgotten on any path is found, whether CPUs are made to leave or L0 flushes, all or some of it or none.

use super::l0::Answer;
use super::l0::L0;
use super::*;
use crate::mmu::Counter;
use crate::mmu::rule::Rule;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::string::String;
use std::vec::Vec;

/// A way to take something away.
struct Path {
    name: &'static str,
    /// The CPU sets accessed and dirty bits.
    accessed_dirty: bool,
    /// What is there, and used by CPUs 1 and 2, which stay in their guest.
    prepare: fn(&Machine),
    /// What CPU 0 does.
    change: fn(&Machine),
}

/// Frames of the RAM that most begin with; the first large page is in it.
const RAM: u64 = 1024;

fn ram(machine: &Machine, frames: u64) {
    machine.put(0, Content::Ram(Ram::new(frames * FRAME).unwrap()), frames);
}

/// Both read it, and one writes to it.
fn used(machine: &Machine, frame: u64) {
    for (cpu, write) in [(1, false), (1, true), (2, false)] {
        assert!(matches!(machine.touch(cpu, frame, write), Outcome::Memory { .. }));
    }
}

fn ram_in_use(machine: &Machine) {
    ram(machine, RAM);
    used(machine, 5);
    used(machine, 700);
}

/// Pages of 4 KiB, of which many are not there; the RAM has no whole large page.
fn small_pages_in_use(machine: &Machine) {
    ram(machine, 3);
    used(machine, 0);
    used(machine, 2);
}

/// Large pages of which each page is logged, and none was written to since.
fn logged(machine: &Machine) {
    ram_in_use(machine);
    machine.space.start_log(machine.leave(0), range(0, RAM)).unwrap();
    for cpu in [1, 2] {
        assert!(matches!(machine.touch(cpu, 5, false), Outcome::Memory { .. }));
    }
}

const fn path(name: &'static str, prepare: fn(&Machine), change: fn(&Machine)) -> Path {
    Path { name, accessed_dirty: true, prepare, change }
}

const PATHS: [Path; 13] = [
    path("zap of small pages", small_pages_in_use, |machine| {
        machine.space.zap(machine.leave(0), range(0, 3));
    }),
    path("zap of a page in a large one", ram_in_use, |machine| {
        machine.space.zap(machine.leave(0), range(7, 1));
    }),
    path("write protection, as a log starts", ram_in_use, |machine| {
        machine.space.start_log(machine.leave(0), range(0, RAM)).unwrap();
    }),
    path(
        "write protection, as a log is fetched",
        |machine| {
            logged(machine);
            used(machine, 5);
        },
        |machine| _ = machine.space.fetch_log(machine.leave(0), 0, 64),
    ),
    path("split", logged, |machine| {
        machine.reaches_memory(9, true);
        machine.leave(0);
    }),
    path(
        "collapse",
        |machine| {
            logged(machine);
            used(machine, 5);
            machine.space.stop_log(machine.leave(0), range(0, RAM));
            used(machine, 6);
        },
        |machine| machine.space.collapse(machine.leave(0), range(0, LARGE)),
    ),
    path("age", small_pages_in_use, |machine| assert!(machine.space.age(machine.leave(0), 2))),
    Path {
        accessed_dirty: false,
        ..path("age where the CPU does not tell", small_pages_in_use, |machine| {
            assert!(machine.space.age(machine.leave(0), 2));
        })
    },
    path("other RAM", small_pages_in_use, |machine| ram(machine, 3)),
    path("RAM that becomes ROM", small_pages_in_use, |machine| {
        machine.put(0, Content::Rom(Ram::new(3 * FRAME).unwrap()), 3);
    }),
    path("RAM that becomes a device", ram_in_use, |machine| machine.put(4, Content::Device, 3)),
    path("RAM that goes", ram_in_use, |machine| {
        machine.space.remove(machine.leave(0), range(0, RAM)).unwrap();
    }),
    path("part of RAM that goes", ram_in_use, |machine| {
        machine.space.remove(machine.leave(0), range(3, 600)).unwrap();
    }),
];

/// Prepares with all rules kept, changes with one broken, and judges.
fn go(machine: &Machine, path: &Path, broken: Option<Rule>) {
    (path.prepare)(machine);
    // Fresh credits, so that nothing but this change is flushed for.
    machine.nothing_stale_is_left();
    match broken {
        Some(rule) => rule.broken(|| (path.change)(machine)),
        None => (path.change)(machine),
    }
    machine.nothing_stale_is_left();
}

/// Whether it is found that something is stale.
fn is_caught(act: impl FnOnce()) -> bool {
    let caught = catch_unwind(AssertUnwindSafe(act));
    caught.is_err_and(|panic| {
        panic.downcast_ref::<String>().is_some_and(|message| message.starts_with("stale on "))
    })
}

/// An L0 whose answers begin with the change.
fn answering_to_the_change(path: &Path, answer: Answer) -> Machine {
    let l0 = L0::new([], Answer::Done);
    (path.prepare)(&Machine::on(&l0, path.accessed_dirty));
    let before = l0.take_calls().len();
    let l0 = L0::new(std::iter::repeat_n(Answer::Done, before), answer);
    Machine::on(&l0, path.accessed_dirty)
}

#[test]
fn a_flush_that_is_forgotten_on_any_path_is_caught_on_bare_metal() {
    for path in PATHS {
        go(&Machine::new(path.accessed_dirty), &path, None);
        let caught = is_caught(|| go(&Machine::new(path.accessed_dirty), &path, Some(Rule::Flush)));
        assert!(caught, "{}", path.name);
    }
}

#[test]
fn a_flush_that_is_forgotten_on_any_path_is_caught_where_l0_flushes() {
    for path in PATHS {
        go(&answering_to_the_change(&path, Answer::Done), &path, None);
        let machine = answering_to_the_change(&path, Answer::Done);
        assert!(is_caught(|| go(&machine, &path, Some(Rule::Flush))), "{}", path.name);
        let lied_to = answering_to_the_change(&path, Answer::LeavesOutTheLast);
        assert!(is_caught(|| go(&lied_to, &path, None)), "{}: a call that does nothing", path.name);
    }
}

#[test]
fn a_failure_on_any_path_is_made_up_for_and_it_is_caught_if_it_is_not() {
    for path in PATHS {
        for after in [0, 1] {
            go(&answering_to_the_change(&path, Answer::Fails { after }), &path, None);
        }
        for rule in [Rule::FailureFallsBack, Rule::FailureCreditsNothing] {
            let machine = answering_to_the_change(&path, Answer::Fails { after: 0 });
            assert!(is_caught(|| go(&machine, &path, Some(rule))), "{}: {rule:?}", path.name);
        }
    }
}

/// Two pages that are `count` pages apart, first and last included, are in use, and then zapped with all between them.
fn zap_of(count: u64, l0: &Arc<L0>, broken: Option<Rule>) {
    let machine = Machine::on(l0, true);
    for frame in [1, count] {
        if machine.mapped(frame).is_none() {
            machine.put(frame, Content::Ram(Ram::new(FRAME).unwrap()), 1);
        }
        used(&machine, frame);
    }
    let _ = l0.take_calls();
    let change = || machine.space.zap(machine.leave(0), range(1, count));
    broken.map_or_else(change, |rule| rule.broken(change));
    machine.nothing_stale_is_left();
}

/// Checklist A5, "range encode": ranges of 2048 pages, 510 at most.
const COUNTS: [(u64, Option<usize>); 6] = [
    (1, Some(1)),
    (2048, Some(1)),
    (2049, Some(2)),
    (3 * 2048, Some(3)),
    (510 * 2048, Some(510)),
    (510 * 2048 + 1, None),
];

#[test]
fn a5_lists_and_whole_spaces_reach_the_first_page_and_the_last_of_any_number() {
    for (count, ranges) in COUNTS {
        let l0 = L0::new([], Answer::Done);
        zap_of(count, &l0, None);
        let calls = l0.take_calls();
        assert_eq!(calls.iter().map(|call| call.as_ref().map(Vec::len)).collect::<Vec<_>>(), [ranges]);
        for spans in calls.iter().flatten() {
            assert!(spans.iter().all(|span| (1..=2048).contains(&span.pages)));
            assert_eq!(spans.iter().map(|span| span.pages).sum::<u64>(), count);
        }
        assert!(is_caught(|| zap_of(count, &L0::new([], Answer::Done), Some(Rule::Flush))), "{count}");
    }
}

#[test]
fn a5_partial_completion_of_any_number_is_made_up_for_and_it_is_caught_if_it_is_not() {
    for (count, ranges) in COUNTS {
        let ranges = ranges.unwrap_or(1);
        for after in [0, 1, ranges / 2, ranges - 1, ranges] {
            let l0 = || L0::new([], Answer::Fails { after });
            zap_of(count, &l0(), None);
            if after < ranges {
                for rule in [Rule::FailureFallsBack, Rule::FailureCreditsNothing] {
                    let caught = is_caught(|| zap_of(count, &l0(), Some(rule)));
                    assert!(caught, "{count} pages, fails after {after} ranges: {rule:?}");
                }
            }
        }
    }
}

#[test]
fn an_l0_that_refuses_after_a_time_of_working_is_made_up_for_each_time_and_credits_nothing() {
    const WORKS: usize = 7;
    const ROUNDS: usize = 20;
    let run = |broken: Option<Rule>| {
        let l0 = L0::new([Answer::Done; WORKS], Answer::Fails { after: 0 });
        let machine = Machine::on(&l0, true);
        // Changes nothing that is used, and calls nobody.
        ram(&machine, 3);
        for round in 0..ROUNDS {
            used(&machine, 1);
            let zap = || machine.space.zap(machine.leave(0), range(0, 3));
            match broken.filter(|_| round >= WORKS) {
                Some(rule) => rule.broken(zap),
                None => zap(),
            }
            machine.nothing_stale_is_left();
        }
        assert_eq!(l0.take_calls().len(), ROUNDS);
        machine.space.coherence().counters.sum(Counter::RemoteFlushFailed)
    };
    assert_eq!(run(None), (ROUNDS - WORKS) as u64);
    for rule in [Rule::Flush, Rule::FailureFallsBack, Rule::FailureCreditsNothing] {
        assert!(is_caught(|| _ = run(Some(rule))), "{rule:?}");
    }
}
