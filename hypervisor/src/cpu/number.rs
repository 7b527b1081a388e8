// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical CPUs by number, which of them this is, and arrays with a place for each of them.

// UNSAFETY: this CPU's number is read by GS.
#![cfg_attr(target_os = "none", expect(unsafe_code))]

use core::array;
use core::fmt;
use core::ops::Index;

/// How many CPUs Satori uses at most; those beyond are left alone. Model checking makes do with few.
pub const MAX_CPUS: usize = if cfg!(feature = "loom") { 4 } else { 64 };

/// A physical CPU: 0 is the one that booted, the others follow in the order of ACPI's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct CpuNumber(u8);

impl CpuNumber {
    /// The CPU that booted.
    pub const BOOT: Self = Self(0);

    /// The CPU of that number, below [`MAX_CPUS`].
    #[must_use]
    pub const fn new(number: usize) -> Option<Self> {
        if number < MAX_CPUS { Some(Self(number as u8)) } else { None }
    }

    /// The number, as an index.
    #[must_use]
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// All numbers that there can be.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..MAX_CPUS).filter_map(Self::new)
    }
}

impl fmt::Display for CpuNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CPU {}", self.0)
    }
}

/// The CPU that this code runs on.
#[cfg(target_os = "none")]
#[must_use]
#[inline]
pub fn current() -> CpuNumber {
    let number: u32;
    // SAFETY: GS base is that of this CPU's area, as `per_cpu::enter` has set it before anything else; the number is its
    // first byte.
    unsafe {
        core::arch::asm!(
            "movzx {:e}, byte ptr gs:[0]", out(reg) number, options(pure, readonly, nostack, preserves_flags)
        );
    }
    CpuNumber(number as u8)
}

/// The CPU that this thread stands for: the boot CPU, unless it was told another by [`set_current`].
#[cfg(not(target_os = "none"))]
#[must_use]
pub fn current() -> CpuNumber {
    CURRENT.with(core::cell::Cell::get)
}

/// Lets this thread stand for another CPU.
#[cfg(not(target_os = "none"))]
pub fn set_current(cpu: CpuNumber) {
    CURRENT.with(|current| current.set(cpu));
}

#[cfg(feature = "loom")]
loom::thread_local! {
    static CURRENT: core::cell::Cell<CpuNumber> = core::cell::Cell::new(CpuNumber::BOOT);
}
#[cfg(not(any(target_os = "none", feature = "loom")))]
std::thread_local! {
    static CURRENT: core::cell::Cell<CpuNumber> = const { core::cell::Cell::new(CpuNumber::BOOT) };
}

/// One of each for every CPU that there can be.
#[derive(Debug)]
pub struct PerCpu<T>([T; MAX_CPUS]);

impl<T> PerCpu<T> {
    /// Made by `new`, CPU by CPU.
    pub fn new(mut new: impl FnMut(CpuNumber) -> T) -> Self {
        Self(array::from_fn(|number| new(CpuNumber(number as u8))))
    }

    /// Each with its CPU.
    pub fn iter(&self) -> impl Iterator<Item = (CpuNumber, &T)> {
        CpuNumber::all().zip(&self.0)
    }
}

impl<T: Default> Default for PerCpu<T> {
    fn default() -> Self {
        Self::new(|_| T::default())
    }
}

impl<T> Index<CpuNumber> for PerCpu<T> {
    type Output = T;

    #[inline]
    fn index(&self, cpu: CpuNumber) -> &T {
        &self.0[cpu.index()]
    }
}

/// On cache lines of its own, so that a CPU that writes its own does not slow down those that write theirs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Padded<T>(pub T);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cpu_has_its_own_place() {
        let places = PerCpu::new(CpuNumber::index);
        assert!(places.iter().all(|(cpu, &place)| place == cpu.index() && places[cpu] == place));
        assert_eq!(CpuNumber::all().count(), MAX_CPUS);
        assert_eq!(CpuNumber::new(MAX_CPUS), None);
    }

    #[cfg(not(feature = "loom"))]
    #[test]
    fn each_thread_stands_for_its_own_cpu() {
        let third = CpuNumber::new(3).unwrap();
        set_current(third);
        assert_eq!(std::thread::spawn(current).join().unwrap(), CpuNumber::BOOT);
        assert_eq!(current(), third);
    }
}
