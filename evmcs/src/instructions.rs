// SPDX-License-Identifier: MIT OR Apache-2.0
//! The instructions that work on a VMCS, as a seam between this crate and the processor.

use crate::region::VmcsPointer;
use core::fmt;

/// VMREAD, VMWRITE, VMCLEAR and VMPTRLD on one CPU that is in VMX root operation (SDM Vol. 3C, *VMX Instruction Reference*).
///
/// [`NativeInstructions`](crate::NativeInstructions) executes them; host tests put a model in its place.
pub trait VmcsInstructions {
    /// Reads a field of the current VMCS.
    ///
    /// # Errors
    /// No current VMCS, or no such field on this processor.
    fn vmread(&self, encoding: u16) -> Result<u64, Failed>;

    /// Writes a field of the current VMCS.
    ///
    /// # Errors
    /// No current VMCS, or no such writable field on this processor.
    fn vmwrite(&mut self, encoding: u16, value: u64) -> Result<(), Failed>;

    /// Why the VMREAD or VMWRITE before failed. Asked for by itself, so that there is hardly any code where one is executed.
    fn failure(&self) -> VmFail;

    /// Writes a VMCS back to its region, takes it off this CPU and makes its launch state *clear*.
    ///
    /// # Errors
    /// The address is not one of a VMCS.
    fn vmclear(&mut self, vmcs: VmcsPointer) -> Result<(), VmFail>;

    /// Makes a VMCS the current one.
    ///
    /// # Errors
    /// The address is not one of a VMCS, or the region's revision is not the processor's.
    fn vmptrld(&mut self, vmcs: VmcsPointer) -> Result<(), VmFail>;
}

/// A VMREAD or VMWRITE failed; [`VmcsInstructions::failure`] tells how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

/// How a VMX instruction failed (SDM Vol. 3C, *Conventions* of the VMX instruction reference).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmFail {
    /// VMfailInvalid: there is no current VMCS that could hold an error number.
    Invalid,
    /// VMfailValid, with the number from the current VMCS.
    Valid(VmInstructionError),
}

impl fmt::Display for VmFail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid => f.write_str("VMfailInvalid"),
            Self::Valid(error) => write!(f, "VMfailValid, {error}"),
        }
    }
}

impl core::error::Error for VmFail {}

/// The VM-instruction error number (SDM Vol. 3C, *VM Instruction Error Numbers*). Any number can be found here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VmInstructionError(pub u32);

macro_rules! error_numbers {
    ($($name:ident = $number:literal $text:literal,)*) => {
        impl VmInstructionError {
            $(
                #[doc = concat!("Error ", stringify!($number), ": ", $text, ".")]
                pub const $name: Self = Self($number);
            )*

            const fn text(self) -> &'static str {
                match self.0 {
                    $($number => $text,)*
                    _ => "not in the SDM",
                }
            }
        }
    };
}

error_numbers! {
    VMCALL_IN_VMX_ROOT = 1 "VMCALL executed in VMX root operation",
    VMCLEAR_INVALID_ADDRESS = 2 "VMCLEAR with invalid physical address",
    VMCLEAR_VMXON_POINTER = 3 "VMCLEAR with VMXON pointer",
    VMLAUNCH_NON_CLEAR_VMCS = 4 "VMLAUNCH with non-clear VMCS",
    VMRESUME_NON_LAUNCHED_VMCS = 5 "VMRESUME with non-launched VMCS",
    VMRESUME_AFTER_VMXOFF = 6 "VMRESUME after VMXOFF",
    INVALID_CONTROL_FIELDS = 7 "VM entry with invalid control fields",
    INVALID_HOST_STATE = 8 "VM entry with invalid host-state fields",
    VMPTRLD_INVALID_ADDRESS = 9 "VMPTRLD with invalid physical address",
    VMPTRLD_VMXON_POINTER = 10 "VMPTRLD with VMXON pointer",
    VMPTRLD_INCORRECT_REVISION = 11 "VMPTRLD with incorrect VMCS revision identifier",
    UNSUPPORTED_COMPONENT = 12 "VMREAD or VMWRITE from or to unsupported VMCS component",
    VMWRITE_READ_ONLY_COMPONENT = 13 "VMWRITE to read-only VMCS component",
    VMXON_IN_VMX_ROOT = 15 "VMXON executed in VMX root operation",
    INVALID_EXECUTIVE_VMCS_POINTER = 16 "VM entry with invalid executive-VMCS pointer",
    NON_LAUNCHED_EXECUTIVE_VMCS = 17 "VM entry with non-launched executive VMCS",
    EXECUTIVE_VMCS_NOT_VMXON = 18 "VM entry with executive-VMCS pointer not VMXON pointer",
    VMCALL_NON_CLEAR_VMCS = 19 "VMCALL with non-clear VMCS",
    VMCALL_INVALID_EXIT_CONTROLS = 20 "VMCALL with invalid VM-exit control fields",
    VMCALL_INCORRECT_MSEG_REVISION = 22 "VMCALL with incorrect MSEG revision identifier",
    VMXOFF_UNDER_DUAL_MONITOR = 23 "VMXOFF under dual-monitor treatment of SMIs and SMM",
    VMCALL_INVALID_SMM_FEATURES = 24 "VMCALL with invalid SMM-monitor features",
    INVALID_EXECUTIVE_EXECUTION_CONTROLS = 25 "VM entry with invalid VM-execution control fields in executive VMCS",
    EVENTS_BLOCKED_BY_MOV_SS = 26 "VM entry with events blocked by MOV SS",
    INVALID_INVEPT_INVVPID_OPERAND = 28 "invalid operand to INVEPT/INVVPID",
}

impl fmt::Debug for VmInstructionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VmInstructionError({}: {})", self.0, self.text())
    }
}

impl fmt::Display for VmInstructionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}: {}", self.0, self.text())
    }
}
