// SPDX-License-Identifier: MIT OR Apache-2.0
//! The vCPUs of one physical CPU: who runs next, and who waits for something to happen.
//!
//! The one that has used the CPU least comes first. One that has waited does not save up its time: it comes back at most
//! `HEAD_START` slices ahead of the others, which is enough to be served soon and too little to starve them. One that has used up
//! its budget does not run before the next period, whoever else wants to.

use crate::schedule::budget::Budget;
use alloc::vec::Vec;

/// How many slices ahead of the others one that wakes up may be.
const HEAD_START: u64 = 1;

/// What a queue wants to know of those in it.
pub trait Sleeper {
    /// Whether there is a reason to let it run again at `now`: mail, or a deadline that has come.
    fn wakes(&self, now: u64) -> bool;
    /// The time at which [`Self::wakes`] will say so without anything else happening.
    fn deadline(&self) -> Option<u64>;
    /// How much of the CPU it may have, unless that is all.
    fn budget(&mut self) -> Option<&mut Budget> {
        None
    }
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
    /// Those that want to run and have used up their budgets, and when they will have one again.
    spent: Vec<(Member<T>, u64)>,
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
    /// It has used up its budget, and will have one again then.
    spent_until: Option<u64>,
}

impl<T: Sleeper> Queue<T> {
    /// An empty queue; `slice` is how many ticks one runs while others wait for their turn.
    #[must_use]
    pub const fn new(slice: u64) -> Self {
        Self { runnable: Vec::new(), waiting: Vec::new(), spent: Vec::new(), slice, floor: 0 }
    }

    /// Takes in one that comes from elsewhere, and wants to run.
    pub fn add(&mut self, item: T) {
        self.runnable.push(Member { item, used: self.floor });
    }

    /// How many are in the queue.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runnable.len() + self.waiting.len() + self.spent.len()
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
        let spent = self.spent.iter_mut().map(|(member, _)| member);
        self.runnable.iter_mut().chain(&mut self.waiting).chain(spent).map(|member| &mut member.item)
    }

    /// Lets those run that have a reason to, at `now`.
    pub fn wake(&mut self, now: u64) {
        let earliest = self.floor.saturating_sub(HEAD_START * self.slice);
        for mut woken in self.waiting.extract_if(.., |member| member.item.wakes(now)) {
            woken.used = woken.used.max(earliest);
            match woken.item.budget().and_then(|budget| budget.spent_until(now)) {
                Some(until) => self.spent.push((woken, until)),
                None => self.runnable.push(woken),
            }
        }
        for (mut renewed, _) in self.spent.extract_if(.., |&mut (_, until)| until <= now) {
            renewed.used = renewed.used.max(earliest);
            self.runnable.push(renewed);
        }
    }

    /// When the next of those that wait will want to run, or have a budget again.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        let waiting = self.waiting.iter().filter_map(|member| member.item.deadline());
        waiting.chain(self.spent.iter().map(|&(_, until)| until)).min()
    }

    /// Takes the one out that has run least.
    pub fn take_next(&mut self) -> Option<Taken<T>> {
        let next = (0..self.runnable.len()).min_by_key(|&at| self.runnable[at].used)?;
        // Those that have run as little keep their order.
        let Member { item, used } = self.runnable.remove(next);
        self.floor = self.floor.max(used);
        Some(Taken { item, used, spent_until: None })
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

    /// One that was taken out has run for so many ticks, until `now`. Even one that goes on all the time raises the floor: who comes
    /// later has no claim to the time before.
    pub fn charge(&mut self, taken: &mut Taken<T>, ticks: u64, now: u64) {
        taken.used = taken.used.saturating_add(ticks);
        if let Some(budget) = taken.item.budget() {
            budget.charge(ticks, now);
            taken.spent_until = budget.spent_until(now);
        }
        let least = self.runnable.iter().map(|member| member.used).fold(taken.used, u64::min);
        self.floor = self.floor.max(least);
    }

    /// Whether one that runs is to let another run, or nobody, since its budget is used up.
    #[must_use]
    pub fn has_better(&self, taken: &Taken<T>) -> bool {
        taken.spent_until.is_some()
            || self.runnable.iter().any(|member| member.used.saturating_add(self.slice / 2) <= taken.used)
    }

    /// Puts one back that wants to go on.
    pub fn put_back(&mut self, taken: Taken<T>) {
        let used = taken.used;
        self.put_back_as(taken, used);
    }

    /// Puts one back that wants others to run first, for it can do nothing before they do.
    pub fn yield_to_others(&mut self, taken: Taken<T>) {
        let others = self.runnable.iter().map(|member| member.used).max().unwrap_or(0);
        let used = taken.used.max(others.saturating_add(1));
        self.put_back_as(taken, used);
    }

    fn put_back_as(&mut self, Taken { item, spent_until, .. }: Taken<T>, used: u64) {
        let member = Member { item, used };
        match spent_until {
            Some(until) => self.spent.push((member, until)),
            None => self.runnable.push(member),
        }
    }

    /// Puts one back that waits.
    pub fn wait(&mut self, Taken { item, used, .. }: Taken<T>) {
        self.waiting.push(Member { item, used });
    }
}

#[cfg(test)]
mod tests;
