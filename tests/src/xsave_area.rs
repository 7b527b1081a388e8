// SPDX-License-Identifier: MIT OR Apache-2.0
//! x87, SSE and AVX registers as one piece of memory, loaded and stored by XRSTOR and XSAVE.

// UNSAFETY: XRSTOR and XSAVE are assembly.
#![expect(unsafe_code)]

use crate::control;
use crate::verdict::expect_eq;
use core::arch::asm;

/// Enables SSE, AVX and XSAVE on this vCPU.
#[track_caller]
pub fn enable() {
    let cr4 = control::CR4_OSFXSR | control::CR4_OSXMMEXCPT | control::CR4_OSXSAVE;
    expect_eq("CR4 takes OSXSAVE", control::write_cr4(control::cr4() | cr4), Ok(()));
    expect_eq("XCR0 takes 7", control::write_xcr(0, X87_SSE_AVX), Ok(()));
}

/// XCR0: x87, SSE and AVX.
pub const X87_SSE_AVX: u64 = 7;

/// An XSAVE area in the standard format, for x87, SSE and AVX (SDM volume 1, 13.4).
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Area(pub [u8; 832]);

/// Parts of it, as ranges of offsets, that XRSTOR loads and XSAVE gives back.
pub const KEPT: [(&str, core::ops::Range<usize>); 5] = [
    ("FCW and FSW", 0..4),
    ("MXCSR", 24..28),
    // Of each 16 bytes, 10 are the register; `pattern` leaves the others zero.
    ("ST0 to ST7", 32..160),
    ("XMM0 to XMM15", 160..416),
    ("upper halves of YMM0 to YMM15", 576..832),
];

impl Area {
    /// A state in which no two registers are alike, different for each `seed`.
    #[must_use]
    pub fn pattern(seed: u8) -> Self {
        let mut area = Self([0; 832]);
        for (offset, byte) in area.0.iter_mut().enumerate() {
            *byte = (offset as u8).wrapping_mul(37).wrapping_add((offset >> 8) as u8).wrapping_add(seed) | 1;
        }
        area.0[..32].fill(0);
        // FCW: all exceptions masked, extended precision. FTW: no register is empty. MXCSR: all masked.
        area.0[..2].copy_from_slice(&0x037f_u16.to_le_bytes());
        area.0[4] = 0xff;
        area.0[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
        for register in area.0[32..160].chunks_mut(16) {
            register[10..].fill(0);
        }
        area.0[416..576].fill(0);
        // XSTATE_BV: all three are there.
        area.0[512] = X87_SSE_AVX as u8;
        area
    }

    /// Loads it into the registers.
    pub fn load(&self) {
        // SAFETY: the area is aligned and in the standard format. Rust code of this target uses no such register.
        unsafe { asm!("xrstor64 [{}]", in(reg) self, in("eax") u32::MAX, in("edx") u32::MAX) };
    }

    /// The registers as they are.
    #[must_use]
    pub fn store() -> Self {
        let mut area = Self([0; 832]);
        // SAFETY: the area is aligned, and XCR0 has nothing that would make it longer.
        unsafe { asm!("xsave64 [{}]", in(reg) &raw mut area, in("eax") u32::MAX, in("edx") u32::MAX) };
        area
    }
}
