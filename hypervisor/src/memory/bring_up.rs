// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the firmware's memory map to the frame allocator: what is RAM, and what of it is taken already.

use crate::boot_info::BootInfo;
use crate::boot_info::PhysicalRange;
use crate::memory::FRAME;
use crate::memory::frame_bitmap::FrameBitmap;
use core::ops::Range;

/// Firmware and loaders leave things below 1 MiB that no map mentions; other CPUs will start there.
const LOW_MEMORY: u64 = 1 << 20;

/// Whole frames within a range of bytes.
fn frames_within(start: u64, end: u64) -> Range<usize> {
    let first = start.div_ceil(FRAME) as usize;
    first..((end / FRAME) as usize).max(first)
}

/// Whole frames that a range of bytes touches.
fn frames_around(range: PhysicalRange) -> Range<usize> {
    (range.start / FRAME) as usize..range.end.div_ceil(FRAME) as usize
}

/// The end of the highest RAM that is to be managed, in bytes; at most `limit`.
#[must_use]
pub fn memory_end(boot: &BootInfo, limit: u64) -> u64 {
    let usable = boot.memory.iter().filter(|range| range.usable);
    usable.map(|range| range.start.saturating_add(range.size).min(limit)).max().unwrap_or(0)
}

/// What must not be handed out though the map calls it usable: the first MiB, the image, the modules.
fn taken(boot: &BootInfo, image: PhysicalRange) -> impl Iterator<Item = PhysicalRange> {
    let modules = boot.modules.iter();
    let modules = modules
        .map(|module| PhysicalRange { start: module.start, end: module.start.saturating_add(module.size) });
    [PhysicalRange { start: 0, end: LOW_MEMORY }, image].into_iter().chain(modules)
}

/// A place for a bitmap of `bytes`, in RAM that is free and below `reach`, as its physical address.
#[must_use]
pub fn place_for(boot: &BootInfo, image: PhysicalRange, bytes: u64, reach: u64) -> Option<u64> {
    boot.memory.iter().filter(|range| range.usable).find_map(|range| {
        let end = range.start.saturating_add(range.size).min(reach);
        let mut start = range.start.checked_next_multiple_of(FRAME)?;
        // Each thing in the way moves the place past its end; no more of them than there are can be in the way.
        for _ in 0..=boot.modules.len() + 2 {
            let stop = start.checked_add(bytes).filter(|&stop| stop <= end)?;
            match taken(boot, image).find(|taken| taken.start < stop && start < taken.end) {
                Some(taken) => start = taken.end.checked_next_multiple_of(FRAME)?,
                None => return Some(start),
            }
        }
        None
    })
}

/// A page below 1 MiB in which other CPUs can start in real mode: RAM that firmware, loader and modules leave alone. The
/// highest, since firmware's own habits are in the lowest. `ebda` is the segment of the extended BIOS data area, as the BIOS
/// data area tells it at 0x40E.
#[must_use]
pub fn page_for_start_up(boot: &BootInfo, image: PhysicalRange, ebda: u16) -> Option<u64> {
    // Above it are the display's memory and firmware, and below it whatever else maps say.
    const CONVENTIONAL_END: u64 = 0xa_0000;
    // Other values are no address of it: it has 128 KiB at most.
    const EBDA_LOWEST: u64 = 0x8_0000;
    let ebda = u64::from(ebda) << 4;
    let end = if ebda >= EBDA_LOWEST { ebda.min(CONVENTIONAL_END) } else { CONVENTIONAL_END };
    let overlaps =
        |page: u64, start: u64, size: u64| page < start.saturating_add(size) && start < page + FRAME;
    let within =
        |page: u64, start: u64, size: u64| start <= page && page + FRAME <= start.saturating_add(size);
    // Page 0 holds the interrupt vectors of real mode.
    (1..end / FRAME).rev().map(|number| number * FRAME).find(|&page| {
        boot.memory.iter().any(|range| range.usable && within(page, range.start, range.size))
            && !boot.memory.iter().any(|range| !range.usable && overlaps(page, range.start, range.size))
            && !boot.modules.iter().any(|module| overlaps(page, module.start, module.size))
            && !overlaps(page, image.start, image.end - image.start)
    })
}

/// Marks as free what is usable, not unusable by another entry of the map, and not taken.
pub fn release_usable(
    bitmap: &mut FrameBitmap<'_>,
    boot: &BootInfo,
    image: PhysicalRange,
    own: PhysicalRange,
    end: u64,
) {
    for range in boot.memory.iter().filter(|range| range.usable) {
        let stop = range.start.saturating_add(range.size).min(end);
        // Where firmware lists memory twice, it counts once.
        let frames = frames_within(range.start.min(stop), stop);
        bitmap.reserve(frames.clone());
        bitmap.release(frames);
    }
    for range in boot.memory.iter().filter(|range| !range.usable) {
        bitmap.reserve(frames_around(PhysicalRange {
            start: range.start,
            end: range.start.saturating_add(range.size).min(end),
        }));
    }
    for range in taken(boot, image).chain([own]) {
        bitmap.reserve(frames_around(PhysicalRange { start: range.start.min(end), end: range.end.min(end) }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot_info::MemoryRange;
    use crate::boot_info::Module;
    use proptest::prelude::*;

    const IMAGE: PhysicalRange = PhysicalRange { start: 2 << 20, end: 3 << 20 };

    fn machine() -> BootInfo {
        let mut boot = BootInfo::new("test");
        for (start, size, usable) in [
            (0, 0x9_fc00, true),
            (1 << 20, 31 << 20, true),
            // Listed twice, and a hole that another entry denies.
            (16 << 20, 1 << 20, true),
            (20 << 20, 0x1800, false),
            (4 << 30, u64::MAX, true),
        ] {
            assert!(boot.add_memory(MemoryRange { start, size, usable }));
        }
        boot.add_module(Module::new("bundle", 3 << 20, (1 << 20) + 1));
        boot
    }

    #[test]
    fn only_what_is_free_is_handed_out() {
        let boot = machine();
        let end = 32 << 20;
        let mut words = [0; 128];
        let mut bitmap = FrameBitmap::new(&mut words);
        let own = PhysicalRange { start: 5 << 20, end: (5 << 20) + 0x2000 };
        release_usable(&mut bitmap, &boot, IMAGE, own, end);
        let mut free = Vec::new();
        while let Some(frame) = bitmap.allocate(1, 1) {
            free.push(frame as u64 * FRAME);
        }
        let expected = (1 << 20..32 << 20).step_by(FRAME as usize).filter(|at| {
            let within = |start: u64, end: u64| (start..end).contains(at);
            !(within(2 << 20, (4 << 20) + FRAME)
                || within(5 << 20, (5 << 20) + 0x2000)
                || within(20 << 20, (20 << 20) + 0x2000))
        });
        assert!(free.into_iter().eq(expected));
    }

    #[test]
    fn the_bitmap_lies_in_nobodys_way() {
        let boot = machine();
        assert_eq!(place_for(&boot, IMAGE, 0x1000, 4 << 30), Some(1 << 20));
        assert_eq!(place_for(&boot, IMAGE, 2 << 20, 4 << 30), Some((4 << 20) + FRAME));
        assert_eq!(place_for(&boot, IMAGE, 64 << 20, 4 << 30), None);
    }

    #[test]
    fn other_cpus_start_in_ram_that_nobody_holds() {
        let mut boot = machine();
        assert_eq!(page_for_start_up(&boot, IMAGE, 0), Some(0x9_e000));
        assert_eq!(page_for_start_up(&boot, IMAGE, 0x9d80), Some(0x9_c000));
        // No segment of an EBDA.
        assert_eq!(page_for_start_up(&boot, IMAGE, 0x40), Some(0x9_e000));
        boot.add_module(Module::new("low", 0x9_dfff, 2));
        assert_eq!(page_for_start_up(&boot, IMAGE, 0), Some(0x9_c000));
        assert!(boot.add_memory(MemoryRange { start: 0x2001, size: 0x9_a000, usable: false }));
        assert_eq!(page_for_start_up(&boot, IMAGE, 0), Some(0x1000));
        assert!(boot.add_memory(MemoryRange { start: 0x1000, size: 1, usable: false }));
        assert_eq!(page_for_start_up(&boot, IMAGE, 0), None);
    }

    proptest! {
        #[test]
        fn no_map_leads_other_cpus_out_of_free_ram(
            ranges in prop::collection::vec((0_u64..0x12_0000, prop_oneof![0_u64..0x8_0000, Just(u64::MAX)], any::<bool>()), 0..12),
            module in (0_u64..0x10_0000, 0_u64..0x1_0000), ebda in any::<u16>(),
        ) {
            let mut boot = BootInfo::new("test");
            for &(start, size, usable) in &ranges {
                let fits = boot.add_memory(MemoryRange { start, size, usable });
                prop_assert!(fits);
            }
            boot.add_module(Module::new("module", module.0, module.1));
            if let Some(page) = page_for_start_up(&boot, IMAGE, ebda) {
                prop_assert!((FRAME..0xa_0000).contains(&page) && page.is_multiple_of(FRAME));
                for byte in (page..page + FRAME).step_by(16) {
                    prop_assert!(boot.is_ram(byte));
                    let taken = |start: u64, size: u64| byte >= start && byte - start < size;
                    prop_assert!(!ranges.iter().any(|&(start, size, usable)| !usable && taken(start, size)));
                    prop_assert!(!taken(module.0, module.1));
                }
            }
        }
    }

    #[test]
    fn an_impossible_map_is_cut_at_the_limit() {
        assert_eq!(memory_end(&machine(), 1 << 40), 1 << 40);
        assert_eq!(memory_end(&BootInfo::new("empty"), 1 << 40), 0);
    }
}
