// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fixed work of several kinds, each timed by the TSC, and checked: computing, touching and unmapping memory, system calls, processes.

use std::hint::black_box;
use std::io;
use std::io::Read;
use std::io::Write;
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;

use workload::Content;
use workload::plan::PAGE_WORDS;

use crate::system;
use crate::system::Child;
use crate::system::Mapping;

/// Primes are looked for below it.
const NUMBERS: usize = 6_000_000;
/// So many of them are prime.
const PRIMES: usize = 412_849;
/// Words that are sorted.
const WORDS: usize = 1 << 19;

/// Pages that are mapped at one time: 32 MiB.
const PAGES: usize = 8 << 10;
/// How often.
const MAPPINGS: usize = 4;

/// System calls that do next to nothing.
const CALLS: u64 = 300_000;
/// Words that go to another process through a pipe, each of which comes back before the next one goes.
const ROUND_TRIPS: u64 = 12_000;

/// Processes that are forked, one after the other.
const FORKS: u64 = 400;
/// Pages that each writes to, which it shared with its parent until then.
const SHARED_PAGES: usize = 32;
/// Programs that are executed, one after the other.
const EXECUTIONS: u64 = 150;

/// The name of a figure, and what is timed for it.
type Kind = (&'static str, fn() -> io::Result<()>);

/// Does all of it, and prints `bench: NAME TICKS` for each kind, and for the boot if this program was first told when that began, with
/// `start-tsc=TSC`. `started_at` is the TSC at the start of this program.
///
/// # Errors
/// What the system says, or when something came to what it should not.
pub fn run(arguments: &[String], started_at: u64) -> io::Result<()> {
    let mut figures = Vec::new();
    for argument in arguments {
        let start = argument.strip_prefix("start-tsc=").and_then(|tsc| tsc.parse().ok());
        let start: u64 =
            start.ok_or_else(|| io::Error::other(format!("{argument:?} is not start-tsc=TSC")))?;
        figures.push(("linux_boot", started_at.wrapping_sub(start)));
    }
    let kinds: [Kind; 4] = [
        ("linux_cpu", compute),
        ("linux_memory", memory),
        ("linux_syscall", system_calls),
        ("linux_fork", processes),
    ];
    for (name, work) in kinds {
        let before = system::tsc();
        work().map_err(|error| io::Error::other(format!("{name}: {error}")))?;
        figures.push((name, system::tsc().wrapping_sub(before)));
    }
    // Only now: while the console sends a line, it interrupts what is measured.
    figures.iter().for_each(|(name, ticks)| println!("bench: {name} {ticks}"));
    Ok(())
}

/// The exit status of the program that is executed for the number `number`.
#[must_use]
pub fn status_of(number: u64) -> u8 {
    (number * 7 + 3) as u8 & 0x7f
}

fn compute() -> io::Result<()> {
    let mut is_composite = vec![false; NUMBERS];
    let mut primes = 0;
    for number in 2..NUMBERS {
        if !is_composite[number] {
            primes += 1;
            (number * number..NUMBERS).step_by(number).for_each(|multiple| is_composite[multiple] = true);
        }
    }
    expect("primes", primes, PRIMES)?;
    let mut words = Content::of(1).words(WORDS);
    let sum = |words: &[u64]| words.iter().fold(0_u64, |sum, word| sum.wrapping_add(*word));
    let before = sum(&words);
    words.sort_unstable();
    expect("sorted words", words.is_sorted(), true)?;
    expect("the sum of sorted words", sum(&words), before)
}

fn memory() -> io::Result<()> {
    for round in 0..MAPPINGS {
        let mapping = Mapping::new(PAGES)?;
        mapping.in_small_pages()?;
        let first_words = || mapping.words().iter().step_by(PAGE_WORDS);
        expect("words of fresh memory", first_words().map(|word| word.load(Relaxed)).sum(), 0)?;
        first_words().zip(round as u64..).for_each(|(word, value)| word.store(value, Relaxed));
        let (pages, round) = (PAGES as u64, round as u64);
        let sum = first_words().map(|word| word.load(Relaxed)).sum();
        expect("the sum of what was written", sum, pages * round + pages * (pages - 1) / 2)?;
    }
    Ok(())
}

fn system_calls() -> io::Result<()> {
    let parent = std::os::unix::process::parent_id();
    let others = (0..CALLS).filter(|_| black_box(std::os::unix::process::parent_id()) != parent).count();
    expect("calls that say otherwise who the parent is", others, 0)?;
    let ((mut questions, mut ask), (mut answers, mut answer)) = (io::pipe()?, io::pipe()?);
    let child = Child::fork(|| {
        for _ in 0..ROUND_TRIPS {
            let question = read(&mut questions)?;
            answer.write_all(&(question + 1).to_le_bytes())?;
        }
        Ok(ROUND_TRIPS)
    })?;
    let mut word = 0_u64;
    for _ in 0..ROUND_TRIPS {
        ask.write_all(&word.to_le_bytes())?;
        word = read(&mut answers)?;
    }
    expect("round trips", word, ROUND_TRIPS)?;
    expect("round trips as the other process has it", child.answer()?, ROUND_TRIPS)
}

fn read(from: &mut impl Read) -> io::Result<u64> {
    let mut word = [0; 8];
    from.read_exact(&mut word)?;
    Ok(u64::from_le_bytes(word))
}

fn processes() -> io::Result<()> {
    let mapping = Mapping::new(SHARED_PAGES)?;
    let first_words = || mapping.words().iter().step_by(PAGE_WORDS);
    first_words().zip(0..).for_each(|(word, value)| word.store(value, Relaxed));
    let sum = || first_words().map(|word| word.load(Relaxed)).sum::<u64>();
    let before = sum();
    for number in 0..FORKS {
        let child = Child::fork(|| {
            first_words().for_each(|word| {
                word.fetch_add(number, Relaxed);
            });
            Ok(sum())
        })?;
        expect("what a child computes", child.answer()?, before + number * SHARED_PAGES as u64)?;
    }
    expect("what the parent has", sum(), before)?;
    let program = std::env::args().next().unwrap_or_default();
    for number in 0..EXECUTIONS {
        let status = Command::new(&program).args(["status", &number.to_string()]).status()?;
        expect("the status of a program", status.code(), Some(i32::from(status_of(number))))?;
    }
    Ok(())
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> io::Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(io::Error::other(format!("{what}: expected {expected:?}, found {found:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_computed_is_right_here_too() {
        compute().unwrap();
        memory().unwrap();
    }

    #[test]
    fn a_wrong_result_is_told() {
        let error = expect("primes", 1, 2).unwrap_err().to_string();
        assert_eq!(error, "primes: expected 2, found 1");
    }
}
