// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is where in a guest's physical address space, before a kernel is loaded into it.

use crate::irqchip::io_apic::IO_APIC_BASE;
use crate::irqchip::local_apic::LOCAL_APIC_BASE;
use crate::mmu::GuestPhysical;
use arrayvec::ArrayVec;
use core::ops::Range;

/// The I/O APIC's registers (one page).
pub const IO_APIC: GuestPhysical = GuestPhysical(IO_APIC_BASE);

/// The local APIC's registers (one page), where every CPU has them after RESET (SDM vol. 3, "Local APIC Status and Location").
pub const LOCAL_APIC: GuestPhysical = GuestPhysical(LOCAL_APIC_BASE);

/// Where the firmware's tables are: kernels that are not told look for the RSDP here (ACPI 6.5, 5.2.5.1).
pub const FIRMWARE_TABLES: Range<u64> = 0xE_0000..0x10_0000;

/// End of the conventional memory; an extended BIOS data area would start here.
pub const CONVENTIONAL_END: u64 = 0x9_FC00;

/// First address above what the firmware owns; kernels are loaded from here on.
pub const HIGH_MEMORY: u64 = 0x10_0000;

/// The least memory that a VM may have, in MiB. Below it no kernel in use starts, and the error is clearer here.
pub const MINIMUM_MIB: u32 = 16;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// RAM ends here at the latest and goes on at 4 GiB: what is between belongs to devices.
const LOW_RAM_LIMIT: u64 = 3 * GIB;

/// Where RAM goes on that found no place below the devices.
const HIGH_RAM: u64 = 4 * GIB;

/// The RAM of a VM of some size, and what of it a guest may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLayout {
    /// All RAM, in bytes.
    size: u64,
}

/// A kind of range in an e820 map; the same numbers are in PVH's memory map (ACPI 6.5, 15.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RangeKind {
    /// RAM that the guest may use as it likes.
    Usable = 1,
    /// Not for use: the firmware's.
    Reserved = 2,
}

/// A range of the map that a guest is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapEntry {
    /// First address, and first address behind it.
    pub range: Range<u64>,
    /// What it is.
    pub kind: RangeKind,
}

impl MemoryLayout {
    /// The layout of a VM with `mebibytes` MiB of memory.
    ///
    /// # Panics
    /// When that is less than [`MINIMUM_MIB`], which the manifest has ruled out.
    #[must_use]
    pub fn new(mebibytes: u32) -> Self {
        assert!(mebibytes >= MINIMUM_MIB, "{mebibytes} MiB is less than any VM may have");
        Self { size: u64::from(mebibytes) * MIB }
    }

    /// First address behind the RAM that starts at 0.
    #[must_use]
    pub fn low_ram_end(self) -> u64 {
        self.size.min(LOW_RAM_LIMIT)
    }

    /// The ranges that have RAM behind them, ascending. The firmware's area is RAM, too.
    #[must_use]
    pub fn ram(self) -> ArrayVec<Range<u64>, 2> {
        let high = self.size - self.low_ram_end();
        [0..self.low_ram_end(), HIGH_RAM..HIGH_RAM + high]
            .into_iter()
            .filter(|range| !range.is_empty())
            .collect()
    }

    /// The map of all RAM that the guest is given, ascending and without holes in RAM.
    #[must_use]
    pub fn map(self) -> ArrayVec<MapEntry, 4> {
        let low = [
            MapEntry { range: 0..CONVENTIONAL_END, kind: RangeKind::Usable },
            MapEntry { range: CONVENTIONAL_END..HIGH_MEMORY, kind: RangeKind::Reserved },
            MapEntry { range: HIGH_MEMORY..self.low_ram_end(), kind: RangeKind::Usable },
        ];
        let high = self.ram().into_iter().skip(1).map(|range| MapEntry { range, kind: RangeKind::Usable });
        low.into_iter().chain(high).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::slice::from_ref;
    use proptest::prelude::*;

    #[test]
    fn ram_gives_way_to_devices_below_4_gib() {
        assert_eq!(MemoryLayout::new(512).ram().as_slice(), from_ref(&(0..0x2000_0000)));
        assert_eq!(MemoryLayout::new(3072).ram().as_slice(), from_ref(&(0..0xC000_0000)));
        assert_eq!(MemoryLayout::new(3073).ram()[..], [0..0xC000_0000, 0x1_0000_0000..0x1_0010_0000]);
        for device in [IO_APIC, LOCAL_APIC] {
            assert!((LOW_RAM_LIMIT..HIGH_RAM).contains(&device.0));
        }
    }

    #[test]
    fn the_firmware_area_is_reserved() {
        let map = MemoryLayout::new(16).map();
        assert_eq!(map[1], MapEntry { range: 0x9_FC00..0x10_0000, kind: RangeKind::Reserved });
        assert!(map[1].range.start <= FIRMWARE_TABLES.start && FIRMWARE_TABLES.end <= map[1].range.end);
    }

    proptest! {
        #[test]
        fn the_map_covers_all_ram_and_nothing_else(mebibytes in MINIMUM_MIB..) {
            let layout = MemoryLayout::new(mebibytes);
            let mut ram = layout.ram();
            prop_assert_eq!(ram.iter().map(|r| r.end - r.start).sum::<u64>(), u64::from(mebibytes) * MIB);
            for entry in layout.map() {
                prop_assert!(!entry.range.is_empty());
                let piece = ram.iter_mut().find(|piece| piece.start == entry.range.start).unwrap();
                piece.start = entry.range.end;
            }
            prop_assert!(ram.iter().all(Range::is_empty));
        }
    }
}
