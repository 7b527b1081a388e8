// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUs for tests, one step at a time: each keeps every translation that nobody made it forget, and uses the oldest.

// UNSAFETY: reads and writes physical memory as a guest does.
#![expect(unsafe_code)]

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

/// What a CPU has cached: the first frame, and where it is.
type Cached = (u64, Translation);

/// CPUs that run one guest.
pub(super) struct Machine {
    pub(super) space: GuestSpace,
    caches: [Mutex<Vec<Cached>>; Self::CPUS],
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
        let kick = Leaves::default();
        let coherence = Coherence::new(Provider::Native, Box::new(kick.clone()));
        kick.0.set(Arc::clone(&coherence)).expect("it is set once");
        let space = GuestSpace::new(coherence, Features { accessed_dirty }).unwrap();
        for vcpu in 0..Self::CPUS {
            space.roots().load(vcpu, space.root());
        }
        Self { space, caches: Default::default() }
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
                Fault::Spurious => self.caches[number].lock().unwrap().clear(),
                fault => return Outcome::Exit(fault),
            }
        }
        panic!("a fault comes again and again");
    }

    fn enter(&self, number: usize) {
        let (cpu, root) = (Self::cpu(number), self.space.root());
        if let Some(generation) = self.space.coherence().occupancy.enter(cpu, root) {
            self.caches[number].lock().unwrap().clear();
            root.credit(cpu, generation);
        }
    }

    fn translate(&self, number: usize, frame: u64, write: bool) -> Option<u64> {
        let pointer = self.space.root().pointer();
        let mut cache = self.caches[number].lock().unwrap();
        let hit = cache.iter_mut().find(|(first, found)| frame - frame % frames_of(found.level) == *first);
        match hit {
            Some((_, found)) if write && !found.write => None,
            Some((first, found)) => {
                if write && !found.dirty && pointer & 1 << 6 != 0 {
                    // It sets the bit in the entry, wherever that is now.
                    walk(pointer, frame, true)?;
                    found.dirty = true;
                }
                Some(found.address + (frame - *first) * FRAME)
            }
            None => {
                let found = walk(pointer, frame, write)?;
                let first = frame - frame % frames_of(found.level);
                let address = found.address - (frame - first) * FRAME;
                cache.push((first, Translation { address, ..found }));
                Some(found.address)
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
