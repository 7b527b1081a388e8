// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUs for tests, one step at a time: each keeps every translation that nobody made it forget, and uses the oldest.

// UNSAFETY: reads and writes physical memory as a guest does.
#![expect(unsafe_code)]

use super::l0::L0;
use super::*;
use crate::memory::physical;
use crate::mmu::Kick;
use crate::mmu::flush::Provider;
use crate::mmu::table::frames_of;
use crate::mmu::walker::Translation;
use crate::mmu::walker::walk;
use std::boxed::Box;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::vec::Vec;

/// A kick that makes the CPU leave its guest at once.
#[derive(Clone, Debug, Default)]
struct Leaves(Arc<OnceLock<Arc<Coherence>>>);

impl Kick for Leaves {
    fn kick(&self, cpu: CpuNumber) {
        self.0.get().expect("it is set at the beginning").occupancy.leave(cpu);
    }

    fn relax(&self) {
        std::thread::yield_now();
    }

    fn cpus(&self) -> usize {
        Machine::CPUS
    }
}

/// What a CPU has cached.
#[derive(Clone, Copy, Debug)]
struct Cached {
    first: u64,
    frames: u64,
    /// Of the first frame.
    found: Translation,
}

/// What each CPU has cached.
#[derive(Debug, Default)]
pub(super) struct Caches([Mutex<Vec<Cached>>; Machine::CPUS]);

impl Caches {
    /// On all CPUs, what begins at such frames.
    pub(super) fn forget(&self, frames: impl Fn(u64) -> bool) {
        for cache in &self.0 {
            cache.lock().unwrap().retain(|cached| !frames(cached.first));
        }
    }
}

/// CPUs that run one guest.
pub(super) struct Machine {
    pub(super) space: GuestSpace,
    caches: Arc<Caches>,
    /// What is cached is of one page, however large the entry is: so does an L0 with tables of its own.
    splinters: bool,
    accessed_dirty: bool,
}

/// What became of a guest's access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It reached the memory at that physical address.
    Memory { address: u64 },
    /// It exited for good.
    Exit(Fault),
}

impl Machine {
    pub(super) const CPUS: usize = 3;

    pub(super) fn new(accessed_dirty: bool) -> Self {
        Self::flushed_by(Provider::Native, Arc::default(), false, accessed_dirty)
    }

    /// With an L0 that flushes for it.
    pub(super) fn on(l0: &Arc<L0>, accessed_dirty: bool) -> Self {
        let provider = Provider::HyperV(Box::new(Arc::clone(l0)));
        Self::flushed_by(provider, Arc::clone(&l0.caches), true, accessed_dirty)
    }

    fn flushed_by(provider: Provider, caches: Arc<Caches>, splinters: bool, accessed_dirty: bool) -> Self {
        let kick = Leaves::default();
        let coherence = Coherence::new(provider, Box::new(kick.clone()));
        kick.0.set(Arc::clone(&coherence)).expect("it is set once");
        let space = GuestSpace::new(coherence, Features { accessed_dirty }).unwrap();
        for vcpu in 0..Self::CPUS {
            space.roots().load(vcpu, space.root());
        }
        Self { space, caches, splinters, accessed_dirty }
    }

    pub(super) fn cpu(number: usize) -> CpuNumber {
        CpuNumber::new(number).unwrap()
    }

    /// That CPU is out of its guest, and what it does next is Satori's.
    pub(super) fn leave(&self, number: usize) -> CpuNumber {
        self.space.coherence().occupancy.leave(Self::cpu(number));
        Self::cpu(number)
    }

    /// The guest on that CPU touches a frame; it stays in the guest, unless it exits.
    pub(super) fn touch(&self, number: usize, frame: u64, write: bool) -> Outcome {
        for _ in 0..8 {
            self.enter(number);
            if let Some(address) = self.translate(number, frame, write) {
                return Outcome::Memory { address };
            }
            let me = self.leave(number);
            let access = Access { read: !write, write, execute: false };
            match self.space.fault(me, GuestPhysical(frame * FRAME), access) {
                Fault::Resolved => {}
                // As the run loop does: the CPU goes by what it has cached.
                Fault::Spurious => self.caches.0[number].lock().unwrap().clear(),
                fault => return Outcome::Exit(fault),
            }
        }
        panic!("a fault comes again and again");
    }

    /// Unless it is in its guest already.
    fn enter(&self, number: usize) {
        let (cpu, root) = (Self::cpu(number), self.space.root());
        if self.space.coherence().occupancy.root(cpu).is_some() {
            return;
        }
        if let Some(generation) = self.space.coherence().occupancy.enter(cpu, root) {
            self.caches.0[number].lock().unwrap().clear();
            root.credit(cpu, generation);
        }
    }

    fn translate(&self, number: usize, frame: u64, write: bool) -> Option<u64> {
        let pointer = self.space.root().pointer();
        let mut cache = self.caches.0[number].lock().unwrap();
        let hit =
            cache.iter_mut().find(|cached| (cached.first..cached.first + cached.frames).contains(&frame));
        match hit {
            Some(cached) if write && !cached.found.write => None,
            Some(cached) => {
                if write && !cached.found.dirty && pointer & 1 << 6 != 0 {
                    // It sets the bit in the entry, wherever that is now.
                    walk(pointer, frame, true)?;
                    cached.found.dirty = true;
                }
                Some(cached.found.address + (frame - cached.first) * FRAME)
            }
            None => {
                let found = walk(pointer, frame, write)?;
                let frames = if self.splinters { 1 } else { frames_of(found.level) };
                let first = frame - frame % frames;
                let address = found.address - (frame - first) * FRAME;
                cache.push(Cached { first, frames, found: Translation { address, ..found } });
                Some(found.address)
            }
        }
    }

    /// Fails if a CPU could use what the tables do not say any more: one that is in its guest, or would enter it without an INVEPT.
    #[track_caller]
    pub(super) fn nothing_stale_is_left(&self) {
        let (root, occupancy) = (self.space.root(), &self.space.coherence().occupancy);
        for (number, cache) in self.caches.0.iter().enumerate() {
            let cpu = Self::cpu(number);
            if occupancy.root(cpu).is_none() && root.stale(cpu).is_some() {
                continue;
            }
            for Cached { first, found, .. } in cache.lock().unwrap().iter() {
                let now = self.mapped(*first);
                let is_as_cached = |now: Translation| {
                    (now.address, now.level) == (found.address, found.level)
                        && (now.write || !found.write)
                        && (!self.accessed_dirty || now.accessed && (now.dirty || !found.dirty))
                };
                assert!(
                    now.is_some_and(is_as_cached),
                    "stale on {cpu}: frame {first:#x} is {now:x?}, not {found:x?}"
                );
            }
        }
    }

    /// Where the tables lead.
    pub(super) fn mapped(&self, frame: u64) -> Option<Translation> {
        walk(self.space.root().pointer() & !(1 << 6), frame, false)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for number in 0..Self::CPUS {
            self.leave(number);
            self.space.roots().unload(number);
        }
    }
}

/// The first word of a frame.
pub(super) fn word(address: u64) -> &'static AtomicU64 {
    // SAFETY: frames of guests' memory, which tests keep to their end.
    unsafe { &*physical::pointer(address).cast::<AtomicU64>() }
}

pub(super) fn store(address: u64, value: u64) {
    word(address).store(value, Ordering::Relaxed);
}

pub(super) fn load(address: u64) -> u64 {
    word(address).load(Ordering::Relaxed)
}
