// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the encoding of a VMCS field to its place in the enlightened VMCS, version 1.

use core::num::NonZeroU16;
use hyperv_bindings::enlightened_vmcs::CleanFields;
use hyperv_bindings::enlightened_vmcs::FIELDS;

/// Where a field is in the enlightened page, and which clean bits a write to it clears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    // Not 0, where the version number is: that keeps an `Option<Place>` at four bytes.
    offset: NonZeroU16,
    group: u16,
}

impl Place {
    /// Offset in the page, in bytes; a multiple of the field's size.
    #[inline(always)]
    pub const fn offset(self) -> u16 {
        self.offset.get()
    }

    /// The clean bits that a write clears: one group, none if L0 always reads the field, or all of them.
    #[inline(always)]
    pub const fn group(self) -> CleanFields {
        CleanFields::from_bits(self.group as u32)
    }
}

/// The place of the field with this encoding; `None` if there is no such field in the page. Any encoding may be asked for.
#[inline]
pub const fn place_of(encoding: u16) -> Option<Place> {
    let index = index_of(encoding);
    if index < PLACES.len() { PLACES[index] } else { None }
}

/// Size in bytes of the field with this encoding: 2, 4 or 8 (SDM Vol. 3D, appendix B, bits 14:13).
pub const fn size_of_field(encoding: u16) -> usize {
    match (encoding >> 13) & 0b11 {
        0 => 2,
        2 => 4,
        _ => 8,
    }
}

/// Brings the encoding's low-valued part, the index in bits 9:1, to the front: what is left of the gaps is small.
const fn index_of(encoding: u16) -> usize {
    encoding.rotate_left(6) as usize
}

static PLACES: [Option<Place>; PLACES_LEN] = {
    let mut places = [None; PLACES_LEN];
    let mut i = 0;
    while i < FIELDS.len() {
        let field = &FIELDS[i];
        assert!(size_of_field(field.encoding) == field.size as usize);
        assert!(field.group.into_bits() <= CleanFields::ALL.into_bits());
        let offset = NonZeroU16::new(field.offset).expect("the version number is at offset 0");
        places[index_of(field.encoding)] = Some(Place { offset, group: field.group.into_bits() as u16 });
        i += 1;
    }
    places
};

const PLACES_LEN: usize = {
    let mut len = 0;
    let mut i = 0;
    while i < FIELDS.len() {
        let index = index_of(FIELDS[i].encoding);
        if index >= len {
            len = index + 1;
        }
        i += 1;
    }
    len
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Encoding, offset, size and what the clean columns say, for each VMCS field of the published table.
    fn published() -> Vec<(u16, u16, usize, &'static str, &'static str)> {
        include_str!("../../hyperv-bindings/tests/evmcs_v1_fields.csv")
            .lines()
            .skip(1)
            .filter_map(|line| {
                let columns: Vec<_> = line.splitn(9, ',').collect();
                let encoding = u16::from_str_radix(columns[5].strip_prefix("0x")?, 16).unwrap();
                Some((
                    encoding,
                    columns[0].parse().unwrap(),
                    columns[2].parse().unwrap(),
                    columns[6],
                    columns[7],
                ))
            })
            .collect()
    }

    #[test]
    fn every_encoding_leads_to_its_published_place_or_to_none() {
        let published = published();
        assert_eq!(published.len(), 142);
        for encoding in 0..=u16::MAX {
            let Some(&(_, offset, size, group, bit)) = published.iter().find(|row| row.0 == encoding) else {
                assert_eq!(place_of(encoding), None, "{encoding:#x}");
                continue;
            };
            let place = place_of(encoding).unwrap();
            let clears = match (group, bit) {
                ("NONE", _) => CleanFields::NONE,
                (_, "") => CleanFields::ALL,
                (_, bit) => CleanFields::from_bits(1 << bit.parse::<u32>().unwrap()),
            };
            assert_eq!(
                (place.offset(), size_of_field(encoding), place.group()),
                (offset, size, clears),
                "{encoding:#x}"
            );
        }
    }

    #[test]
    fn what_the_published_table_gets_wrong_is_right_here() {
        let group_of = |encoding| place_of(encoding).unwrap().group();
        // HostSysenterCs, printed with HOST_RIP's encoding.
        assert_eq!(place_of(0x4C00).unwrap().offset(), 0x58);
        assert_eq!(place_of(0x6C16).unwrap().offset(), 0x50);
        // MSR lists, page-fault error code, CR3 targets: no published group, so all.
        for encoding in
            [0x2006, 0x2008, 0x200A, 0x400E, 0x4010, 0x4014, 0x4006, 0x4008, 0x400A, 0x6008, 0x600E]
        {
            assert_eq!(group_of(encoding), CleanFields::ALL, "{encoding:#x}");
        }
        // GuestRip, TprThreshold and exit information are always read.
        for encoding in [0x681E, 0x401C, 0x2400, 0x4402, 0x6400, 0x6402] {
            assert_eq!(group_of(encoding), CleanFields::NONE, "{encoding:#x}");
        }
        // No place: preemption timer, PML, EOI-exit bitmap, PLE window, RTIT_CTL, and the high half of a 64-bit field.
        for encoding in [0x482E, 0x200E, 0x201C, 0x4022, 0x2814, 0x2011] {
            assert_eq!(place_of(encoding), None, "{encoding:#x}");
        }
    }
}
