// SPDX-License-Identifier: MIT OR Apache-2.0
//! The processor's own registers, as they are saved and loaded.

// UNSAFETY: registers of the processor, none of which Satori's own code uses.
#![expect(unsafe_code)]

use crate::cpu::hardware;
use crate::cpu::hardware::MsrIo;
use crate::cpu::hardware::NativeMsrs;
use crate::vcpu::msr_policy::MsrIndex;
use enlightenments::offer::flush::XMM_WORDS;
use x86_64::registers::control::Cr2;

/// A part of an XSAVE area, which has to be aligned like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct Block([u64; 8]);

impl Block {
    pub(super) const ZERO: Self = Self([0; 8]);
}

/// Blocks of the legacy region and the header, which every area has.
pub(super) const SMALLEST_AREA: usize = HEADER + 1;
/// The block that is the header; its first word is XSTATE_BV.
const HEADER: usize = 8;
/// XSTATE_BV of an area that holds x87 state and has all else in its initial configuration.
const X87_ALONE: u64 = 1;

/// Puts the x87 control and tag words and MXCSR into an area that is zero (SDM vol. 1, "Legacy Region of an XSAVE Area"
/// and "XSAVE Header").
pub(super) fn set_legacy(area: &mut [Block], control: u64, tags: u64, mxcsr: u64) {
    area[0].0[0] = control | tags << 32;
    area[0].0[3] = mxcsr;
    area[HEADER].0[0] = X87_ALONE;
}

/// XMM0 to XMM5 of an area (SDM vol. 1, "Legacy Region of an XSAVE Area").
pub(super) fn xmm(area: &[Block]) -> [u64; XMM_WORDS] {
    /// The word of the region with which XMM0 begins.
    const XMM0: usize = 160 / 8;
    core::array::from_fn(|word| {
        let word = XMM0 + word;
        area[word / 8].0[word % 8]
    })
}

/// XSAVE of `components`, which are in XCR0, and for which the area was made.
pub(super) fn save_extended(area: &mut [Block], components: u64) {
    assert!(area.len() >= SMALLEST_AREA, "an XSAVE area has a header");
    // SAFETY: as large as CPUID says for these components, aligned by its type, and ours alone.
    unsafe {
        core::arch::asm!(
            "xsave64 [{}]", in(reg) area.as_mut_ptr(), in("eax") components as u32,
            in("edx") (components >> 32) as u32, options(nostack, preserves_flags)
        );
    }
}

/// XRSTOR of `components`, which are in XCR0, from what [`save_extended`] or [`set_legacy`] has left.
pub(super) fn load_extended(area: &[Block], components: u64) {
    assert!(area.len() >= SMALLEST_AREA, "an XSAVE area has a header");
    // SAFETY: as for `save_extended`; header and MXCSR are what XSAVE writes, so it does not fault; our own code uses no
    // extended state.
    unsafe {
        core::arch::asm!(
            "xrstor64 [{}]", in(reg) area.as_ptr(), in("eax") components as u32,
            in("edx") (components >> 32) as u32, options(nostack, readonly, preserves_flags)
        );
    }
}

/// Sets XCR0, unless it is that already: XSETBV exits to L0, XGETBV does not.
pub(super) fn set_xcr0(value: u64) {
    let (low, high): (u32, u32);
    // SAFETY: reads a register; OSXSAVE is set.
    unsafe {
        core::arch::asm!(
            "xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags)
        );
    }
    if u64::from(high) << 32 | u64::from(low) != value {
        hardware::set_xcr0(value);
    }
}

pub(super) fn cr2() -> u64 {
    Cr2::read_raw()
}

/// One that holds what guests write, of 64-bit CPUs that run them.
pub(super) fn read_msr(msr: MsrIndex) -> u64 {
    NativeMsrs.read(msr.0)
}

/// Writes what [`read_msr`] gave, or zero.
pub(super) fn write_msr(msr: MsrIndex, value: u64) {
    // SAFETY: a value of that register; our own code does not use it.
    unsafe { NativeMsrs.write(msr.0, value) };
}

/// DR0 to DR3.
pub(super) fn debug_addresses() -> [u64; 4] {
    let (dr0, dr1, dr2, dr3);
    // SAFETY: reads registers.
    unsafe {
        core::arch::asm!(
            "mov {}, dr0", "mov {}, dr1", "mov {}, dr2", "mov {}, dr3", out(reg) dr0, out(reg) dr1, out(reg) dr2,
            out(reg) dr3, options(nomem, nostack, preserves_flags)
        );
    }
    [dr0, dr1, dr2, dr3]
}

/// Sets DR0 to DR3.
pub(super) fn set_debug_addresses([dr0, dr1, dr2, dr3]: [u64; 4]) {
    // SAFETY: without enabled breakpoints (DR7 is loaded by every entry and exit) they do nothing.
    unsafe {
        core::arch::asm!(
            "mov dr0, {}", "mov dr1, {}", "mov dr2, {}", "mov dr3, {}", in(reg) dr0, in(reg) dr1, in(reg) dr2,
            in(reg) dr3, options(nomem, nostack, preserves_flags)
        );
    }
}

/// The area's words.
#[cfg(test)]
pub(super) fn words(area: &[Block]) -> Vec<u64> {
    area.iter().flat_map(|block| block.0).collect()
}
