// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical CPUs by number, and arrays with a place for each of them.

use core::array;
use core::fmt;
use core::ops::Index;

/// How many CPUs Satori uses at most; those beyond are left alone. Model checking makes do with few.
pub const MAX_CPUS: usize = if cfg!(feature = "loom") { 4 } else { 64 };

/// A physical CPU: 0 is the one that booted, the others follow in the order of ACPI's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
}
