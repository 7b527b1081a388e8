// SPDX-License-Identifier: MIT OR Apache-2.0
//! The area of a CPU's own, which it finds at its GS base.

use crate::cpu::CpuNumber;
use core::mem::offset_of;
use x86_64::VirtAddr;
use x86_64::registers::model_specific::GsBase;

/// What is a CPU's own. VM exits load its address again, so that it is there whenever our code runs.
#[derive(Debug)]
#[repr(C)]
pub struct Area {
    /// Read by [`number::current`](crate::cpu::number::current).
    number: CpuNumber,
}

const _: () = assert!(offset_of!(Area, number) == 0);

/// That of the CPU that boots, which needs one before there is memory.
pub static BOOT: Area = Area::new(CpuNumber::BOOT);

impl Area {
    /// The area of the CPU with that number.
    #[must_use]
    pub const fn new(number: CpuNumber) -> Self {
        Self { number }
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
