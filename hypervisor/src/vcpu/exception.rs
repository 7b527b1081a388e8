// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exceptions that Satori raises in a guest, as the instruction that it plays would have.

use crate::irqchip::local_apic;
use crate::vcpu::msr_policy;
use crate::vmx::exit::EventInformation;
use crate::vmx::exit::event;
use enlightenments::offer::registers;

/// An exception of the guest (SDM vol. 3, "Protected-Mode Exceptions and Interrupts").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// #UD.
    InvalidOpcode,
    /// #GP(0).
    GeneralProtection,
    /// #PF.
    PageFault {
        /// What CR2 is to hold.
        address: u64,
        /// The error code.
        error_code: u32,
    },
    /// One that the processor raised and that exited.
    Intercepted {
        /// As VM entry takes it.
        information: EventInformation,
        /// The error code, if it has one.
        error_code: Option<u32>,
        /// Bytes of the instruction, of which a software exception wants to know.
        instruction_length: u32,
    },
}

impl Exception {
    /// For the VMCS: interruption information, and the error code where there is one.
    #[must_use]
    pub fn information(self) -> (EventInformation, Option<u32>) {
        let (vector, error_code) = match self {
            Self::InvalidOpcode => (6, None),
            Self::GeneralProtection => (13, Some(0)),
            Self::PageFault { error_code, .. } => (14, Some(error_code)),
            Self::Intercepted { information, error_code, .. } => return (information, error_code),
        };
        let information = EventInformation::new()
            .with_vector(vector)
            .with_kind(event::HARDWARE_EXCEPTION)
            .with_error_code(error_code.is_some())
            .with_valid(true);
        (information, error_code)
    }
}

impl From<msr_policy::GeneralProtection> for Exception {
    fn from(_: msr_policy::GeneralProtection) -> Self {
        Self::GeneralProtection
    }
}

impl From<registers::Refused> for Exception {
    fn from(_: registers::Refused) -> Self {
        Self::GeneralProtection
    }
}

impl From<local_apic::GeneralProtection> for Exception {
    fn from(_: local_apic::GeneralProtection) -> Self {
        Self::GeneralProtection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn information_is_as_the_vmcs_wants_it() {
        let (general_protection, error_code) = Exception::GeneralProtection.information();
        assert_eq!((general_protection.into_bits(), error_code), (0x8000_0b0d, Some(0)));
        let (invalid_opcode, error_code) = Exception::InvalidOpcode.information();
        assert_eq!((invalid_opcode.into_bits(), error_code), (0x8000_0306, None));
    }
}
