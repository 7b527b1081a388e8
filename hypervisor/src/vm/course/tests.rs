// SPDX-License-Identifier: MIT OR Apache-2.0
//! What follows in each phase from each event.

use super::*;
use crate::vm::manifest::Manifest;
use proptest::prelude::*;

const HZ: u64 = 1000;
const FAULT: End = End::HaltedForEver { rip: 0 };
const TRIPLE_FAULT: End = End::TripleFault { rip: 0 };

fn course(keys: &str) -> Course {
    let text = format!("[[vm]]\nname = 'a'\nmemory-mib = 16\nkernel = 'k'\n{keys}");
    let manifest = Manifest::parse(text.as_bytes());
    Course::new(&manifest.vms[0], HZ)
}

fn running(keys: &str) -> Course {
    let mut course = course(keys);
    assert_eq!(course.ask(Verb::Start, 0).unwrap(), Step::Make);
    course.has_started(0, 7);
    course
}

fn refused(course: &mut Course, verb: Verb) -> String {
    course.ask(verb, 0).unwrap_err().to_string()
}

#[test]
fn what_is_declared_waits_to_be_started() {
    let mut course = course("");
    assert_eq!((course.phase(), course.last(), course.deadline()), (Phase::Stopped, None, None));
    assert_eq!(course.due(u64::MAX), Step::Nothing);
    for verb in [Verb::Stop, Verb::Pause, Verb::Resume, Verb::Reset, Verb::Kill] {
        assert_eq!(refused(&mut course, verb), "it does not run: start it");
    }
}

#[test]
fn one_that_could_not_be_made_can_be_started_later() {
    let mut course = course("");
    course.ask(Verb::Start, 0).unwrap();
    course.has_not_started(0);
    assert_eq!(course.phase(), Phase::Stopped);
    assert_eq!(course.ask(Verb::Start, 1).unwrap(), Step::Make);
}

#[test]
fn one_that_is_to_start_again_and_cannot_tries_again_after_a_growing_pause() {
    for restart in ["on-failure", "always"] {
        let mut course = running(&format!("restart = '{restart}'"));
        course.has_ended(FAULT, 0);
        for (due, next) in [(HZ, 3 * HZ), (3 * HZ, 7 * HZ)] {
            assert_eq!(course.due(due), Step::Make);
            course.has_not_started(due);
            assert_eq!(course.phase(), Phase::Restarting { at: next });
        }
        // The operator has its answer, and may ask again.
        assert_eq!(course.ask(Verb::Start, 4 * HZ).unwrap(), Step::Make);
        course.has_not_started(4 * HZ);
        assert_eq!(course.phase(), Phase::Stopped);
    }
    let mut course = running("restart = 'never'");
    course.has_ended(End::Reset, 0);
    assert_eq!(course.due(HZ), Step::Make);
    course.has_not_started(HZ);
    assert_eq!(course.phase(), Phase::Stopped);
}

#[test]
fn a_guest_that_powers_off_stays_off_unless_it_is_always_restarted() {
    for (keys, phase) in [
        ("", Phase::Stopped),
        ("restart = 'on-failure'", Phase::Stopped),
        ("restart = 'always'", Phase::Restarting { at: 5 + HZ }),
    ] {
        let mut course = running(keys);
        course.has_ended(End::PoweredOff, 5);
        assert_eq!((course.phase(), course.last()), (phase, Some(End::PoweredOff)), "{keys}");
    }
}

#[test]
fn a_failure_is_restarted_where_the_manifest_says_so() {
    for (keys, phase) in [
        ("", Phase::Stopped),
        ("restart = 'on-failure'", Phase::Restarting { at: 5 + HZ }),
        ("restart = 'always'", Phase::Restarting { at: 5 + HZ }),
    ] {
        let mut course = running(keys);
        course.has_ended(FAULT, 5);
        assert_eq!(course.phase(), phase, "{keys}");
    }
}

#[test]
fn a_reboot_starts_again_after_no_more_than_it_took_to_make_unless_it_is_an_end() {
    for end in [End::Reset, TRIPLE_FAULT] {
        let mut course = running("");
        for restarts in 1..100 {
            course.has_ended(end, 1000);
            assert_eq!(course.phase(), Phase::Restarting { at: 1007 });
            assert_eq!(course.due(1006), Step::Nothing);
            assert_eq!(course.due(1007), Step::Make);
            course.has_started(1008, 7);
            assert_eq!((course.phase(), course.restarts()), (Phase::Running, restarts));
        }
    }
    for (end, restart, phase) in [
        (End::Reset, "never", Phase::Stopped),
        (End::Reset, "on-failure", Phase::Stopped),
        (TRIPLE_FAULT, "on-failure", Phase::Restarting { at: 5 + HZ }),
    ] {
        let mut course = running(&format!("on-reboot = 'end'\nrestart = '{restart}'"));
        course.has_ended(end, 5);
        assert_eq!(course.phase(), phase, "{end} {restart}");
    }
}

#[test]
fn the_pause_grows_with_each_failure_until_the_vm_has_run_for_a_minute() {
    let mut course = running("restart = 'on-failure'");
    let mut now = 0;
    let mut fail_after = |ran: u64| {
        now += ran;
        course.has_ended(FAULT, now);
        let pause = course.deadline().unwrap() - now;
        now += pause;
        assert_eq!(course.due(now), Step::Make);
        course.has_started(now, 7);
        pause / HZ
    };
    let pauses: Vec<_> = (0..80).map(|_| fail_after(1)).collect();
    assert_eq!(pauses[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
    assert!(pauses[8..].iter().all(|&pause| pause == 60));
    assert_eq!((fail_after(SOUND_S * HZ - 1), fail_after(SOUND_S * HZ), fail_after(1)), (60, 1, 2));
}

#[test]
fn stop_presses_the_power_button_and_kills_when_that_did_not_help() {
    let mut course = running("stop-timeout-s = 3\nrestart = 'always'");
    assert_eq!(course.ask(Verb::Stop, 100).unwrap(), Step::PressPowerButton);
    assert_eq!(course.deadline(), Some(100 + 3 * HZ));
    for verb in [Verb::Start, Verb::Stop, Verb::Pause, Verb::Resume] {
        assert!(refused(&mut course, verb).starts_with("its power button was pressed"));
    }
    assert_eq!(course.due(99 + 3 * HZ), Step::Nothing);
    assert_eq!(course.due(100 + 3 * HZ), Step::End(End::Killed));
    assert_eq!((course.due(u64::MAX), course.deadline()), (Step::Nothing, None));
    course.has_ended(End::Killed, 200 + 3 * HZ);
    assert_eq!(course.phase(), Phase::Stopped);
}

/// Even one that reboots instead, or that its manifest would have started again.
#[test]
fn one_that_was_asked_to_stop_stays_off_however_it_ended() {
    for end in [End::PoweredOff, End::Reset, FAULT] {
        let mut course = running("restart = 'always'");
        course.ask(Verb::Stop, 0).unwrap();
        course.has_ended(end, 5);
        assert_eq!(course.phase(), Phase::Stopped);
    }
}

#[test]
fn a_paused_vm_goes_on_or_is_ended() {
    let mut course = running("");
    assert_eq!(course.ask(Verb::Pause, 0).unwrap(), Step::Hold);
    assert!(refused(&mut course, Verb::Pause).starts_with("it is paused already"));
    assert!(refused(&mut course, Verb::Start).starts_with("it is paused already"));
    assert!(refused(&mut course, Verb::Stop).contains("resume it before, or kill it"));
    assert_eq!(course.ask(Verb::Resume, 0).unwrap(), Step::Release);
    assert!(refused(&mut course, Verb::Resume).starts_with("it is not paused"));
    course.ask(Verb::Pause, 0).unwrap();
    assert_eq!(course.ask(Verb::Kill, 0).unwrap(), Step::End(End::Killed));
    assert!(refused(&mut course, Verb::Resume).starts_with("it is being ended"));
    course.has_ended(End::Killed, 0);
    assert_eq!(course.phase(), Phase::Stopped);
}

#[test]
fn a_reset_starts_again_at_once_unless_it_is_killed_meanwhile() {
    let mut course = running("on-reboot = 'end'");
    assert_eq!(course.ask(Verb::Reset, 5).unwrap(), Step::End(End::Reset));
    course.has_ended(End::Reset, 9);
    assert_eq!(course.phase(), Phase::Restarting { at: 9 });
    let mut course = running("");
    course.ask(Verb::Reset, 5).unwrap();
    assert_eq!(course.ask(Verb::Kill, 6).unwrap(), Step::Nothing);
    course.has_ended(End::Reset, 9);
    assert_eq!(course.phase(), Phase::Stopped);
}

#[test]
fn a_restart_can_be_hastened_and_called_off() {
    let waiting = || {
        let mut course = running("restart = 'always'");
        course.has_ended(FAULT, 0);
        course
    };
    assert_eq!(waiting().ask(Verb::Start, 1).unwrap(), Step::Make);
    for verb in [Verb::Stop, Verb::Kill] {
        let mut course = waiting();
        assert_eq!(course.ask(verb, 1).unwrap(), Step::Nothing);
        assert_eq!((course.phase(), course.due(u64::MAX)), (Phase::Stopped, Step::Nothing));
    }
    assert!(refused(&mut waiting(), Verb::Pause).starts_with("it is about to start again"));
}

proptest! {
    /// Whatever comes in whatever order: a machine is made only where there is none, and nothing is asked of one that is not there.
    #[test]
    fn steps_fit_the_machine_that_there_is(
        events in prop::collection::vec((0..9_usize, 0..100_000_u64), 1..200),
        restart in prop::sample::select(vec!["never", "on-failure", "always"]),
    ) {
        let mut course = course(&format!("restart = '{restart}'\n"));
        let (mut there, mut now) = (false, 0);
        for (event, passes) in events {
            now += passes;
            let verbs = [Verb::Start, Verb::Stop, Verb::Pause, Verb::Resume, Verb::Reset, Verb::Kill];
            let step = match verbs.get(event) {
                Some(&verb) => course.ask(verb, now).unwrap_or(Step::Nothing),
                None if event == 6 => course.due(now),
                None => {
                    if there {
                        course.has_ended(if event == 7 { End::Reset } else { FAULT }, now);
                    }
                    there = false;
                    Step::Nothing
                }
            };
            match step {
                Step::Make => {
                    prop_assert!(!there);
                    there = passes % 4 != 0;
                    match there {
                        true => course.has_started(now, 7),
                        false => course.has_not_started(now),
                    }
                }
                Step::Nothing => {}
                _ => prop_assert!(there),
            }
            let phase = course.phase();
            prop_assert_eq!(there, !matches!(phase, Phase::Stopped | Phase::Restarting { .. }));
        }
    }
}
