// SPDX-License-Identifier: MIT OR Apache-2.0
//! Does all tasks of the plan, and compares what each came to with what it must come to.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use workload::Hash;
use workload::bytes;
use workload::plan::CHILDREN;
use workload::plan::FILE_WORDS;
use workload::plan::FILES;
use workload::plan::Kind;
use workload::plan::MOVES;
use workload::plan::PAGE_WORDS;
use workload::plan::PAGES;
use workload::plan::PIPE_WORDS;
use workload::plan::ROUNDS;
use workload::plan::SHARED_PAGES;
use workload::plan::THREAD_WORDS;
use workload::plan::THREADS;
use workload::plan::Task;

use crate::system;
use crate::system::Child;
use crate::system::Mapping;

/// Bytes that go into a pipe at once: no multiple of a page, so that they come out otherwise than they went in.
const PIPE_CHUNK: usize = 5_000;

/// Does them, and gives one checksum over all that was found.
///
/// # Errors
/// What the system says, or at the first task that came to something else.
pub fn run() -> io::Result<u64> {
    let cpus = thread::available_parallelism()?.get();
    let mut found = Vec::new();
    for task in (0..ROUNDS).flat_map(Task::of_round) {
        let checksum = perform(task, cpus).map_err(|error| other(task, &error.to_string()))?;
        if checksum != task.expected() {
            return Err(other(task, &format!("expected {:016x}, found {checksum:016x}", task.expected())));
        }
        found.push(checksum);
    }
    Ok(workload::checksum(found.into_iter()))
}

fn other(task: Task, what: &str) -> io::Error {
    io::Error::other(format!("{task:?}: {what}"))
}

fn perform(task: Task, cpus: usize) -> io::Result<u64> {
    match task.kind {
        Kind::Memory => memory(task),
        Kind::Protect => protect(task),
        Kind::Fork => fork(task, cpus),
        Kind::Pipe => pipe(task, cpus),
        Kind::Files => files(task),
        Kind::Threads => threads(task, cpus),
    }
}

fn memory(task: Task) -> io::Result<u64> {
    let half = PAGES / 2 * PAGE_WORDS;
    let mut mapping = Mapping::new(PAGES)?;
    system::fill(&mapping.words()[..half], &task.words(0, half));
    system::fill(&mapping.words()[half..], &task.words(2, half));
    mapping.renew(PAGES / 2..PAGES)?;
    if mapping.words()[half..].iter().any(|word| word.load(Relaxed) != 0) {
        return Err(other(task, "fresh memory is not zero"));
    }
    system::fill(&mapping.words()[half..], &task.words(1, half));
    Ok(Hash::of(&system::read(mapping.words())))
}

fn protect(task: Task) -> io::Result<u64> {
    let mapping = Mapping::new(PAGES)?;
    let [old, new] = [0, 1].map(|part| task.words(part, PAGES * PAGE_WORDS));
    system::fill(mapping.words(), &old);
    let written = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !written.load(Relaxed) {
                let words = mapping.words().iter().zip(old.iter().zip(&new));
                for (word, (old, new)) in words.step_by(61) {
                    let seen = word.load(Relaxed);
                    if seen != *old && seen != *new {
                        return Err(other(task, &format!("a reader saw {seen:#x}")));
                    }
                }
            }
            Ok(())
        });
        let write = || {
            for page in 0..PAGES {
                mapping.set_writable(page, true)?;
                system::fill(mapping.page(page), &new[page * PAGE_WORDS..]);
                mapping.set_writable(page, false)?;
            }
            Ok(())
        };
        let wrote: io::Result<()> = write();
        written.store(true, Relaxed);
        reader.join().map_err(|_| other(task, "a reader panicked"))??;
        wrote
    })?;
    Ok(Hash::of(&system::read(mapping.words())))
}

fn fork(task: Task, cpus: usize) -> io::Result<u64> {
    let mapping = Mapping::new(SHARED_PAGES)?;
    system::fill(mapping.words(), &task.words(CHILDREN, SHARED_PAGES * PAGE_WORDS));
    let children: io::Result<Vec<Child>> = (0..CHILDREN)
        .map(|child| {
            Child::fork(|| {
                if child % 2 == 0 {
                    system::run_on((child + task.round) as usize % cpus)?;
                }
                let own = task.words(child, SHARED_PAGES * PAGE_WORDS);
                for page in (0..SHARED_PAGES).step_by(2) {
                    system::fill(mapping.page(page), &own[page * PAGE_WORDS..]);
                }
                Ok(Hash::of(&system::read(mapping.words())))
            })
        })
        .collect();
    let mut hash = Hash::default();
    for child in children? {
        hash.take_words(&[child.answer()?]);
    }
    hash.take_words(&system::read(mapping.words()));
    Ok(hash.value())
}

fn pipe(task: Task, cpus: usize) -> io::Result<u64> {
    let (mut output, mut input) = io::pipe()?;
    let child = Child::fork(|| {
        system::run_on(task.round as usize % cpus)?;
        let mut bytes = vec![0; PIPE_WORDS * 8];
        output.read_exact(&mut bytes)?;
        let mut hash = Hash::default();
        hash.take(&bytes);
        Ok(hash.value())
    })?;
    for chunk in bytes(&task.words(0, PIPE_WORDS)).chunks(PIPE_CHUNK) {
        input.write_all(chunk)?;
    }
    Ok(Hash::of(&[child.answer()?]))
}

fn files(task: Task) -> io::Result<u64> {
    let folder = std::env::temp_dir().join(format!("workload-{}", task.round));
    fs::create_dir_all(&folder)?;
    for number in 0..FILES {
        let [first, last] = ["new", "file"].map(|name| folder.join(format!("{name}-{number}")));
        let mut file = File::create(&first)?;
        for chunk in bytes(&task.words(number, FILE_WORDS)).chunks(PIPE_CHUNK) {
            file.write_all(chunk)?;
        }
        fs::rename(first, last)?;
        file.set_len((FILE_WORDS / 4 * 3 * 8) as u64)?;
    }
    let mut hash = Hash::default();
    for number in 0..FILES {
        hash.take(&fs::read(folder.join(format!("file-{number}")))?);
    }
    fs::remove_dir_all(folder)?;
    Ok(hash.value())
}

fn threads(task: Task, cpus: usize) -> io::Result<u64> {
    let (moves, one_at_a_time) = (AtomicU64::new(0), Mutex::new(0_u64));
    let work = |thread: u64| -> io::Result<u64> {
        let mut memory = vec![0; THREAD_WORDS];
        for step in 0..MOVES {
            system::run_on((thread + step) as usize % cpus)?;
            task.compute(thread, step, &mut memory);
            moves.fetch_add(1, Relaxed);
            *one_at_a_time.lock().map_err(|_| other(task, "a thread panicked"))? += 1;
        }
        Ok(Hash::of(&memory))
    };
    let results: io::Result<Vec<u64>> = thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, io::Result<u64>>| {
            thread.join().unwrap_or_else(|_| Err(other(task, "a thread panicked")))
        };
        threads.into_iter().map(join).collect()
    });
    let counts = (moves.into_inner(), one_at_a_time.into_inner().unwrap_or_default());
    if counts != (THREADS * MOVES, THREADS * MOVES) {
        return Err(other(task, &format!("threads counted to {counts:?}")));
    }
    Ok(Hash::of(&results?))
}
