// SPDX-License-Identifier: MIT OR Apache-2.0
//! The VMCS instructions of the processor that we run on.

// UNSAFETY: executes VMX instructions, which Rust does not know.
#![expect(unsafe_code)]

use crate::field::VM_INSTRUCTION_ERROR;
use crate::instructions::Failed;
use crate::instructions::VmFail;
use crate::instructions::VmInstructionError;
use crate::instructions::VmcsInstructions;
use crate::region::VmcsPointer;
use core::arch::asm;
use core::cell::Cell;
use core::marker::PhantomData;

/// VMREAD, VMWRITE, VMCLEAR and VMPTRLD of the CPU that we run on. It stays on that CPU: it is not `Send`.
#[derive(Debug)]
pub struct NativeInstructions {
    /// VMREADs and VMWRITEs that were executed.
    accesses: Cell<u64>,
    _of_this_cpu: PhantomData<*mut ()>,
}

impl NativeInstructions {
    /// The instructions of this CPU.
    ///
    /// # Safety
    /// This CPU is in VMX root operation and stays so for as long as the value is used. The value is used on this CPU
    /// only, is the only one of this CPU, and nothing else executes VMPTRLD or VMCLEAR here.
    pub unsafe fn new() -> Self {
        Self { accesses: Cell::new(0), _of_this_cpu: PhantomData }
    }

    /// How many VMREADs and VMWRITEs were executed, those that failed included.
    pub(crate) fn accesses(&self) -> u64 {
        self.accesses.get()
    }

    #[inline(always)]
    fn count(&self) {
        self.accesses.set(self.accesses.get().wrapping_add(1));
    }
}

impl VmcsInstructions for NativeInstructions {
    #[inline(always)]
    fn vmread(&self, encoding: u16) -> Result<u64, Failed> {
        self.count();
        vmread(encoding).ok_or(Failed)
    }

    #[inline(always)]
    fn vmwrite(&mut self, encoding: u16, value: u64) -> Result<(), Failed> {
        self.count();
        // SAFETY: `new` vouches for VMX root operation. The instruction changes the current VMCS, which Rust code
        // reaches by VMREAD only; what the values do at the next VM entry is for the one who enters to answer for.
        unsafe {
            asm!(
                "vmwrite {encoding}, {value}",
                "jbe {failed}",
                encoding = in(reg) u64::from(encoding),
                value = in(reg) value,
                failed = label { return Err(Failed) },
                options(nostack, nomem),
            );
        }
        Ok(())
    }

    /// VMfailInvalid and having no current VMCS are the same for the instructions here, and without a current VMCS there is no
    /// error number to read either.
    #[cold]
    #[inline(never)]
    fn failure(&self) -> VmFail {
        match self.vmread(VM_INSTRUCTION_ERROR.encoding()) {
            Ok(number) => VmFail::Valid(VmInstructionError(number as u32)),
            Err(Failed) => VmFail::Invalid,
        }
    }

    fn vmclear(&mut self, vmcs: VmcsPointer) -> Result<(), VmFail> {
        let address = vmcs.address();
        // SAFETY: as above; a `VmcsPointer` names a region that is the processor's alone.
        unsafe {
            asm!(
                "vmclear [{address}]",
                "jbe {failed}",
                address = in(reg) &raw const address,
                failed = label { return Err(self.failure()) },
                options(nostack),
            );
        }
        Ok(())
    }

    fn vmptrld(&mut self, vmcs: VmcsPointer) -> Result<(), VmFail> {
        let address = vmcs.address();
        // SAFETY: as for VMCLEAR.
        unsafe {
            asm!(
                "vmptrld [{address}]",
                "jbe {failed}",
                address = in(reg) &raw const address,
                failed = label { return Err(self.failure()) },
                options(nostack),
            );
        }
        Ok(())
    }
}

/// VMREAD, or `None` if it fails.
#[inline(always)]
fn vmread(encoding: u16) -> Option<u64> {
    let value;
    let failed: u8;
    // SAFETY: only reached through a `NativeInstructions`, whose `new` vouches for VMX root operation.
    // The instruction writes nothing but the register and the flags.
    unsafe {
        asm!(
            "vmread {value}, {encoding}",
            "setbe {failed}",
            encoding = in(reg) u64::from(encoding),
            value = lateout(reg) value,
            failed = out(reg_byte) failed,
            options(nostack, nomem),
        );
    }
    (failed == 0).then_some(value)
}
