// SPDX-License-Identifier: MIT OR Apache-2.0
//! The vCPUs of one physical CPU: who runs next, and who waits for something to happen.
//!
//! The one that has used the CPU least comes first. One that has waited does not save up its time: it comes back at most
//! `HEAD_START` slices ahead of the others, which is enough to be served soon and too little to starve them.

use alloc::vec::Vec;

/// How many slices ahead of the others one that wakes up may be.
const HEAD_START: u64 = 1;

/// What a queue wants to know of those in it.
pub trait Sleeper {
    /// Whether there is a reason to let it run again at `now`: mail, or a deadline that has come.
    fn wakes(&self, now: u64) -> bool;
    /// The time at which [`Self::wakes`] will say so without anything else happening.
    fn deadline(&self) -> Option<u64>;
}

#[derive(Debug)]
struct Member<T> {
    item: T,
    /// Ticks of the CPU that it has had, and what it was given when it came or woke up.
    used: u64,
}

/// The queue. What runs is out of it.
#[derive(Debug)]
pub struct Queue<T> {
    runnable: Vec<Member<T>>,
    waiting: Vec<Member<T>>,
    slice: u64,
    /// What the one has had at least that has had least, of those that want to run. No one who comes or wakes up starts with
    /// less than this, less the head start.
    floor: u64,
}

/// One taken out of the queue to run.
#[derive(Debug)]
pub struct Taken<T> {
    /// What was taken.
    pub item: T,
    used: u64,
}

impl<T: Sleeper> Queue<T> {
    /// An empty queue; `slice` is how many ticks one runs while others wait for their turn.
    #[must_use]
    pub const fn new(slice: u64) -> Self {
        Self { runnable: Vec::new(), waiting: Vec::new(), slice, floor: 0 }
    }

    /// Takes in one that comes from elsewhere, and wants to run.
    pub fn add(&mut self, item: T) {
        self.runnable.push(Member { item, used: self.floor });
    }

    /// How many are in the queue.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runnable.len() + self.waiting.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many want to run.
    #[must_use]
    pub fn runnable(&self) -> usize {
        self.runnable.len()
    }

    /// Everybody in it.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.runnable.iter_mut().chain(&mut self.waiting).map(|member| &mut member.item)
    }

    /// Lets those run that have a reason to, at `now`.
    pub fn wake(&mut self, now: u64) {
        let earliest = self.floor.saturating_sub(HEAD_START * self.slice);
        for mut woken in self.waiting.extract_if(.., |member| member.item.wakes(now)) {
            woken.used = woken.used.max(earliest);
            self.runnable.push(woken);
        }
    }

    /// When the next of those that wait will want to run.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        self.waiting.iter().filter_map(|member| member.item.deadline()).min()
    }

    /// Takes the one out that has run least.
    pub fn take_next(&mut self) -> Option<Taken<T>> {
        let next = (0..self.runnable.len()).min_by_key(|&at| self.runnable[at].used)?;
        // Those that have run as little keep their order.
        let Member { item, used } = self.runnable.remove(next);
        self.floor = self.floor.max(used);
        Some(Taken { item, used })
    }

    /// Whether one that wants to run may go elsewhere, as `may` says.
    #[must_use]
    pub fn has_for_others(&self, may: impl Fn(&T) -> bool) -> bool {
        self.runnable.iter().any(|member| may(&member.item))
    }

    /// Takes one out that wants to run and may go elsewhere, as `may` says: the one whose turn is farthest off.
    pub fn take_for_others(&mut self, may: impl Fn(&T) -> bool) -> Option<T> {
        let candidates = (0..self.runnable.len()).filter(|&at| may(&self.runnable[at].item));
        let last = candidates.max_by_key(|&at| self.runnable[at].used)?;
        Some(self.runnable.remove(last).item)
    }

    /// One that was taken out has run for so many ticks. Even one that goes on all the time raises the floor: who comes
    /// later has no claim to the time before.
    pub fn charge(&mut self, taken: &mut Taken<T>, ticks: u64) {
        taken.used = taken.used.saturating_add(ticks);
        let least = self.runnable.iter().map(|member| member.used).fold(taken.used, u64::min);
        self.floor = self.floor.max(least);
    }

    /// Whether one that runs is to let another run.
    #[must_use]
    pub fn has_better(&self, taken: &Taken<T>) -> bool {
        self.runnable.iter().any(|member| member.used.saturating_add(self.slice / 2) <= taken.used)
    }

    /// Puts one back that wants to go on.
    pub fn put_back(&mut self, Taken { item, used }: Taken<T>) {
        self.runnable.push(Member { item, used });
    }

    /// Puts one back that wants others to run first, for it can do nothing before they do.
    pub fn yield_to_others(&mut self, Taken { item, used }: Taken<T>) {
        let others = self.runnable.iter().map(|member| member.used).max().unwrap_or(0);
        self.runnable.push(Member { item, used: used.max(others.saturating_add(1)) });
    }

    /// Puts one back that waits.
    pub fn wait(&mut self, Taken { item, used }: Taken<T>) {
        self.waiting.push(Member { item, used });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use proptest::prelude::*;

    const SLICE: u64 = 100;

    #[derive(Debug, Default)]
    struct Item {
        name: usize,
        due: Cell<Option<u64>>,
    }

    impl Sleeper for Item {
        fn wakes(&self, now: u64) -> bool {
            self.due.get().is_some_and(|due| due <= now)
        }

        fn deadline(&self) -> Option<u64> {
            self.due.get()
        }
    }

    fn queue(names: usize) -> Queue<Item> {
        let mut queue = Queue::new(SLICE);
        (0..names).for_each(|name| queue.add(Item { name, due: Cell::default() }));
        queue
    }

    fn ran_for(
        queue: &mut Queue<Item>,
        mut taken: Taken<Item>,
        ticks: u64,
        back: fn(&mut Queue<Item>, Taken<Item>),
    ) {
        queue.charge(&mut taken, ticks);
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
        queue.charge(&mut alone, 1_000 * SLICE);
        queue.wake(0);
        queue.add(Item { name: 2, due: Cell::default() });
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
}
