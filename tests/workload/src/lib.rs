// SPDX-License-Identifier: MIT OR Apache-2.0
//! A workload for a guest's Linux: processes and threads that fill memory, pipes and files, move among CPUs, and must find
//! what was written.
//!
//! The program (`main.rs`) does it and prints a checksum over what it found. [`expected`] computes the same checksum
//! without doing anything, for whoever runs the program. Or it does something with each device of its machine: [`devices`].

mod content;
pub mod devices;
pub mod plan;

pub use content::Content;
pub use content::Hash;

use plan::ROUNDS;
use plan::Task;

/// The checksum that the program must print.
#[must_use]
pub fn expected() -> u64 {
    checksum((0..ROUNDS).flat_map(Task::of_round).map(Task::expected))
}

/// One checksum of those of all tasks, in their order.
#[must_use]
pub fn checksum(tasks: impl Iterator<Item = u64>) -> u64 {
    let mut hash = Hash::default();
    tasks.for_each(|task| hash.take(&task.to_le_bytes()));
    hash.value()
}

/// Words as they are stored.
#[must_use]
pub fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_depends_on_each_task_and_on_their_order() {
        let all = expected();
        let tasks: Vec<u64> = (0..ROUNDS).flat_map(Task::of_round).map(Task::expected).collect();
        for index in 0..tasks.len() {
            let mut changed = tasks.clone();
            changed[index] ^= 1;
            assert_ne!(checksum(changed.into_iter()), all);
        }
        let mut swapped = tasks;
        swapped.swap(0, 1);
        assert_ne!(checksum(swapped.into_iter()), all);
    }
}
