// SPDX-License-Identifier: MIT OR Apache-2.0
//! XSAVE state components: which a guest may enable, and how large its XSAVE area is (SDM Vol. 1, 13).

use super::CpuidResult;
use super::feature::version_ecx;

/// XCR0 bit 0. Always set.
pub const X87: u64 = 1 << 0;
/// XCR0 bit 1: XMM registers and MXCSR.
pub const SSE: u64 = 1 << 1;
/// XCR0 bit 2: the upper halves of the YMM registers.
pub const AVX: u64 = 1 << 2;
/// XCR0 bits 5 to 7: opmask, upper halves of ZMM0 to 15, and ZMM16 to 31. They go together.
pub const AVX512: u64 = 0b111 << 5;

/// Leaf 0DH, ECX of a component: it starts at a multiple of 64 bytes in the compacted format.
pub(super) const ALIGNED: u32 = 1 << 1;

/// The legacy region and the XSAVE header, which every area has.
const LEGACY_AND_HEADER: u32 = 512 + 64;

/// The values of XCR0 that differ in size, each with one more group of components than the one before.
const GROUPS: [u64; 3] = [X87 | SSE, X87 | SSE | AVX, X87 | SSE | AVX | AVX512];

/// The bits that a guest may set in XCR0, or 0 where the host has no XSAVE.
pub(super) fn supported(processor: &dyn Fn(u32, u32) -> CpuidResult) -> u64 {
    if processor(0x1, 0).ecx & version_ecx::XSAVE == 0 {
        return 0;
    }
    let host = u64::from(processor(0xD, 0).eax);
    let whole_group = |group: u64| host & group == group;
    if !whole_group(SSE) {
        X87
    } else if !whole_group(AVX) {
        X87 | SSE
    } else if !whole_group(AVX512) {
        X87 | SSE | AVX
    } else {
        X87 | SSE | AVX | AVX512
    }
}

/// The size in bytes of an XSAVE area for each legal XCR0, so that a CPUID exit only looks it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct XstateSizes {
    standard: [u32; GROUPS.len()],
    compacted: [u32; GROUPS.len()],
}

impl XstateSizes {
    /// From the sub-leaves of 0DH that describe the components. All zero where there is no XSAVE.
    pub fn new(supported: u64, component: &dyn Fn(u32) -> CpuidResult) -> Self {
        let mut sizes = Self { standard: [0; GROUPS.len()], compacted: [0; GROUPS.len()] };
        if supported == 0 {
            return sizes;
        }
        for (group, &xcr0) in GROUPS.iter().enumerate() {
            let enabled = || (2..8).filter(|bit| xcr0 & supported & (1 << bit) != 0).map(component);
            sizes.standard[group] = enabled().fold(LEGACY_AND_HEADER, standard_end);
            sizes.compacted[group] = enabled().fold(LEGACY_AND_HEADER, compacted_end);
        }
        sizes
    }

    /// Without the compacted format there is no size to tell for it.
    pub fn without_compaction(self) -> Self {
        Self { compacted: [0; GROUPS.len()], ..self }
    }

    /// The size in the standard format with `xcr0` enabled.
    pub fn standard(&self, xcr0: u64) -> u32 {
        self.standard[group_of(xcr0)]
    }

    /// The size in the compacted format with `xcr0` enabled.
    pub fn compacted(&self, xcr0: u64) -> u32 {
        self.compacted[group_of(xcr0)]
    }
}

/// Where an area ends to which `component` is added at its fixed offset.
fn standard_end(end: u32, component: CpuidResult) -> u32 {
    end.max(component.ebx.saturating_add(component.eax))
}

/// Where an area ends to which `component` is appended.
fn compacted_end(end: u32, component: CpuidResult) -> u32 {
    let start = if component.ecx & ALIGNED != 0 { end.saturating_add(63) & !63 } else { end };
    start.saturating_add(component.eax)
}

fn group_of(xcr0: u64) -> usize {
    usize::from(xcr0 & AVX != 0) + usize::from(xcr0 & AVX512 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vcpu::cpuid::NOTHING;

    /// The layout of processors with AVX-512; in the compacted format nothing but `aligned` is.
    fn component(number: u32, aligned: u32) -> CpuidResult {
        let (offset, size) = match number {
            2 => (576, 256),
            5 => (1088, 64),
            6 => (1152, 512),
            7 => (1664, 1024),
            _ => (0, 0),
        };
        CpuidResult { eax: size, ebx: offset, ecx: if number == aligned { ALIGNED } else { 0 }, edx: 0 }
    }

    #[test]
    fn sizes_are_those_of_the_manual() {
        let all = X87 | SSE | AVX | AVX512;
        let sizes = XstateSizes::new(all, &|number| component(number, 0));
        assert_eq!(
            [X87, X87 | SSE, X87 | SSE | AVX, all].map(|xcr0| sizes.standard(xcr0)),
            [576, 576, 832, 2688]
        );
        assert_eq!(
            [X87, X87 | SSE, X87 | SSE | AVX, all].map(|xcr0| sizes.compacted(xcr0)),
            [576, 576, 832, 2432]
        );
    }

    #[test]
    fn compaction_honours_alignment() {
        let odd = |number| CpuidResult { eax: if number == 2 { 250 } else { 8 }, ..component(number, 5) };
        let sizes = XstateSizes::new(X87 | SSE | AVX | AVX512, &odd);
        assert_eq!(sizes.compacted(X87 | SSE | AVX | AVX512), 832 + 8 + 8 + 8);
    }

    #[test]
    fn components_that_are_not_offered_take_no_room() {
        let sizes = XstateSizes::new(X87 | SSE, &|number| component(number, 0));
        assert_eq!(sizes.standard(X87 | SSE | AVX | AVX512), 576);
    }

    #[test]
    fn avx512_is_offered_whole_or_not_at_all() {
        let host = |xcr0: u32| {
            move |leaf: u32, _: u32| match leaf {
                0x1 => CpuidResult { ecx: version_ecx::XSAVE, ..NOTHING },
                0xD => CpuidResult { eax: xcr0, ..NOTHING },
                _ => NOTHING,
            }
        };
        assert_eq!(supported(&host(0b1110_0111)), X87 | SSE | AVX | AVX512);
        assert_eq!(supported(&host(0b1010_0111)), X87 | SSE | AVX);
        assert_eq!(supported(&host(0b1110_0011)), X87 | SSE);
        assert_eq!(supported(&host(0xFFFF_FFFF)), X87 | SSE | AVX | AVX512);
    }

    #[test]
    fn without_xsave_nothing_is_offered() {
        assert_eq!(
            supported(&|leaf, _| if leaf == 0xD { CpuidResult { eax: 0xE7, ..NOTHING } } else { NOTHING }),
            0
        );
        let sizes = XstateSizes::new(0, &|number| component(number, 0));
        assert_eq!((sizes.standard(7), sizes.compacted(7)), (0, 0));
    }
}
