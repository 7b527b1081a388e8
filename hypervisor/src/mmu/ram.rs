// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest's RAM: which physical memory lies behind which guest-physical addresses.

use crate::memory::FRAME;
use crate::memory::Frames;
use crate::memory::OutOfFrames;
use crate::memory::PAGE_1G;
use crate::memory::PAGE_2M;
use crate::mmu::GuestMemory;
use crate::mmu::GuestPhysical;
use crate::mmu::Unbacked;
use crate::mmu::ept::Ept;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::Ordering;

/// Memory in one piece, at one guest-physical address.
#[derive(Debug)]
struct Piece {
    guest: u64,
    frames: Frames,
}

/// All RAM of a guest, zeroed at first.
#[derive(Debug, Default)]
pub struct GuestRam {
    /// In the order of their guest-physical addresses.
    pieces: Vec<Piece>,
}

impl GuestRam {
    /// Takes memory for the guest-physical `ranges`, which are in order and of whole frames, and maps it in `ept`.
    pub fn allocate(ranges: &[Range<u64>], ept: &mut Ept) -> Result<Self, OutOfFrames> {
        let mut ram = Self::default();
        for range in ranges {
            let mut guest = range.start;
            while guest < range.end {
                let frames = largest(range.end - guest)?;
                ept.map(GuestPhysical(guest), &frames)?;
                let next = guest + frames.bytes();
                ram.pieces.push(Piece { guest, frames });
                guest = next;
            }
        }
        Ok(ram)
    }

    /// Bytes of all of it.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.frames.bytes()).sum()
    }

    /// The piece around `address`, and the offset in it.
    fn piece(&self, address: u64) -> Option<(&Piece, u64)> {
        let after = self.pieces.partition_point(|piece| piece.guest <= address);
        let piece = self.pieces.get(after.checked_sub(1)?)?;
        let offset = address - piece.guest;
        (offset < piece.frames.bytes()).then_some((piece, offset))
    }

    /// Splits a range of guest-physical addresses at the ends of pieces and hands each part on, as
    /// (frames, offset in them, part of the range). Nothing is handed on unless all of it is backed.
    fn for_each_part(
        &self,
        address: GuestPhysical,
        len: usize,
        mut act: impl FnMut(&Frames, u64, Range<usize>),
    ) -> Result<(), Unbacked> {
        let part = |done: usize| {
            let at = address.checked_add(done as u64).ok_or(Unbacked { address })?;
            let (piece, offset) = self.piece(at.0).ok_or(Unbacked { address: at })?;
            let bytes = (piece.frames.bytes() - offset).min((len - done) as u64) as usize;
            Ok((&piece.frames, offset, done..done + bytes))
        };
        let mut done = 0;
        while done < len {
            done = part(done)?.2.end;
        }
        done = 0;
        while done < len {
            let (frames, offset, range) = part(done)?;
            done = range.end;
            act(frames, offset, range);
        }
        Ok(())
    }
}

impl GuestMemory for GuestRam {
    fn read(&self, address: GuestPhysical, buffer: &mut [u8]) -> Result<(), Unbacked> {
        let len = buffer.len();
        self.for_each_part(address, len, |frames, offset, range| frames.copy_out(offset, &mut buffer[range]))
    }

    fn write(&self, address: GuestPhysical, bytes: &[u8]) -> Result<(), Unbacked> {
        self.for_each_part(address, bytes.len(), |frames, offset, range| {
            frames.copy_in(offset, &bytes[range]);
        })
    }

    fn compare_exchange(&self, address: GuestPhysical, current: u64, new: u64) -> Result<bool, Unbacked> {
        assert!(address.0.is_multiple_of(8), "a word begins at a multiple of its size");
        let (piece, offset) = self.piece(address.0).ok_or(Unbacked { address })?;
        let word = &piece.frames.words()[(offset / 8) as usize];
        Ok(word.compare_exchange(current, new, Ordering::AcqRel, Ordering::Relaxed).is_ok())
    }
}

/// The largest piece of at most `bytes` that can be had, so that few and large pages map it.
fn largest(bytes: u64) -> Result<Frames, OutOfFrames> {
    if bytes < PAGE_2M {
        return Frames::zeroed(bytes, FRAME);
    }
    let mut size = bytes - bytes % PAGE_2M;
    loop {
        let align = if size >= PAGE_1G { PAGE_1G } else { PAGE_2M };
        match Frames::zeroed(size, align) {
            Err(_) if size > PAGE_2M => size = (size / 2).next_multiple_of(PAGE_2M),
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::slice::from_ref;

    fn ram(ranges: &[Range<u64>]) -> (GuestRam, Ept) {
        let mut ept = Ept::new(true).unwrap();
        (GuestRam::allocate(ranges, &mut ept).unwrap(), ept)
    }

    #[test]
    fn what_is_written_is_read_across_pieces() {
        // 5 MiB are two pieces: 4 MiB for large pages, and the rest.
        let (ram, _ept) = ram(from_ref(&(0..5 << 20)));
        assert!(ram.pieces.len() >= 2);
        let bytes: Vec<u8> = (0..1 << 20).map(|n: u32| (n * 7) as u8).collect();
        let start = GuestPhysical((4 << 20) - (1 << 19));
        ram.write(start, &bytes).unwrap();
        let mut back = alloc::vec![0; 1 << 20];
        ram.read(start, &mut back).unwrap();
        assert!(back == bytes);
    }

    #[test]
    fn a_write_that_leaves_ram_writes_nothing_and_names_the_place() {
        let (ram, _ept) = ram(&[0..1 << 20, 4 << 30..(4 << 30) + FRAME]);
        let edge = GuestPhysical((1 << 20) - 2);
        assert_eq!(ram.write(edge, &[1; 4]), Err(Unbacked { address: GuestPhysical(1 << 20) }));
        let mut back = [9; 2];
        ram.read(edge, &mut back).unwrap();
        assert_eq!(back, [0; 2]);
        ram.write(GuestPhysical(4 << 30), &[1; 8]).unwrap();
        assert!(ram.read(GuestPhysical(u64::MAX), &mut [0; 4]).is_err());
    }

    #[test]
    fn the_tables_lead_to_the_same_memory() {
        let (ram, ept) = ram(from_ref(&(0..16 << 20)));
        ram.write(GuestPhysical(0x12_3456), b"satori").unwrap();
        let (piece, offset) = ram.piece(0x12_3456).unwrap();
        let (host, page) = ept.translate(GuestPhysical(0x12_3456)).unwrap();
        assert_eq!((host, page), (piece.frames.address() + offset, PAGE_2M));
        assert_eq!(ram.bytes(), 16 << 20);
    }
}
