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
    /// VMREADs and VMWRITEs that were executed. Incremented by the same assembly: then it is one instruction, and the code around
    /// an access stays small enough to be inlined.
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
}

impl VmcsInstructions for NativeInstructions {
    #[inline(always)]
    fn vmread(&self, encoding: u16) -> Result<u64, Failed> {
        let value;
        let failed: u8;
        // SAFETY: `new` vouches for VMX root operation. This writes nothing but the counter, a cell of ours, the registers
        // and the flags.
        unsafe {
            asm!(
                "inc qword ptr [{accesses}]",
                "vmread {value}, {encoding}",
                "setbe {failed}",
                accesses = in(reg) self.accesses.as_ptr(),
                encoding = in(reg) u64::from(encoding),
                value = lateout(reg) value,
                failed = out(reg_byte) failed,
                options(nostack),
            );
        }
        if failed == 0 { Ok(value) } else { Err(Failed) }
    }

    #[inline(always)]
    fn vmwrite(&mut self, encoding: u16, value: u64) -> Result<(), Failed> {
        // SAFETY: `new` vouches for VMX root operation. This changes the counter, a cell of ours, and the current VMCS, which
        // Rust code reaches by VMREAD only; what the values do at the next VM entry is for the one who enters to answer for.
        unsafe {
            asm!(
                "inc qword ptr [{accesses}]",
                "vmwrite {encoding}, {value}",
                "jbe {failed}",
                accesses = in(reg) self.accesses.as_ptr(),
                encoding = in(reg) u64::from(encoding),
                value = in(reg) value,
                failed = label { return Err(Failed) },
                options(nostack),
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
