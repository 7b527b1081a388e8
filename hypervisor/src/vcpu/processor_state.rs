// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registers that VMX does not switch: XCR0 and what XSAVE covers, CR2, DR0 to DR3, DR6, and some MSRs.
//!
//! Satori itself uses none of them. So a vCPU's values stay in the processor while it goes in and out of its guest, and
//! are moved only when another vCPU takes the CPU, or when it moves to another CPU.

mod registers;

use crate::cpu::hardware;
use crate::vcpu::cpuid::CpuidTable;
use crate::vcpu::cpuid::Current;
use crate::vcpu::cpuid::xstate;
use crate::vcpu::msr_policy::MsrIndex;
use crate::vcpu::msr_policy::held_by_processor;
use alloc::boxed::Box;
use alloc::vec;
use enlightenments::offer::flush::XMM_WORDS;
use registers::Block;

/// DR6 after RESET and INIT (SDM vol. 3, "Processor States Following Power-up, Reset, or INIT").
const DR6: u64 = 0xffff_0ff0;
/// MXCSR after RESET.
const MXCSR: u64 = 0x1f80;
/// The x87 control word after RESET, which is not that of FNINIT: exceptions are unmasked.
const X87_CONTROL: u64 = 0x40;
/// The x87 tag word after RESET as XSAVE has it: no register is empty, each holds +0.0.
const X87_TAGS: u64 = 0xff;

/// A vCPU's values, and whether they are in the processor or here.
#[derive(Debug)]
pub struct ProcessorState {
    /// What of XCR0 is saved: all that the guest may set, whatever it has set now. A component that it has switched off keeps
    /// its contents.
    components: u64,
    /// XCR0. Here, too, while the processor has it.
    xcr0: u64,
    cr2: u64,
    dr: [u64; 4],
    dr6: u64,
    msrs: Box<[(MsrIndex, u64)]>,
    /// An XSAVE area in the standard format (SDM vol. 1, "XSAVE Area").
    area: Box<[Block]>,
    /// The processor has the values, and those here are stale, but for XCR0.
    loaded: bool,
}

impl ProcessorState {
    /// As RESET leaves it, not loaded, for a guest whose CPUID is `cpuid`. `has_tsc_aux` tells whether the processor has
    /// IA32_TSC_AUX.
    #[must_use]
    pub fn at_reset(cpuid: &CpuidTable, has_tsc_aux: bool) -> Self {
        let components = cpuid.supported_xcr0() | xstate::X87;
        let all = || Current { osxsave: true, xcr0: components, apic_id: 0 };
        let bytes = cpuid.answer(0xd, 0, all).ebx as usize;
        let present = |msr: &MsrIndex| has_tsc_aux || *msr != MsrIndex::TSC_AUX;
        let mut state = Self {
            components,
            xcr0: 0,
            cr2: 0,
            dr: [0; 4],
            dr6: 0,
            msrs: held_by_processor().filter(present).map(|msr| (msr, 0)).collect(),
            area: vec![Block::ZERO; bytes.div_ceil(size_of::<Block>()).max(registers::SMALLEST_AREA)].into(),
            loaded: false,
        };
        state.reset();
        state
    }

    /// RESET: all of it.
    pub fn reset(&mut self) {
        self.change(|state| {
            state.init_here();
            state.xcr0 = xstate::X87;
            for (_, value) in &mut state.msrs {
                *value = 0;
            }
            state.area.fill(Block::ZERO);
            // All else is in its initial configuration; MXCSR is loaded even so (SDM vol. 1, "Standard Form of XRSTOR").
            registers::set_legacy(&mut state.area, X87_CONTROL, X87_TAGS, MXCSR);
        });
    }

    /// INIT: CR2 and the debug registers. XCR0, the state that XSAVE covers and MSRs are kept.
    pub fn init(&mut self) {
        self.change(Self::init_here);
    }

    fn init_here(&mut self) {
        self.cr2 = 0;
        self.dr = [0; 4];
        self.dr6 = DR6;
    }

    /// Changes what is here, wherever the values are.
    fn change(&mut self, change: impl FnOnce(&mut Self)) {
        let loaded = self.loaded;
        self.save();
        change(self);
        if loaded {
            self.load();
        }
    }

    /// Whether the processor has the values.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Takes the values out of the processor, if it has them. This has to be done on the CPU that has them, before
    /// another vCPU's are loaded there.
    pub fn save(&mut self) {
        if !self.loaded {
            return;
        }
        self.cr2 = registers::cr2();
        self.dr = registers::debug_addresses();
        self.dr6 = hardware::dr6();
        for (msr, value) in &mut self.msrs {
            *value = registers::read_msr(*msr);
        }
        registers::set_xcr0(self.components);
        registers::save_extended(&mut self.area, self.components);
        self.loaded = false;
    }

    /// Puts the values into the processor, unless it has them.
    pub fn load(&mut self) {
        if self.loaded {
            return;
        }
        hardware::set_cr2(self.cr2);
        registers::set_debug_addresses(self.dr);
        hardware::set_dr6(self.dr6);
        for &(msr, value) in &self.msrs {
            registers::write_msr(msr, value);
        }
        registers::set_xcr0(self.components);
        registers::load_extended(&self.area, self.components);
        registers::set_xcr0(self.xcr0);
        self.loaded = true;
    }

    /// One of the MSRs; `None` for any other, or where the processor has none.
    #[must_use]
    pub fn msr(&self, msr: MsrIndex) -> Option<u64> {
        let (_, value) = self.msrs.iter().find(|(held, _)| *held == msr)?;
        Some(if self.loaded { registers::read_msr(msr) } else { *value })
    }

    /// XCR0.
    #[inline]
    #[must_use]
    pub fn xcr0(&self) -> u64 {
        self.xcr0
    }

    /// Sets XCR0 to a value that was checked (`msr_policy::checked_xcr0`).
    pub fn set_xcr0(&mut self, value: u64) {
        if self.loaded && value != self.xcr0 {
            registers::set_xcr0(value);
        }
        self.xcr0 = value;
    }

    /// XMM0 to XMM5, the low half of each first.
    #[must_use]
    pub fn xmm(&mut self) -> [u64; XMM_WORDS] {
        if self.loaded {
            // What is here is stale, so it does no harm that a part of it is not any more.
            registers::set_xcr0(self.components);
            registers::save_extended(&mut self.area, xstate::SSE);
            registers::set_xcr0(self.xcr0);
        }
        registers::xmm(&self.area)
    }

    /// Sets CR2.
    pub fn set_cr2(&mut self, address: u64) {
        if self.loaded {
            hardware::set_cr2(address);
        }
        self.cr2 = address;
    }

    /// DR6.
    #[must_use]
    pub fn dr6(&self) -> u64 {
        if self.loaded { hardware::dr6() } else { self.dr6 }
    }

    /// Sets DR6, whose bits 63:32 are reserved.
    pub fn set_dr6(&mut self, value: u64) {
        if self.loaded {
            hardware::set_dr6(value);
        }
        self.dr6 = value & 0xffff_ffff;
    }
}

#[cfg(test)]
mod tests;
