// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the workload consists of: rounds of tasks, each with a checksum that is known before it is done.

use crate::Content;
use crate::Hash;

/// How often all kinds of tasks are done.
pub const ROUNDS: u64 = 12;

/// 64-bit words in a page.
pub const PAGE_WORDS: usize = 512;

/// Pages of a [`Kind::Memory`] and [`Kind::Protect`] task.
pub const PAGES: usize = 96;
/// Processes that a [`Kind::Fork`] task forks.
pub const CHILDREN: u64 = 4;
/// Pages that parent and children share until they write.
pub const SHARED_PAGES: usize = 48;
/// Words that go through a [`Kind::Pipe`] task's pipe.
pub const PIPE_WORDS: usize = 64 << 10;
/// Files of a [`Kind::Files`] task, and words in each.
pub const FILES: u64 = 6;
/// Words in each of them.
pub const FILE_WORDS: usize = 8 << 10;
/// Threads of a [`Kind::Threads`] task.
pub const THREADS: u64 = 4;
/// How often each thread moves, and how many words it computes on each CPU.
pub const MOVES: u64 = 40;
/// Words of each thread's own memory.
pub const THREAD_WORDS: usize = 4 << 10;

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Maps memory, fills it, unmaps a part and maps it anew, and reads it.
    Memory,
    /// Makes pages read-only and writable in turn while another thread reads them.
    Protect,
    /// Forks children, each on a CPU of its own or wherever it may be; they write to memory that they share with the
    /// parent until then.
    Fork,
    /// Sends words through a pipe to another process, which sends back their checksum.
    Pipe,
    /// Writes files, renames and truncates them, and reads them.
    Files,
    /// Threads that go from CPU to CPU and compute in memory of their own and in shared memory.
    Threads,
}

/// One task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its round.
    pub round: u64,
    /// What it does.
    pub kind: Kind,
}

impl Task {
    /// All tasks of a round.
    pub fn of_round(round: u64) -> impl Iterator<Item = Self> {
        use Kind::Files;
        use Kind::Fork;
        use Kind::Memory;
        use Kind::Pipe;
        use Kind::Protect;
        use Kind::Threads;
        [Memory, Fork, Threads, Protect, Pipe, Files].into_iter().map(move |kind| Self { round, kind })
    }

    /// The seed of its part number `part`.
    #[must_use]
    pub fn seed(self, part: u64) -> u64 {
        (self.round << 16 | (self.kind as u64) << 8 | part) + 1
    }

    /// The content of its part number `part`, which is so many words long.
    #[must_use]
    pub fn words(self, part: u64, count: usize) -> Vec<u64> {
        Content::of(self.seed(part)).words(count)
    }

    /// The checksum that it must come to.
    #[must_use]
    pub fn expected(self) -> u64 {
        let mut hash = Hash::default();
        match self.kind {
            Kind::Memory => {
                // The second half was mapped anew.
                hash.take_words(&self.words(0, PAGES / 2 * PAGE_WORDS));
                hash.take_words(&self.words(1, PAGES / 2 * PAGE_WORDS));
            }
            Kind::Protect => hash.take_words(&self.words(1, PAGES * PAGE_WORDS)),
            Kind::Fork => {
                for child in 0..CHILDREN {
                    hash.take_words(&[self.of_child(child)]);
                }
                hash.take_words(&self.words(CHILDREN, SHARED_PAGES * PAGE_WORDS));
            }
            Kind::Pipe => hash.take_words(&[Hash::of(&self.words(0, PIPE_WORDS))]),
            Kind::Files => (0..FILES).for_each(|file| hash.take_words(&self.of_file(file))),
            Kind::Threads => (0..THREADS).for_each(|thread| hash.take_words(&[self.of_thread(thread)])),
        }
        hash.value()
    }

    /// What a child finds: its parent's words, every second page of them overwritten with its own.
    #[must_use]
    pub fn of_child(self, child: u64) -> u64 {
        let (parents, own) =
            (self.words(CHILDREN, SHARED_PAGES * PAGE_WORDS), self.words(child, SHARED_PAGES * PAGE_WORDS));
        let mut hash = Hash::default();
        for page in 0..SHARED_PAGES {
            let words = if page % 2 == 0 { &own } else { &parents };
            hash.take_words(&words[page * PAGE_WORDS..(page + 1) * PAGE_WORDS]);
        }
        hash.value()
    }

    /// What is in a file in the end: its first three quarters.
    #[must_use]
    pub fn of_file(self, file: u64) -> Vec<u64> {
        let mut words = self.words(file, FILE_WORDS);
        words.truncate(FILE_WORDS / 4 * 3);
        words
    }

    /// What a thread comes to: it adds its words up to those of its memory, again on each CPU.
    #[must_use]
    pub fn of_thread(self, thread: u64) -> u64 {
        let mut memory = vec![0; THREAD_WORDS];
        (0..MOVES).for_each(|step| self.compute(thread, step, &mut memory));
        Hash::of(&memory)
    }

    /// What a thread does to its memory on one CPU.
    pub fn compute(self, thread: u64, step: u64, memory: &mut [u64]) {
        let mut words = vec![0; memory.len()];
        Content::of(self.seed(thread) << 16 | step).fill(&mut words);
        for (word, more) in memory.iter_mut().zip(words) {
            *word = word.rotate_left(7).wrapping_add(more);
        }
    }
}
