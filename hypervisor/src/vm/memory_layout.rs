// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is where in a guest's physical address space, before a kernel is loaded into it.

use crate::devices::pci;
use crate::irqchip::io_apic::IO_APIC_BASE;
use crate::irqchip::local_apic::LOCAL_APIC_BASE;
use crate::memory::PAGE_2M;
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

/// Where a PC has the video card's memory. There is none.
pub const LEGACY_VIDEO: Range<u64> = 0xA_0000..0xC_0000;

/// First address above what the firmware owns; kernels are loaded from here on.
pub const HIGH_MEMORY: u64 = 0x10_0000;

/// The least memory that a VM may have, in MiB. Below it no kernel in use starts, and the error is clearer here.
pub const MINIMUM_MIB: u32 = 16;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// RAM ends here at the latest and goes on at 4 GiB: what is between belongs to devices.
const LOW_RAM_LIMIT: u64 = 3 * GIB;

const _: () = assert!(LOW_RAM_LIMIT <= pci::DEVICE_MEMORY.start);

/// Where RAM goes on that found no place below the devices.
const HIGH_RAM: u64 = 4 * GIB;

/// The RAM of a VM of some size, and what of it a guest may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLayout {
    /// All RAM, in bytes.
    size: u64,
}

/// The most entries that [`MemoryLayout::map`] gives.
pub const MOST_MAP_ENTRIES: usize = 5;

/// A kind of range in an e820 map; the same numbers are in PVH's memory map (ACPI 6.5, 15.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RangeKind {
    /// RAM that the guest may use as it likes.
    Usable = 1,
    /// Not for use: the firmware's, or a device's.
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

    /// How much RAM there is, that which video memory hides included.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.size
    }

    /// The RAM from 0 on, what video memory hides included, and that from 4 GiB on, if there is any.
    pub fn below_4_gib_and_above(self) -> impl Iterator<Item = Range<u64>> {
        let high = HIGH_RAM..HIGH_RAM + self.size - self.low_ram_end();
        [0..self.low_ram_end(), high].into_iter().filter(|range| !range.is_empty())
    }

    /// First address behind the RAM that starts at 0.
    #[must_use]
    pub fn low_ram_end(self) -> u64 {
        self.size.min(LOW_RAM_LIMIT)
    }

    /// The ranges that have RAM behind them, ascending. The firmware's area is RAM, too. Large pages fit in those above 2 MiB.
    #[must_use]
    pub fn ram(self) -> ArrayVec<Range<u64>, 4> {
        let high = self.size - self.low_ram_end();
        let ranges = [
            0..LEGACY_VIDEO.start,
            LEGACY_VIDEO.end..PAGE_2M,
            PAGE_2M..self.low_ram_end(),
            HIGH_RAM..HIGH_RAM + high,
        ];
        ranges.into_iter().filter(|range| !range.is_empty()).collect()
    }

    /// The map that the guest is given, ascending: what it may use, and what it may not.
    #[must_use]
    pub fn map(self) -> ArrayVec<MapEntry, MOST_MAP_ENTRIES> {
        let low = [
            MapEntry { range: 0..CONVENTIONAL_END, kind: RangeKind::Usable },
            MapEntry { range: CONVENTIONAL_END..HIGH_MEMORY, kind: RangeKind::Reserved },
            MapEntry { range: HIGH_MEMORY..self.low_ram_end(), kind: RangeKind::Usable },
            MapEntry { range: pci::ECAM, kind: RangeKind::Reserved },
        ];
        let high = self.ram().into_iter().filter(|range| range.start >= HIGH_RAM);
        low.into_iter().chain(high.map(|range| MapEntry { range, kind: RangeKind::Usable })).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::slice::from_ref;
    use proptest::prelude::*;

    #[test]
    fn ram_gives_way_to_devices_below_4_gib() {
        let low = [0..0xA_0000, 0xC_0000..0x20_0000];
        let above = |mebibytes| MemoryLayout::new(mebibytes).ram()[2..].to_vec();
        assert_eq!(MemoryLayout::new(512).ram()[..2], low);
        assert_eq!(above(512).as_slice(), from_ref(&(0x20_0000..0x2000_0000)));
        assert_eq!(above(3072).as_slice(), from_ref(&(0x20_0000..0xC000_0000)));
        assert_eq!(above(3073), [0x20_0000..0xC000_0000, 0x1_0000_0000..0x1_0010_0000]);
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

    /// Systems believe an MCFG only where the map or the DSDT says the same.
    #[test]
    fn the_configuration_space_is_reserved_and_the_map_ascends() {
        for mebibytes in [16, 3072, 8192] {
            let map = MemoryLayout::new(mebibytes).map();
            assert!(map.contains(&MapEntry { range: 0xE000_0000..0xE010_0000, kind: RangeKind::Reserved }));
            assert!(map.is_sorted_by(|a, b| a.range.end <= b.range.start));
        }
    }

    proptest! {
        /// All RAM but the firmware's is usable, and nothing else is.
        #[test]
        fn what_is_usable_is_ram_and_all_of_it(mebibytes in MINIMUM_MIB..) {
            let layout = MemoryLayout::new(mebibytes);
            let bytes = |ranges: &mut dyn Iterator<Item = Range<u64>>| ranges.map(|r| r.end - r.start).sum::<u64>();
            let usable = || layout.map().into_iter().filter(|entry| entry.kind == RangeKind::Usable);
            let hole = LEGACY_VIDEO.end - LEGACY_VIDEO.start;
            let ram = bytes(&mut layout.ram().into_iter());
            prop_assert_eq!(ram, u64::from(mebibytes) * MIB - hole);
            let firmware = LEGACY_VIDEO.start - CONVENTIONAL_END + HIGH_MEMORY - LEGACY_VIDEO.end;
            prop_assert_eq!(bytes(&mut usable().map(|entry| entry.range)), ram - firmware);
            for entry in usable() {
                let is_ram = |at| layout.ram().iter().any(|ram| ram.contains(&at));
                prop_assert!(is_ram(entry.range.start) && is_ram(entry.range.end - 1));
            }
        }
    }
}
