// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who runs when, and that nobody starves.

use super::*;
use core::cell::Cell;
use proptest::prelude::*;

const SLICE: u64 = 100;

#[derive(Debug, Default)]
struct Item {
    name: usize,
    due: Cell<Option<u64>>,
    budget: Option<Budget>,
}

impl Sleeper for Item {
    fn wakes(&self, now: u64) -> bool {
        self.due.get().is_some_and(|due| due <= now)
    }

    fn deadline(&self) -> Option<u64> {
        self.due.get()
    }

    fn budget(&mut self) -> Option<&mut Budget> {
        self.budget.as_mut()
    }
}

fn queue(names: usize) -> Queue<Item> {
    let mut queue = Queue::new(SLICE);
    (0..names).for_each(|name| queue.add(Item { name, ..Item::default() }));
    queue
}

fn ran_for(
    queue: &mut Queue<Item>,
    mut taken: Taken<Item>,
    ticks: u64,
    back: fn(&mut Queue<Item>, Taken<Item>),
) {
    queue.charge(&mut taken, ticks, 0);
    back(queue, taken);
}

#[test]
fn all_get_the_same_in_turn() {
    let mut queue = queue(3);
    let mut turns = Vec::new();
    for _ in 0..9 {
        let taken = queue.take_next().unwrap();
        turns.push(taken.item.name);
        ran_for(&mut queue, taken, SLICE, Queue::put_back);
    }
    assert_eq!(turns, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
}

#[test]
fn one_that_wakes_up_is_served_soon_and_does_not_starve_the_others() {
    let mut queue = queue(3);
    let sleeper = queue.take_next().unwrap();
    sleeper.item.due.set(Some(5_000));
    ran_for(&mut queue, sleeper, 1, Queue::wait);
    let mut ran = [0; 3];
    for now in (0..20_000).step_by(SLICE as usize) {
        queue.wake(now);
        let taken = queue.take_next().unwrap();
        ran[taken.item.name] += SLICE;
        if now == 5_000 {
            assert_eq!(taken.item.name, 0, "it is served when it wakes up");
        }
        ran_for(&mut queue, taken, SLICE, Queue::put_back);
    }
    // It has its share of what was left when it came back, and nothing for the time when it slept.
    assert!(ran[0].abs_diff(5_000) <= 3 * SLICE, "{ran:?}");
    assert!(ran[1].abs_diff(ran[2]) <= SLICE, "{ran:?}");
}

/// One that is alone goes on without ever being put back.
#[test]
fn whoever_comes_or_wakes_after_one_ran_alone_for_long_has_no_claim_to_that_time() {
    let mut queue = queue(2);
    let sleeper = queue.take_next().unwrap();
    sleeper.item.due.set(Some(0));
    ran_for(&mut queue, sleeper, 1, Queue::wait);
    let mut alone = queue.take_next().unwrap();
    queue.charge(&mut alone, 1_000 * SLICE, 0);
    queue.wake(0);
    queue.add(Item { name: 2, ..Item::default() });
    queue.put_back(alone);
    let mut ran = [0; 3];
    for _ in 0..30 {
        let taken = queue.take_next().unwrap();
        ran[taken.item.name] += 1;
        ran_for(&mut queue, taken, SLICE, Queue::put_back);
    }
    assert!(ran.iter().all(|turns| (9..=11).contains(turns)), "{ran:?}");
}

#[test]
fn two_that_wake_each_other_leave_a_third_its_share() {
    let mut queue = queue(3);
    let mut ran = [0_u64; 3];
    for now in 0..30_000 {
        queue.wake(now);
        let Some(taken) = queue.take_next() else { continue };
        let name = taken.item.name;
        if name == 2 {
            ran[2] += 10;
            ran_for(&mut queue, taken, 10, Queue::put_back);
        } else {
            // A short while each time, then it sleeps until the other has had its short while.
            ran[name] += 1;
            taken.item.due.set(Some(now + 1));
            ran_for(&mut queue, taken, 1, Queue::wait);
        }
    }
    assert!(ran[2] > 8_000, "{ran:?}");
}

#[test]
fn one_that_yields_comes_after_all_others() {
    let mut queue = queue(3);
    let spinner = queue.take_next().unwrap();
    ran_for(&mut queue, spinner, 1, Queue::yield_to_others);
    let order: Vec<_> = core::iter::from_fn(|| queue.take_next()).map(|taken| taken.item.name).collect();
    assert_eq!(order, [1, 2, 0]);
}

#[test]
fn what_goes_elsewhere_is_what_would_run_last_and_may_go() {
    let mut queue = queue(2);
    let first = queue.take_next().unwrap();
    ran_for(&mut queue, first, SLICE, Queue::put_back);
    assert!(queue.has_for_others(|item| item.name != 0));
    assert_eq!(queue.take_for_others(|item| item.name != 0).unwrap().name, 1);
    assert!(!queue.has_for_others(|item| item.name != 0));
    assert!(queue.take_for_others(|item| item.name != 0).is_none());
    assert_eq!(queue.take_for_others(|_| true).unwrap().name, 0);
}

#[test]
fn the_deadline_is_the_first_of_those_that_wait() {
    let mut queue = queue(3);
    for due in [Some(700), None, Some(300)] {
        let taken = queue.take_next().unwrap();
        taken.item.due.set(due);
        ran_for(&mut queue, taken, SLICE, Queue::wait);
    }
    assert_eq!((queue.deadline(), queue.runnable(), queue.len()), (Some(300), 0, 3));
    queue.wake(299);
    assert_eq!(queue.runnable(), 0);
    queue.wake(300);
    assert_eq!((queue.deadline(), queue.runnable()), (Some(700), 1));
}

/// Lets the queue's members run for as long as they may, up to `end`; tells how long each did.
fn ran_with_budgets(mut queue: Queue<Item>, end: u64, back: fn(&mut Queue<Item>, Taken<Item>)) -> Vec<u64> {
    let mut ran = vec![0; queue.len()];
    let mut now = 0;
    while now < end {
        queue.wake(now);
        let Some(mut taken) = queue.take_next() else {
            now = queue.deadline().unwrap();
            continue;
        };
        let left = taken.item.budget().map_or(SLICE, |budget| budget.left(now)).min(SLICE);
        ran[taken.item.name] += left;
        now += left;
        // One that waits has a reason to go on at once.
        taken.item.due.set(Some(now));
        queue.charge(&mut taken, left, now);
        back(&mut queue, taken);
    }
    ran
}

fn queue_with_budget(names: usize, percent: u32) -> Queue<Item> {
    let mut queue = queue(names);
    queue.runnable[0].item.budget = Some(Budget::new(percent, 10 * SLICE));
    queue
}

#[test]
fn one_with_a_budget_has_no_more_though_the_cpu_is_idle() {
    for back in [Queue::put_back, Queue::yield_to_others, Queue::wait] {
        let ran = ran_with_budgets(queue_with_budget(1, 20), 1000 * SLICE, back);
        assert_eq!(ran, [200 * SLICE]);
    }
}

#[test]
fn what_one_with_a_budget_may_not_have_is_for_the_others() {
    for back in [Queue::put_back, Queue::wait] {
        let ran = ran_with_budgets(queue_with_budget(2, 20), 1000 * SLICE, back);
        assert!(
            ran[0].abs_diff(200 * SLICE) <= 2 * SLICE && ran[1].abs_diff(800 * SLICE) <= 10 * SLICE,
            "{ran:?}"
        );
    }
}

#[test]
fn one_whose_budget_is_used_up_stops_though_nobody_else_wants_to_run() {
    let mut queue = queue_with_budget(1, 20);
    let mut taken = queue.take_next().unwrap();
    queue.charge(&mut taken, SLICE, SLICE);
    assert!(!queue.has_better(&taken));
    queue.charge(&mut taken, SLICE, 2 * SLICE);
    assert!(queue.has_better(&taken));
    queue.put_back(taken);
    assert_eq!((queue.runnable(), queue.len(), queue.deadline()), (0, 1, Some(10 * SLICE)));
}

proptest! {
    /// Whoever wants to run all the time gets no less than its share, less two slices and the head starts of the others.
    #[test]
    fn nobody_starves(lengths in prop::collection::vec((1_u64..=SLICE, 0_u64..50), 2..6)) {
        let mut queue = queue(lengths.len() + 1);
        let (mut now, mut greedy) = (0_u64, 0_u64);
        while now < 200 * SLICE {
            queue.wake(now);
            let Some(taken) = queue.take_next() else {
                now += 1;
                continue;
            };
            match lengths.get(taken.item.name) {
                None => {
                    greedy += SLICE;
                    now += SLICE;
                    ran_for(&mut queue, taken, SLICE, Queue::put_back);
                }
                Some(&(length, sleep)) => {
                    now += length;
                    taken.item.due.set(Some(now + sleep));
                    ran_for(&mut queue, taken, length, Queue::wait);
                }
            }
        }
        let share = now / (lengths.len() as u64 + 1);
        prop_assert!(greedy + 4 * SLICE >= share, "{greedy} of {share}");
    }
}
