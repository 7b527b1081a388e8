// SPDX-License-Identifier: MIT OR Apache-2.0
//! A run of physical frames that somebody owns: zeroed when it is taken, given back when it is dropped.
//!
//! The CPU (page walks, VMX) and guests read and write these frames behind the compiler's back. So their contents are
//! only ever touched as atomics or by copies in assembly, never through references to plain data.

// UNSAFETY: makes memory out of physical addresses.
#![expect(unsafe_code)]

use crate::memory::FRAME;
use crate::memory::physical;
use core::fmt;
use core::mem;
use core::sync::atomic::AtomicU64;

/// No run of frames of that length is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfFrames {
    /// Bytes that were asked for.
    pub bytes: u64,
}

impl fmt::Display for OutOfFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no {} KiB of physical memory in one piece are free: give the machine more memory",
            self.bytes >> 10
        )
    }
}

/// Owned physical memory, whole frames in one piece.
pub struct Frames {
    start: u64,
    bytes: u64,
}

impl Frames {
    /// One zeroed frame.
    pub fn one() -> Result<Self, OutOfFrames> {
        Self::zeroed(FRAME, FRAME)
    }

    /// `bytes` of zeroed memory at a multiple of `align`; both whole frames.
    ///
    /// # Panics
    /// If they are not: a fault of our own.
    pub fn zeroed(bytes: u64, align: u64) -> Result<Self, OutOfFrames> {
        assert!(bytes.is_multiple_of(FRAME) && align.is_multiple_of(FRAME), "frames come whole");
        let start = source::allocate(bytes, align).ok_or(OutOfFrames { bytes })?;
        // SAFETY: the source gave these bytes to us alone.
        unsafe { fill_zero(physical::pointer(start), bytes) };
        Ok(Self { start, bytes })
    }

    /// `bytes` of zeroed memory, a multiple of their own number, out of what was promised.
    pub(super) fn promised(bytes: u64) -> Result<Self, OutOfFrames> {
        let start = source::allocate_promised(bytes).ok_or(OutOfFrames { bytes })?;
        // SAFETY: the source gave these bytes to us alone.
        unsafe { fill_zero(physical::pointer(start), bytes) };
        Ok(Self { start, bytes })
    }

    /// Gives them back as promised ones.
    pub(super) fn give_back_promised(self) {
        let frames = mem::ManuallyDrop::new(self);
        source::release_promised(frames.start, frames.bytes);
    }

    /// Takes back frames that were forgotten, so that they can be given back.
    ///
    /// # Safety
    /// They were [`Frames`] of this length, or part of some that is never dropped here; when what comes back is dropped, nobody
    /// uses them.
    pub(crate) unsafe fn from_forgotten(start: u64, bytes: u64) -> Self {
        Self { start, bytes }
    }

    /// Physical address of the first byte.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.start
    }

    /// Length in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The contents as 64-bit words.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        let words = (self.bytes / 8) as usize;
        // SAFETY: ours, aligned to a frame, initialised, and atomics may be written behind our back.
        unsafe { core::slice::from_raw_parts(physical::pointer(self.start).cast::<AtomicU64>(), words) }
    }

    /// Copies out of the frames, from byte `offset` on.
    ///
    /// # Panics
    /// If that goes past the end: callers know the length.
    pub fn copy_out(&self, offset: u64, buffer: &mut [u8]) {
        self.check(offset, buffer.len());
        // SAFETY: within our frames, by the check, and a buffer that somebody borrows is not ours.
        unsafe { copy(physical::pointer(self.start + offset), buffer.as_mut_ptr(), buffer.len()) }
    }

    /// Copies into the frames, from byte `offset` on.
    ///
    /// # Panics
    /// If that goes past the end: callers know the length.
    pub fn copy_in(&self, offset: u64, bytes: &[u8]) {
        self.check(offset, bytes.len());
        // SAFETY: as for `copy_out`.
        unsafe { copy(bytes.as_ptr(), physical::pointer(self.start + offset), bytes.len()) }
    }

    fn check(&self, offset: u64, len: usize) {
        let end = offset.checked_add(len as u64);
        assert!(
            end.is_some_and(|end| end <= self.bytes),
            "{len} bytes at {offset:#x} of {} bytes",
            self.bytes
        );
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        source::release(self.start, self.bytes);
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frames({:#x}..{:#x})", self.start, self.start + self.bytes)
    }
}

/// One load and one store.
#[cfg(not(miri))]
macro_rules! copy_number {
    ($load:literal, $store:literal, $from:ident, $to:ident) => {
        core::arch::asm!(
            $load, $store, from = in(reg) $from, to = in(reg) $to, number = out(reg) _,
            options(nostack, preserves_flags)
        )
    };
}

/// Copies memory that a guest may change meanwhile: to the compiler, bytes from outside. A number that is aligned is copied
/// at once: who changes it meanwhile never sees, nor leaves, one half of it.
///
/// # Safety
/// Both ranges are mapped and do not overlap.
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    #[cfg(not(miri))]
    // SAFETY: as the caller promised. What is no number goes eight bytes a step, the rest one by one.
    unsafe {
        match len {
            1 => copy_number!("movzx {number:e}, byte ptr [{from}]", "mov [{to}], {number:l}", from, to),
            2 => copy_number!("movzx {number:e}, word ptr [{from}]", "mov [{to}], {number:x}", from, to),
            4 => copy_number!("mov {number:e}, [{from}]", "mov [{to}], {number:e}", from, to),
            8 => copy_number!("mov {number}, [{from}]", "mov [{to}], {number}", from, to),
            _ => core::arch::asm!(
                "rep movsq", "mov rcx, {rest}", "rep movsb", rest = in(reg) len % 8,
                inout("rcx") len / 8 => _, inout("rsi") from => _, inout("rdi") to => _,
                options(nostack, preserves_flags)
            ),
        }
    }
    #[cfg(miri)]
    // SAFETY: as the caller promised; under miri no guest runs.
    unsafe {
        core::ptr::copy_nonoverlapping(from, to, len);
    }
}

/// # Safety
/// The range is mapped and nobody else's; `len` is a multiple of 8.
unsafe fn fill_zero(to: *mut u8, len: u64) {
    #[cfg(not(miri))]
    // SAFETY: as the caller promised. Few instructions, also where each is emulated: this is most of a guest's page fault.
    unsafe {
        core::arch::asm!(
            "rep stosq", inout("rcx") len / 8 => _, inout("rdi") to => _, in("rax") 0_u64,
            options(nostack, preserves_flags)
        );
    }
    #[cfg(miri)]
    // SAFETY: as the caller promised.
    unsafe {
        core::ptr::write_bytes(to.cast::<u64>(), 0, (len / 8) as usize);
    }
}

pub(super) use source::promise;
pub(super) use source::withdraw;

#[cfg(target_os = "none")]
pub use source::add_all;
#[cfg(target_os = "none")]
pub use source::free_bytes;

/// Physical memory of the machine.
#[cfg(target_os = "none")]
mod source {
    use crate::memory::FRAME;
    use crate::memory::frame_bitmap::FrameBitmap;
    use spin::Mutex;

    static FREE: Mutex<Option<FrameBitmap<'static>>> = Mutex::new(None);

    /// Makes the frames of `bitmap` available to [`super::Frames`]. Once, at start.
    pub fn add_all(bitmap: FrameBitmap<'static>) {
        *FREE.lock() = Some(bitmap);
    }

    /// Bytes that nobody holds and nobody was promised.
    #[must_use]
    pub fn free_bytes() -> u64 {
        FREE.lock().as_ref().map_or(0, |free| free.free_frames() as u64 * FRAME)
    }

    pub fn allocate(bytes: u64, align: u64) -> Option<u64> {
        let frame = FREE.lock().as_mut()?.allocate((bytes / FRAME) as usize, (align / FRAME) as usize)?;
        Some(frame as u64 * FRAME)
    }

    pub fn allocate_promised(bytes: u64) -> Option<u64> {
        let frames = (bytes / FRAME) as usize;
        let frame = FREE.lock().as_mut()?.allocate_promised(frames, frames)?;
        Some(frame as u64 * FRAME)
    }

    pub fn promise(frames: u64) -> bool {
        FREE.lock().as_mut().is_some_and(|free| free.promise(frames as usize))
    }

    pub fn withdraw(frames: u64) {
        FREE.lock().as_mut().expect("there is what promises were made of").withdraw(frames as usize);
    }

    pub fn release(start: u64, bytes: u64) {
        let (start, end) = ((start / FRAME) as usize, ((start + bytes) / FRAME) as usize);
        FREE.lock().as_mut().expect("frames are given back to where they came from").release(start..end);
    }

    pub fn release_promised(start: u64, bytes: u64) {
        let (start, end) = ((start / FRAME) as usize, ((start + bytes) / FRAME) as usize);
        let mut free = FREE.lock();
        let free = free.as_mut().expect("frames are given back to where they came from");
        free.release(start..end);
        assert!(free.promise(end - start), "what was just given back can be promised");
    }
}

/// The host's heap in the place of physical memory, for tests.
#[cfg(not(target_os = "none"))]
mod source {
    use crate::memory::FRAME;
    use alloc::alloc::Layout;
    use alloc::alloc::alloc;
    use alloc::alloc::dealloc;
    use core::sync::atomic::AtomicU64;
    use core::sync::atomic::Ordering;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    /// Frames that can be promised: 1 TiB.
    const MOST_PROMISED: u64 = 1 << 28;

    static PROMISED: AtomicU64 = AtomicU64::new(0);

    /// What each allocation was aligned to, which the host's heap wants to hear again.
    static LAYOUTS: Mutex<BTreeMap<u64, Layout>> = Mutex::new(BTreeMap::new());

    pub fn allocate(bytes: u64, align: u64) -> Option<u64> {
        let layout = Layout::from_size_align(bytes as usize, align as usize)
            .ok()
            .filter(|layout| layout.size() > 0)?;
        // SAFETY: the size is not zero.
        let pointer = unsafe { alloc(layout) };
        if !pointer.is_null() {
            // As somebody else has left it.
            // SAFETY: it has so many bytes.
            unsafe { pointer.write_bytes(0x5a, layout.size()) };
        }
        let start = pointer.expose_provenance() as u64;
        LAYOUTS.lock().expect("no holder panics").insert(start, layout);
        (start != 0).then_some(start)
    }

    pub fn allocate_promised(bytes: u64) -> Option<u64> {
        let start = allocate(bytes, bytes)?;
        PROMISED.fetch_sub(bytes / FRAME, Ordering::Relaxed);
        Some(start)
    }

    pub fn promise(frames: u64) -> bool {
        let more = |promised: u64| promised.checked_add(frames).filter(|&promised| promised <= MOST_PROMISED);
        PROMISED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    pub fn withdraw(frames: u64) {
        PROMISED.fetch_sub(frames, Ordering::Relaxed);
    }

    pub fn release(start: u64, _bytes: u64) {
        let layout =
            LAYOUTS.lock().expect("no holder panics").remove(&start).expect("frames are given back once");
        // SAFETY: came from `alloc` with this layout, and is given back once.
        unsafe { dealloc(super::physical::pointer(start), layout) };
    }

    pub fn release_promised(start: u64, bytes: u64) {
        PROMISED.fetch_add(bytes / FRAME, Ordering::Relaxed);
        release(start, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering;

    #[test]
    fn frames_are_zeroed_aligned_and_hold_what_is_copied() {
        let frames = Frames::zeroed(3 * FRAME, 2 << 20).unwrap();
        assert!(frames.address().is_multiple_of(2 << 20));
        assert!(frames.words().iter().all(|word| word.load(Ordering::Relaxed) == 0));
        for len in [0, 1, 2, 3, 4, 7, 8, 9, 4095, 4096, 5000] {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8 ^ 0x5a).collect();
            frames.copy_in(1, &bytes);
            let mut back = vec![0; len];
            frames.copy_out(1, &mut back);
            assert_eq!(back, bytes);
        }
    }

    #[test]
    #[should_panic(expected = "bytes at")]
    fn a_copy_past_the_end_is_caught() {
        Frames::one().unwrap().copy_in(FRAME - 1, &[0; 2]);
    }
}
