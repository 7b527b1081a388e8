// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory types: PAT and MTRRs, which all CPUs have to agree on. Firmware does not always see to that.

// UNSAFETY: turns the cache off and on, and writes the registers.
#![expect(unsafe_code)]

use crate::cpu::hardware::MsrIo;
use alloc::vec::Vec;

const IA32_PAT: u32 = 0x277;
const IA32_MTRRCAP: u32 = 0xfe;
const IA32_MTRR_DEF_TYPE: u32 = 0x2ff;
const IA32_MTRR_PHYSBASE0: u32 = 0x200;
/// The fixed-range registers (SDM vol. 3, "Fixed Range MTRRs").
const FIXED: [u32; 11] = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];
/// How many pairs of variable ranges there is room for below the fixed ones.
const VARIABLE_MAX: u32 = (FIXED[0] - IA32_MTRR_PHYSBASE0) / 2;

/// What a CPU's PAT and MTRRs hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryTypes {
    /// Registers and values; without those that the CPU does not have.
    registers: Vec<(u32, u64)>,
    /// IA32_MTRR_DEF_TYPE, which turns all of them on; `None` where there are no MTRRs.
    default_type: Option<u64>,
}

impl MemoryTypes {
    /// Those of this CPU, `features` being EDX of its CPUID leaf 1.
    #[must_use]
    pub fn read(features: u32, msrs: &impl MsrIo) -> Self {
        const MTRR: u32 = 1 << 12;
        const PAT: u32 = 1 << 16;
        const HAS_FIXED: u64 = 1 << 8;
        let mut numbers = Vec::new();
        let has_mtrrs = features & MTRR != 0;
        if has_mtrrs {
            let capabilities = msrs.read(IA32_MTRRCAP);
            let variable = (capabilities as u32 & 0xff).min(VARIABLE_MAX);
            numbers.extend((0..2 * variable).map(|register| IA32_MTRR_PHYSBASE0 + register));
            if capabilities & HAS_FIXED != 0 {
                numbers.extend(FIXED);
            }
        }
        if features & PAT != 0 {
            numbers.push(IA32_PAT);
        }
        Self {
            registers: numbers.into_iter().map(|number| (number, msrs.read(number))).collect(),
            default_type: has_mtrrs.then(|| msrs.read(IA32_MTRR_DEF_TYPE)),
        }
    }

    /// Makes them those of this CPU, which has `own`, in the way that the SDM asks for (vol. 3, "MTRR Considerations in MP
    /// Systems"), but for the other CPUs: none of them changes anything now. `false` if the CPU has not the same registers.
    ///
    /// # Safety
    /// The types are those with which other CPUs of this machine run our code.
    #[must_use]
    pub unsafe fn adopt(&self, own: &Self, msrs: &impl MsrIo, caches: &impl CacheControl) -> bool {
        if self == own {
            return true;
        }
        let numbers = |types: &Self| types.registers.iter().map(|&(number, _)| number).collect::<Vec<_>>();
        if numbers(self) != numbers(own) || self.default_type.is_some() != own.default_type.is_some() {
            return false;
        }
        const ENABLE: u64 = 1 << 11;
        caches.turn_off();
        // SAFETY: registers that this CPU has, by the comparison, with values that another CPU has in them.
        unsafe {
            if let Some(default_type) = own.default_type {
                msrs.write(IA32_MTRR_DEF_TYPE, default_type & !ENABLE);
            }
            for &(number, value) in &self.registers {
                msrs.write(number, value);
            }
            if let Some(default_type) = self.default_type {
                msrs.write(IA32_MTRR_DEF_TYPE, default_type);
            }
        }
        caches.turn_on();
        true
    }
}

/// The cache of this CPU, which must hold nothing while memory types change.
pub trait CacheControl {
    /// Turns it off, writes back what is in it, and drops cached translations.
    fn turn_off(&self);
    /// Drops once more what was cached, and turns it on.
    fn turn_on(&self);
}

/// The real cache.
#[cfg(target_os = "none")]
#[derive(Clone, Copy, Debug)]
pub struct NativeCache;

#[cfg(target_os = "none")]
impl NativeCache {
    fn flush() {
        // SAFETY: writes the cache back; our own code sees no difference.
        unsafe { core::arch::asm!("wbinvd", options(nostack, preserves_flags)) };
        x86_64::instructions::tlb::flush_all();
    }

    fn set_disabled(disabled: bool) {
        use x86_64::registers::control::Cr0;
        use x86_64::registers::control::Cr0Flags;
        let flags = Cr0::read() - Cr0Flags::NOT_WRITE_THROUGH;
        // SAFETY: memory stays what it is, with and without a cache.
        unsafe {
            Cr0::write(if disabled {
                flags | Cr0Flags::CACHE_DISABLE
            } else {
                flags - Cr0Flags::CACHE_DISABLE
            });
        }
    }
}

#[cfg(target_os = "none")]
impl CacheControl for NativeCache {
    fn turn_off(&self) {
        Self::set_disabled(true);
        Self::flush();
    }

    fn turn_on(&self) {
        Self::flush();
        Self::set_disabled(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use core::cell::RefCell;
    use std::collections::BTreeMap;

    const MTRR_AND_PAT: u32 = 1 << 12 | 1 << 16;

    /// A CPU: its registers, and whether its cache is on.
    struct Model {
        msrs: RefCell<BTreeMap<u32, u64>>,
        cached: Cell<bool>,
        written: Cell<u32>,
    }

    impl MsrIo for Model {
        fn read(&self, msr: u32) -> u64 {
            *self.msrs.borrow().get(&msr).unwrap_or_else(|| panic!("MSR {msr:#x} is not there"))
        }

        unsafe fn write(&self, msr: u32, value: u64) {
            let mut msrs = self.msrs.borrow_mut();
            let enabled = msrs[&IA32_MTRR_DEF_TYPE] >> 11 & 1 != 0;
            assert!(!self.cached.get() && (!enabled || msr == IA32_MTRR_DEF_TYPE), "MSR {msr:#x} too early");
            *msrs.get_mut(&msr).unwrap() = value;
            self.written.set(self.written.get() + 1);
        }
    }

    impl CacheControl for Model {
        fn turn_off(&self) {
            self.cached.set(false);
        }

        fn turn_on(&self) {
            self.cached.set(true);
        }
    }

    fn cpu(pairs: u64, seed: u64) -> Model {
        let variable = (0..2 * pairs as u32).map(|register| IA32_MTRR_PHYSBASE0 + register);
        let mut msrs: BTreeMap<_, _> =
            variable.chain(FIXED).map(|msr| (msr, seed + u64::from(msr))).collect();
        msrs.insert(IA32_MTRRCAP, 1 << 8 | pairs);
        msrs.insert(IA32_MTRR_DEF_TYPE, 0xc00 | seed);
        msrs.insert(IA32_PAT, seed);
        Model { msrs: RefCell::new(msrs), cached: Cell::new(true), written: Cell::new(0) }
    }

    fn types(cpu: &Model) -> MemoryTypes {
        MemoryTypes::read(MTRR_AND_PAT, cpu)
    }

    #[expect(unsafe_code, reason = "models have no memory")]
    fn adopt(boot: &Model, other: &Model) -> bool {
        // SAFETY: models.
        unsafe { types(boot).adopt(&types(other), other, other) }
    }

    #[test]
    fn types_that_differ_are_taken_over_while_nothing_is_cached() {
        let (boot, other) = (cpu(8, 6), cpu(8, 0));
        assert!(adopt(&boot, &other));
        assert_eq!(boot.msrs, other.msrs);
        assert!(other.cached.get());
    }

    #[test]
    fn types_that_are_the_same_are_left_alone() {
        let (boot, other) = (cpu(8, 6), cpu(8, 6));
        assert!(adopt(&boot, &other));
        assert_eq!(other.written.get(), 0);
    }

    #[test]
    fn a_cpu_with_other_registers_is_told() {
        let (boot, other) = (cpu(8, 6), cpu(10, 6));
        assert!(!adopt(&boot, &other));
        assert_eq!(other.written.get(), 0);
    }

    #[test]
    fn no_register_is_read_that_cannot_be_there() {
        let model = cpu(40, 6);
        model.msrs.borrow_mut().insert(IA32_MTRRCAP, 1 << 8 | 0xff);
        assert_eq!(types(&model).registers.len(), 80 + FIXED.len() + 1);
        let none = Model { msrs: RefCell::default(), cached: Cell::new(true), written: Cell::new(0) };
        assert!(MemoryTypes::read(0, &none).registers.is_empty());
    }
}
