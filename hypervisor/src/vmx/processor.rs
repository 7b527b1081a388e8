// SPDX-License-Identifier: MIT OR Apache-2.0
//! A physical CPU in VMX root operation, and the invalidations that only such a one can do.

// UNSAFETY: VMXON, INVEPT, INVVPID.
#![expect(unsafe_code)]

use crate::cpu::hardware::MsrIo;
use crate::cpu::hardware::NativeMsrs;
use crate::memory::Frames;
use crate::memory::OutOfFrames;
use crate::vmx::capabilities::Capabilities;
use crate::vmx::capabilities::IA32_FEATURE_CONTROL;
use crate::vmx::capabilities::IA32_VMX_CR0_FIXED0;
use crate::vmx::capabilities::LOCKED;
use crate::vmx::capabilities::VMX_ENABLED;
use core::fmt;
use core::mem;
use core::sync::atomic::Ordering;
use x86_64::registers::control::Cr0;
use x86_64::registers::control::Cr0Flags;
use x86_64::registers::control::Cr4;
use x86_64::registers::control::Cr4Flags;

/// Why VMX could not be turned on.
#[derive(Clone, Copy, Debug)]
pub enum VmxonError {
    /// No frame for the VMXON region.
    Memory(OutOfFrames),
    /// VMXON failed.
    Refused,
}

impl fmt::Display for VmxonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(error) => error.fmt(f),
            Self::Refused => write!(
                f,
                "VMXON failed although VMX is offered: something below us uses VMX, or the CPU is faulty"
            ),
        }
    }
}

/// This CPU, in VMX root operation.
#[derive(Debug)]
pub struct Processor {
    capabilities: Capabilities,
}

impl Processor {
    /// Turns VMX on: control register bits, IA32_FEATURE_CONTROL where nobody has locked it, VMXON, and one INVEPT
    /// of everything that may have been cached before.
    pub fn vmxon(capabilities: Capabilities) -> Result<Self, VmxonError> {
        let msrs = NativeMsrs;
        if capabilities.unlocked {
            let value = msrs.read(IA32_FEATURE_CONTROL) | LOCKED | VMX_ENABLED;
            // SAFETY: the CPU has it, as it has VMX, and nobody has locked it.
            unsafe { msrs.write(IA32_FEATURE_CONTROL, value) };
        }
        let fixed = |index: u32| msrs.read(IA32_VMX_CR0_FIXED0 + index);
        let cr0 = (Cr0::read_raw() | fixed(0)) & fixed(1);
        let cr4 = (Cr4::read_raw() | Cr4Flags::VIRTUAL_MACHINE_EXTENSIONS.bits() | fixed(2)) & fixed(3);
        // XSETBV is executed for guests; and a machine check is to end in our report rather than in a shutdown.
        let cr4 = cr4 | Cr4Flags::OSXSAVE.bits() | Cr4Flags::MACHINE_CHECK_EXCEPTION.bits();
        // SAFETY: paging and protection stay on; the bits that VMX operation demands change nothing for our code.
        unsafe {
            Cr0::write(Cr0Flags::from_bits_retain(cr0));
            Cr4::write(Cr4Flags::from_bits_retain(cr4));
        }
        let region = Frames::one().map_err(VmxonError::Memory)?;
        region.words()[0].store(u64::from(capabilities.revision), Ordering::Relaxed);
        let address = region.address();
        let refused: u8;
        // SAFETY: a frame of our own with the revision in place, kept for as long as VMX is on.
        unsafe {
            core::arch::asm!("vmxon [{}]", "setbe {}", in(reg) &raw const address, out(reg_byte) refused);
        };
        if refused != 0 {
            return Err(VmxonError::Refused);
        }
        // The CPU writes there for as long as it is in VMX operation, which is for ever.
        mem::forget(region);
        let processor = Self { capabilities };
        processor.invept(Invept::AllContexts);
        Ok(processor)
    }

    /// Turns VMX off, as before another kernel starts. No VMCS is resident here any more.
    pub fn vmxoff(self) {
        let failed: u8;
        // SAFETY: in VMX operation, as `self` proved; nothing that follows needs it.
        unsafe { core::arch::asm!("vmxoff", "setbe {}", out(reg_byte) failed) };
        assert!(failed == 0, "VMXOFF in VMX root operation");
        let cr4 = Cr4::read_raw() & !Cr4Flags::VIRTUAL_MACHINE_EXTENSIONS.bits();
        // SAFETY: outside of VMX operation the bit means nothing to our code.
        unsafe { Cr4::write(Cr4Flags::from_bits_retain(cr4)) };
    }

    /// What this CPU's VMX offers.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Drops guest-physical and combined mappings (SDM vol. 3, INVEPT).
    pub fn invept(&self, scope: Invept) {
        let (kind, pointer) = match scope {
            Invept::SingleContext { pointer } => (1_u64, pointer),
            Invept::AllContexts => (2, 0),
        };
        let descriptor = [pointer, 0];
        let failed: u8;
        // SAFETY: only drops cached translations; in VMX operation, as `self` proves.
        unsafe {
            core::arch::asm!("invept {}, [{}]", "setbe {}", in(reg) kind, in(reg) &raw const descriptor, out(reg_byte) failed);
        }
        assert!(failed == 0, "INVEPT of a scope that the capabilities offer");
    }

    /// Drops linear and combined mappings of one VPID (SDM vol. 3, INVVPID), where there are VPIDs.
    pub fn invvpid_single(&self, vpid: u16) {
        if !self.capabilities.ept.invvpid_single() {
            return;
        }
        let descriptor = [u64::from(vpid), 0];
        let failed: u8;
        // SAFETY: as for `invept`.
        unsafe {
            core::arch::asm!("invvpid {}, [{}]", "setbe {}", in(reg) 1_u64, in(reg) &raw const descriptor, out(reg_byte) failed);
        }
        assert!(failed == 0, "INVVPID of a scope that the capabilities offer");
    }
}

/// What INVEPT drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invept {
    /// Mappings of one EPT pointer.
    SingleContext {
        /// The pointer, as in the VMCS.
        pointer: u64,
    },
    /// Everything. At bring-up only.
    AllContexts,
}
