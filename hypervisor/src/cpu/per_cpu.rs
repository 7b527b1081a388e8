// SPDX-License-Identifier: MIT OR Apache-2.0
//! The area of a CPU's own, which it finds at its GS base.

// UNSAFETY: reaches the area by GS.
#![expect(unsafe_code)]

use crate::cpu::CpuNumber;
use core::arch::asm;
use core::mem::offset_of;
use core::sync::atomic::AtomicBool;
use x86_64::VirtAddr;
use x86_64::registers::model_specific::GsBase;

/// What is a CPU's own. VM exits load its address again, so that it is there whenever our code runs.
#[derive(Debug)]
#[repr(C)]
pub struct Area {
    /// Read by [`number::current`](crate::cpu::number::current).
    number: CpuNumber,
    /// This CPU works for a guest between two entries, where nothing is allocated.
    serves: AtomicBool,
}

const _: () = assert!(offset_of!(Area, number) == 0);
const _: () = assert!(offset_of!(Area, serves) == 1);

/// That of the CPU that boots, which needs one before there is memory.
pub static BOOT: Area = Area::new(CpuNumber::BOOT);

impl Area {
    /// The area of the CPU with that number.
    #[must_use]
    pub const fn new(number: CpuNumber) -> Self {
        Self { number, serves: AtomicBool::new(false) }
    }

    /// The CPU whose area it is.
    #[must_use]
    pub fn number(&self) -> CpuNumber {
        self.number
    }
}

/// Makes `area` this CPU's. Before anything that asks which CPU this is.
pub fn enter(area: &'static Area) {
    GsBase::write(VirtAddr::from_ptr(area));
}

/// Runs `act` with this CPU in service of a guest, or for once not; gives what it gives.
pub fn serving<R>(serves: bool, act: impl FnOnce() -> R) -> R {
    let before = is_serving();
    set_serving(serves);
    let result = act();
    set_serving(before);
    result
}

/// Whether this CPU works for a guest between two entries.
#[must_use]
pub fn is_serving() -> bool {
    let serves: u8;
    // SAFETY: the area that `enter` has made this CPU's; nobody else writes to it.
    unsafe { asm!("mov {}, gs:[1]", out(reg_byte) serves, options(nostack, preserves_flags, readonly)) };
    serves != 0
}

fn set_serving(serves: bool) {
    // SAFETY: as in `is_serving`.
    unsafe { asm!("mov gs:[1], {}", in(reg_byte) u8::from(serves), options(nostack, preserves_flags)) };
}
