// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the workload asks of Linux that Rust's library does not have: memory maps, forks, and on which CPUs to run; and the TSC.

// UNSAFETY: these are calls to the C library, memory that it hands out, and an instruction.
#![expect(unsafe_code)]

use std::io;
use std::io::PipeReader;
use std::io::Read;
use std::io::Write;
use std::ops::Range;
use std::ptr;
use std::slice;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use workload::plan::PAGE_WORDS;

const PAGE: usize = PAGE_WORDS * 8;

/// Anonymous memory, private to this process and shared by its threads. Forked, it is copied when it is written.
#[derive(Debug)]
pub struct Mapping {
    start: *mut AtomicU64,
    pages: usize,
}

// SAFETY: it is a range of atomics that lives as long as this does.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// So many pages.
    pub fn new(pages: usize) -> io::Result<Self> {
        // SAFETY: a new mapping overlaps nothing.
        let start = unsafe { map(ptr::null_mut(), pages, 0)? };
        Ok(Self { start, pages })
    }

    /// Its words.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: all of it is mapped and readable while `self` lives; `renew` takes `self` alone.
        unsafe { slice::from_raw_parts(self.start, self.pages * PAGE_WORDS) }
    }

    /// The words of one of its pages.
    pub fn page(&self, page: usize) -> &[AtomicU64] {
        &self.words()[page * PAGE_WORDS..(page + 1) * PAGE_WORDS]
    }

    /// Unmaps these pages, and maps fresh ones in their place.
    pub fn renew(&mut self, pages: Range<usize>) -> io::Result<()> {
        assert!(pages.end <= self.pages);
        let start = self.start.wrapping_add(pages.start * PAGE_WORDS);
        // SAFETY: the pages are ours, and nobody else looks at them.
        unsafe {
            checked(libc::munmap(start.cast(), pages.len() * PAGE))?;
            map(start, pages.len(), libc::MAP_FIXED)?;
        }
        Ok(())
    }

    /// Has each page come by itself, when it is touched, and none as a part of a large one.
    pub fn in_small_pages(&self) -> io::Result<()> {
        // SAFETY: it is ours, and what is in it does not change.
        checked(unsafe { libc::madvise(self.start.cast(), self.pages * PAGE, libc::MADV_NOHUGEPAGE) })
    }

    /// Makes a page writable, or read-only.
    pub fn set_writable(&self, page: usize, writable: bool) -> io::Result<()> {
        let start = self.page(page).as_ptr().cast_mut();
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: the page is ours; it stays readable.
        checked(unsafe { libc::mprotect(start.cast(), PAGE, protection) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nobody can look at it any more.
        unsafe { libc::munmap(self.start.cast(), self.pages * PAGE) };
    }
}

unsafe fn map(at: *mut AtomicU64, pages: usize, flags: i32) -> io::Result<*mut AtomicU64> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    // SAFETY: the caller answers for what is there.
    let start = unsafe { libc::mmap(at.cast(), pages * PAGE, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(start.cast()) }
}

/// Writes `words`.
pub fn fill(memory: &[AtomicU64], words: &[u64]) {
    for (place, word) in memory.iter().zip(words) {
        place.store(*word, Relaxed);
    }
}

/// Reads them.
pub fn read(memory: &[AtomicU64]) -> Vec<u64> {
    memory.iter().map(|word| word.load(Relaxed)).collect()
}

/// A forked process, which tells one number and ends.
#[derive(Debug)]
pub struct Child {
    process: libc::pid_t,
    answer: PipeReader,
}

impl Child {
    /// Forks; the child does `work`. No other thread may run.
    pub fn fork(work: impl FnOnce() -> io::Result<u64>) -> io::Result<Self> {
        let (answer, mut tell) = io::pipe()?;
        // SAFETY: this process has one thread, so the child has all that it needs.
        let process = unsafe { libc::fork() };
        checked(process)?;
        if process == 0 {
            let done = work().and_then(|value| tell.write_all(&value.to_le_bytes()));
            // SAFETY: the child has nothing to clean up; what the parent has open stays the parent's.
            unsafe { libc::_exit(i32::from(done.is_err())) };
        }
        Ok(Self { process, answer })
    }

    /// What it tells, when it has ended.
    pub fn answer(mut self) -> io::Result<u64> {
        let mut value = [0; 8];
        let read = self.answer.read_exact(&mut value);
        let mut status = 0;
        // SAFETY: it is our child, and is waited for once.
        checked(unsafe { libc::waitpid(self.process, &raw mut status, 0) })?;
        read?;
        if status != 0 {
            return Err(io::Error::other(format!("a child ended with status {status:#x}")));
        }
        Ok(u64::from_le_bytes(value))
    }
}

/// Lets the calling thread run on this CPU alone.
pub fn run_on(cpu: usize) -> io::Result<()> {
    // SAFETY: all zeros is the empty set, and the set outlives the call.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        checked(libc::sched_setaffinity(0, size_of_val(&set), &raw const set))
    }
}

/// The TSC.
#[must_use]
pub fn tsc() -> u64 {
    // SAFETY: reading has no effect.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Switches the machine off, for which this process has to be the first one or a privileged one.
pub fn power_off() {
    // SAFETY: nothing of this process is touched. Until the last byte has left the console.
    unsafe {
        libc::tcdrain(libc::STDOUT_FILENO);
        libc::reboot(libc::RB_POWER_OFF);
    }
}

fn checked(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
