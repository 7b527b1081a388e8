// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests' memory for host tests: a few ranges of RAM, each backed by a `Vec`; and the real one, on a machine whose CPUs
//! are never in a guest.

use super::Coherence;
use super::GuestMemory;
use super::GuestPhysical;
use super::GuestSpace;
use super::Kick;
use super::Unbacked;
use super::flush::Provider;
use super::space::Content;
use super::space::Features;
use super::space::Ram;
use crate::cpu::CpuNumber;
use core::ops::Range;
use std::boxed::Box;
use std::sync::Arc;
use std::sync::Mutex;
use std::vec::Vec;

/// Nobody has to leave a guest.
#[derive(Debug)]
struct NobodyInGuest;

impl Kick for NobodyInGuest {
    fn kick(&self, cpu: CpuNumber) {
        panic!("{cpu} is in no guest");
    }

    fn relax(&self) {
        std::thread::yield_now();
    }
}

/// A machine whose CPUs are never in a guest.
pub(crate) fn coherence() -> Arc<Coherence> {
    Coherence::new(Provider::Native, Box::new(NobodyInGuest))
}

/// CPUs that leave their guests of themselves, soon.
#[cfg(not(feature = "loom"))]
#[derive(Debug)]
struct Threads;

#[cfg(not(feature = "loom"))]
impl Kick for Threads {
    fn kick(&self, _: CpuNumber) {}

    fn relax(&self) {
        std::thread::yield_now();
    }
}

/// A machine whose CPUs are threads that leave their guests of themselves.
#[cfg(not(feature = "loom"))]
pub(crate) fn coherence_of_threads() -> Arc<Coherence> {
    Coherence::new(Provider::Native, Box::new(Threads))
}

/// A guest's memory with RAM at `ranges`.
pub(crate) fn space(ranges: &[Range<u64>]) -> GuestSpace {
    let space = GuestSpace::new(coherence(), Features { accessed_dirty: true }).expect("the host has memory");
    for range in ranges {
        let ram = Ram::new(range.end - range.start).expect("the host has memory");
        space.set(CpuNumber::BOOT, range.clone(), Content::Ram(ram)).expect("the host has memory");
    }
    space
}

/// RAM at chosen guest-physical ranges and nothing elsewhere; zeroed, and shareable between threads.
#[derive(Debug)]
pub(crate) struct ModelMemory {
    /// Each piece: its first address, and its bytes.
    pieces: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl ModelMemory {
    /// Memory with RAM at `ranges` (in bytes, disjoint, none empty).
    pub(crate) fn new(ranges: &[Range<u64>]) -> Self {
        let piece = |range: &Range<u64>| {
            let bytes = usize::try_from(range.end - range.start).expect("a piece fits in the host's memory");
            (range.start, vec![0; bytes])
        };
        Self { pieces: Mutex::new(ranges.iter().map(piece).collect()) }
    }

    /// A copy of the `bytes` bytes from `address` on; panics where there is no RAM.
    pub(crate) fn bytes(&self, address: u64, bytes: usize) -> Vec<u8> {
        let mut copy = vec![0; bytes];
        self.read(GuestPhysical(address), &mut copy).expect("the range is RAM");
        copy
    }
}

/// Cuts an access of `bytes` bytes at `address` at the borders of the pieces: (piece, offset in it, bytes).
fn cut(
    pieces: &[(u64, Vec<u8>)],
    address: GuestPhysical,
    mut bytes: usize,
) -> Result<Vec<(usize, usize, usize)>, Unbacked> {
    let mut parts = Vec::new();
    let mut at = address.0;
    while bytes > 0 {
        let unbacked = Unbacked { address: GuestPhysical(at) };
        let holds =
            |(start, ram): &(u64, Vec<u8>)| at.checked_sub(*start).is_some_and(|o| o < ram.len() as u64);
        let piece = pieces.iter().position(holds).ok_or(unbacked)?;
        let offset = usize::try_from(at - pieces[piece].0).expect("the offset is below the piece's length");
        let here = bytes.min(pieces[piece].1.len() - offset);
        parts.push((piece, offset, here));
        bytes -= here;
        at += here as u64;
    }
    Ok(parts)
}

impl GuestMemory for ModelMemory {
    fn read(&self, address: GuestPhysical, buffer: &mut [u8]) -> Result<(), Unbacked> {
        let pieces = self.pieces.lock().expect("no test panics while it holds the lock");
        let mut done = 0;
        for (piece, offset, bytes) in cut(&pieces, address, buffer.len())? {
            buffer[done..done + bytes].copy_from_slice(&pieces[piece].1[offset..offset + bytes]);
            done += bytes;
        }
        Ok(())
    }

    fn write(&self, address: GuestPhysical, bytes: &[u8]) -> Result<(), Unbacked> {
        let mut pieces = self.pieces.lock().expect("no test panics while it holds the lock");
        let mut rest = bytes;
        for (piece, offset, bytes) in cut(&pieces, address, bytes.len())? {
            let (here, later) = rest.split_at(bytes);
            pieces[piece].1[offset..offset + bytes].copy_from_slice(here);
            rest = later;
        }
        Ok(())
    }

    fn compare_exchange(&self, address: GuestPhysical, current: u64, new: u64) -> Result<bool, Unbacked> {
        let mut pieces = self.pieces.lock().expect("no test panics while it holds the lock");
        let (piece, offset, _) = cut(&pieces, address, 8)?[0];
        let word = &mut pieces[piece].1[offset..offset + 8];
        let equal = word == current.to_le_bytes();
        if equal {
            word.copy_from_slice(&new.to_le_bytes());
        }
        Ok(equal)
    }

    fn hold(&self, act: &mut dyn FnMut(&dyn GuestMemory)) {
        act(self);
    }
}

mod tests {
    use super::*;

    #[test]
    fn an_access_may_span_adjacent_pieces() {
        let memory = ModelMemory::new(&[0x1000..0x2000, 0x2000..0x3000]);
        memory.write(GuestPhysical(0x1FFE), &[1, 2, 3, 4]).unwrap();
        assert_eq!(memory.bytes(0x1FFD, 6), [0, 1, 2, 3, 4, 0]);
    }

    #[test]
    fn a_write_that_is_unbacked_in_part_changes_nothing() {
        let memory = ModelMemory::new(&[0x1000..0x2000, 0x4000..0x5000]);
        let refused = memory.write(GuestPhysical(0x1FFE), &[1, 2, 3]);
        assert_eq!(refused, Err(Unbacked { address: GuestPhysical(0x2000) }));
        assert_eq!(memory.bytes(0x1FFE, 2), [0, 0]);
        assert_eq!(
            memory.write(GuestPhysical(u64::MAX), &[1]),
            Err(Unbacked { address: GuestPhysical(u64::MAX) })
        );
    }
}
