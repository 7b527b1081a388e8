// SPDX-License-Identifier: MIT OR Apache-2.0
//! The heap: talc over frames, which it takes as it needs them.

// UNSAFETY: an allocator gives out raw memory.
#![expect(unsafe_code)]

use crate::cpu::per_cpu;
use crate::memory::FRAME;
use crate::memory::Frames;
use crate::memory::physical;
use core::alloc::GlobalAlloc;
use core::alloc::Layout;
use core::mem;
use talc::TalcLock;
use talc::base::Talc;
use talc::base::binning::Binning;
use talc::source::Source;

/// What the heap grows by, at least.
const STEP: u64 = 64 << 10;
/// What talc needs beside an allocation that the heap grew for: tags, its bins at first, alignment.
const SLACK: u64 = 16 << 10;

#[global_allocator]
static HEAP: Heap = Heap(TalcLock::new(FrameSource));

/// The heap, from which nothing is taken on the path from a guest's exit to its next entry.
struct Heap(TalcLock<spin::Mutex<()>, FrameSource>);

// SAFETY: all of it is talc's.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        assert!(!per_cpu::is_serving(), "a guest's exits allocate nothing");
        // SAFETY: as the caller promised.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised; it came from there.
        unsafe { self.0.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        assert!(!per_cpu::is_serving(), "a guest's exits allocate nothing");
        // SAFETY: as the caller promised; it came from there.
        unsafe { self.0.realloc(memory, layout, bytes) }
    }
}

/// Bytes that the heap has taken from physical memory.
#[must_use]
pub fn held_bytes() -> u64 {
    HEAP.0.lock().counters().claimed_bytes as u64
}

/// Bytes of the heap that somebody has.
#[must_use]
pub fn used_bytes() -> u64 {
    HEAP.0.lock().counters().allocated_bytes as u64
}

/// Frames for the heap. They are not given back: the heap is small and its peak comes again.
#[derive(Debug)]
struct FrameSource;

// SAFETY: `acquire` uses only the frame allocator, which allocates nothing from the heap.
unsafe impl Source for FrameSource {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let needed = layout.size() as u64 + layout.align() as u64 + SLACK;
        let frames = Frames::zeroed(needed.max(STEP).next_multiple_of(FRAME), FRAME).map_err(drop)?;
        let (start, bytes) = (physical::pointer(frames.address()), frames.bytes());
        // SAFETY: these frames are ours, and forgotten here, so nobody else ever writes to them.
        unsafe { talc.claim(start, bytes as usize) }.ok_or(())?;
        mem::forget(frames);
        Ok(())
    }
}
